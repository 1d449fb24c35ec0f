//! One partition, from its start to its end offset, batch by batch as the broker sends them.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU64;
use std::time::Duration;

use artifact::manifest::{Partition, Segment};
use artifact::{Backup, SegmentWriter};
use kafka::{Aborted, FetchLimits, Isolation, PartitionClient, ResponseError};
use wire::batch::{Entries, Entry};
use wire::record::Records;
use wire::{Batch, Header};

use crate::ids::Audit;
use crate::topics::Range;
use crate::{Error, Result, TopicsPlan};

/// A Fetch below the end offset has data at once; this bounds the wait where it has not.
const MAX_WAIT: Duration = Duration::from_millis(500);
/// Empty answers below the end offset, one after the other, before that is an error.
const PATIENCE: u32 = 40;

pub(crate) async fn copy(
    plan: &TopicsPlan,
    topic: &str,
    range: Range,
    audit: &mut Audit<'_>,
    backup: &Backup,
) -> Result<Partition> {
    let Range { partition, start, end } = range;
    let mut client = PartitionClient::new(plan.cluster.clone(), topic, partition);
    let limits = FetchLimits {
        max_bytes: plan.fetch_max_bytes,
        max_wait: MAX_WAIT,
        isolation: plan.isolation,
    };
    let mut segments: Vec<Segment> = Vec::new();
    let mut writer: Option<SegmentWriter<'_>> = None;
    let mut aborted = AbortedTransactions::default();
    let (mut offset, mut empty) = (start, 0);
    while offset < end {
        let fetched = match client.fetch(offset, limits).await {
            Err(kafka::Error::Broker { code: ResponseError::OffsetOutOfRange, .. }) => {
                let (first, _) = client.offsets(plan.isolation).await?;
                if first <= offset {
                    let topic = topic.to_owned();
                    return Err(Error::NoData { topic, partition, offset, end });
                }
                tracing::warn!(
                    "{topic}-{partition}: retention deleted offsets {offset} to {first} meanwhile"
                );
                offset = first;
                continue;
            }
            fetched => fetched?,
        };
        aborted.learn(&fetched.aborted);
        let before = offset;
        for entry in Entries::new(&fetched.records) {
            let corrupt = |why: String| {
                let topic = topic.to_owned();
                Error::Corrupt { topic, partition, offset, why }
            };
            let bytes = match entry.map_err(|why| corrupt(why.to_string()))? {
                Entry::Whole { start, end, magic: 2 } => &fetched.records[start..end],
                Entry::Whole { magic, .. } => {
                    return Err(corrupt(format!(
                        "it has the message format of Kafka 0.10 (magic {magic})"
                    )));
                }
                Entry::Partial { .. } => break,
            };
            let batch = Batch::parse(bytes).map_err(|why| corrupt(why.to_string()))?;
            if !batch.crc_matches() {
                return Err(corrupt("its CRC does not match".to_owned()));
            }
            // The broker sends whole batches, also where the offset asked for lies within one.
            if batch.header.last_offset() < offset {
                continue;
            }
            if batch.header.base_offset >= end {
                offset = end;
                break;
            }
            if plan.isolation == Isolation::ReadUncommitted || aborted.lets_pass(&batch) {
                audit.look(&batch);
                let mut current = if let Some(writer) = writer.take() {
                    writer
                } else {
                    let base = batch.header.base_offset;
                    SegmentWriter::begin(backup, topic, partition, base).await?
                };
                current.append(&batch.header, bytes).await?;
                let most_records = plan.segment_max_records.map_or(u64::MAX, NonZeroU64::get);
                if current.bytes() >= plan.segment_max_bytes || current.records() >= most_records {
                    segments.push(current.finish().await?);
                } else {
                    writer = Some(current);
                }
            }
            offset = batch.header.last_offset() + 1;
        }
        if offset > before {
            empty = 0;
            continue;
        }
        // There is data up to the end offset, or was a moment ago: the broker is asked again.
        empty += 1;
        if empty == PATIENCE {
            let topic = topic.to_owned();
            return Err(Error::NoData { topic, partition, offset, end });
        }
    }
    if let Some(writer) = writer {
        segments.push(writer.finish().await?);
    }
    Ok(Partition { partition, start_offset: start, end_offset: end, segments })
}

/// Tells aborted batches apart, as a `read_committed` consumer does (KIP-98).
#[derive(Debug, Default)]
struct AbortedTransactions {
    /// Not yet reached, by first offset.
    ahead: VecDeque<Aborted>,
    /// Producers whose batches are aborted until their marker comes.
    producers: BTreeSet<i64>,
}

impl AbortedTransactions {
    /// Every Fetch lists the aborted transactions that overlap what it brings, known ones too.
    fn learn(&mut self, listed: &[Aborted]) {
        self.ahead = listed.iter().copied().collect();
        self.ahead.make_contiguous().sort_unstable_by_key(|it| it.first_offset);
    }

    fn lets_pass(&mut self, batch: &Batch<'_>) -> bool {
        let header = batch.header;
        while let Some(next) = self.ahead.front()
            && next.first_offset <= header.last_offset()
        {
            self.producers.insert(next.producer_id);
            self.ahead.pop_front();
        }
        if header.is_control() {
            if is_abort_marker(batch) {
                self.producers.remove(&header.producer_id);
            }
            return true;
        }
        !(is_data_of_transaction(&header) && self.producers.contains(&header.producer_id))
    }
}

fn is_data_of_transaction(header: &Header) -> bool {
    header.is_transactional() && !header.is_control()
}

/// The key of a control record: version and type, 0 for abort.
fn is_abort_marker(batch: &Batch<'_>) -> bool {
    let payload = batch.payload();
    let record = Records::new(payload, batch.header.count).next_record();
    let key = record.ok().flatten().and_then(|it| it.key);
    key.is_some_and(|key| payload[key].get(2..4) == Some(&[0, 0]))
}
