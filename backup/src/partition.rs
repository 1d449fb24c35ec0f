//! One partition, from its start to its end offset, batch by batch as the broker sends them.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU64;
use std::time::Duration;

use app::progress::Progress;
use artifact::manifest::{Partition, Segment, Skipped, Why};
use artifact::{Backup, SegmentWriter};
use kafka::{Aborted, FetchLimits, Isolation, PartitionClient, ResponseError};
use wire::batch::{Entries, Entry};
use wire::codec::DECOMPRESSED_LIMIT;
use wire::record::Records;
use wire::{Batch, Header, message_set, rebatch};

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
    range: &Range,
    audit: &mut Audit<'_>,
    progress: &Progress,
    backup: &Backup,
) -> Result<Partition> {
    let &Range { partition, start, end, .. } = range;
    let mut client = PartitionClient::new(plan.cluster.clone(), topic, partition);
    let limits = FetchLimits {
        max_bytes: plan.fetch_bytes(),
        max_wait: MAX_WAIT,
        isolation: plan.isolation,
    };
    let mut log = Log::new(plan, topic, range, backup);
    let mut aborted = AbortedTransactions::default();
    let (mut offset, mut empty) = (range.next, 0);
    let no_data = |offset| Error::NoData { topic: topic.to_owned(), partition, offset, end };
    while offset < end {
        let fetched = match client.fetch(offset, limits).await {
            Err(kafka::Error::Broker { code: ResponseError::OffsetOutOfRange, .. }) => {
                let (first, _) = client.offsets(plan.isolation).await?;
                if first <= offset {
                    return Err(no_data(offset));
                }
                let first = first.min(end);
                tracing::warn!(
                    "{topic}-{partition}: offsets {offset} to {} were deleted before they could be \
                     read, by retention or DeleteRecords",
                    first - 1
                );
                log.skip(Skipped { from: offset, to: first - 1, why: Why::Deleted });
                progress.add((first - offset) as u64, 0);
                offset = first;
                continue;
            }
            fetched => fetched?,
        };
        aborted.learn(&fetched.aborted);
        let before = offset;
        for entry in Entries::new(&fetched.records) {
            let corrupt = |why: wire::Error| {
                let (topic, why) = (topic.to_owned(), why.to_string());
                Error::Corrupt { topic, partition, offset, why }
            };
            let Some(found) = Found::read(&fetched.records, entry, offset).map_err(corrupt)? else {
                break;
            };
            let header = found.batch().header;
            // The broker sends whole batches, also where the offset asked for lies behind one.
            if header.last_offset() < offset {
                continue;
            }
            if header.base_offset >= end {
                offset = end;
                break;
            }
            let next = header.last_offset() + 1;
            if plan.isolation == Isolation::ReadUncommitted || aborted.lets_pass(&found.batch()) {
                audit.look(&found.batch());
                log.append(&header, found.as_sent(), audit).await?;
            } else {
                let from = header.base_offset;
                log.skip(Skipped { from, to: next - 1, why: Why::Aborted });
            }
            progress.add((next - offset) as u64, found.as_sent().len());
            offset = next;
        }
        if offset > before {
            empty = 0;
            continue;
        }
        // There is data up to the end offset, or was a moment ago: the broker is asked again.
        empty += 1;
        if empty == PATIENCE {
            return Err(no_data(offset));
        }
    }
    let (segments, skipped) = log.finish(audit).await?;
    Ok(Partition { partition, start_offset: start, end_offset: end, segments, skipped })
}

/// One entry of the broker's log.
struct Found<'a> {
    /// What is kept.
    sent: Cow<'a, [u8]>,
    /// The batch of an old message.
    upgraded: Option<Vec<u8>>,
    header: Header,
}

impl<'a> Found<'a> {
    /// Reads and checks one; `None` where the answer cuts it off.
    fn read(
        records: &'a [u8],
        entry: wire::Result<Entry>,
        offset: i64,
    ) -> wire::Result<Option<Self>> {
        let (start, end, magic) = match entry? {
            Entry::Whole { start, end, magic } => (start, end, magic),
            Entry::Partial { .. } => return Ok(None),
        };
        let sent = &records[start..end];
        if magic < 2 {
            let upgraded = message_set::upgrade(sent, DECOMPRESSED_LIMIT)?;
            let header = Batch::parse(&upgraded)?.header;
            return Ok(Some(Self { sent: sent.into(), upgraded: Some(upgraded), header }));
        }
        let batch = Batch::parse(sent)?;
        if !batch.crc_matches() {
            return Err(wire::Error::BatchCrc);
        }
        let header = batch.header;
        let is_cut = header.base_offset < offset && header.last_offset() >= offset;
        if is_cut && !header.is_control() {
            let rest = rebatch::starting_at(&batch, offset, DECOMPRESSED_LIMIT)?;
            // One that compaction emptied stays.
            if !rest.is_empty() {
                let header = Batch::parse(&rest)?.header;
                return Ok(Some(Self { sent: rest.into(), upgraded: None, header }));
            }
        }
        Ok(Some(Self { sent: sent.into(), upgraded: None, header }))
    }

    fn as_sent(&self) -> &[u8] {
        &self.sent
    }

    fn batch(&self) -> Batch<'_> {
        Batch { header: self.header, bytes: self.upgraded.as_deref().unwrap_or(&self.sent) }
    }
}

/// What is written of a partition.
struct Log<'a> {
    plan: &'a TopicsPlan,
    topic: &'a str,
    partition: i32,
    backup: &'a Backup,
    writer: Option<SegmentWriter<'a>>,
    segments: Vec<Segment>,
    skipped: Vec<Skipped>,
    /// What of `skipped` the facts of a segment tell already.
    told: usize,
}

impl<'a> Log<'a> {
    /// Goes on behind what earlier runs have.
    fn new(plan: &'a TopicsPlan, topic: &'a str, range: &Range, backup: &'a Backup) -> Self {
        let (segments, skipped) = (range.found.segments.clone(), range.found.skipped.clone());
        let (partition, told) = (range.partition, skipped.len());
        Self { plan, topic, partition, backup, writer: None, segments, skipped, told }
    }

    async fn append(&mut self, header: &Header, sent: &[u8], audit: &mut Audit<'_>) -> Result<()> {
        let mut writer = if let Some(writer) = self.writer.take() {
            writer
        } else {
            let (topic, partition) = (self.topic, self.partition);
            SegmentWriter::begin(self.backup, topic, partition, header.base_offset).await?
        };
        writer.append(header, sent).await?;
        let most_records = self.plan.segment_max_records.map_or(u64::MAX, NonZeroU64::get);
        let is_full =
            writer.bytes() >= self.plan.segment_max_bytes || writer.records() >= most_records;
        self.writer = Some(writer);
        if is_full { self.end_segment(audit).await } else { Ok(()) }
    }

    fn skip(&mut self, range: Skipped) {
        range.add(&mut self.skipped);
        // One that has grown is told again.
        self.told = self.told.min(self.skipped.len() - 1);
    }

    async fn end_segment(&mut self, audit: &mut Audit<'_>) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            self.segments
                .push(writer.finish(&self.skipped[self.told..], audit.end_segment()).await?);
            self.told = self.skipped.len();
        }
        Ok(())
    }

    async fn finish(mut self, audit: &mut Audit<'_>) -> Result<(Vec<Segment>, Vec<Skipped>)> {
        self.end_segment(audit).await?;
        Ok((self.segments, self.skipped))
    }
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
