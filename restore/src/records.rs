//! One partition's batches: read, translated, written with acks=all.

use std::time::Duration;

use artifact::manifest::Partition;
use artifact::{Backup, SegmentReader};
use bytes::Bytes;
use kafka::{Isolation, PartitionClient};
use wire::translate::Parts;
use wire::{Batch, IdMap, Tally, Translator, rebatch};

use crate::{Error, Result, TopicsPlan};

/// Before a batch is sent again after a leader change or a broken connection.
const PAUSE: Duration = Duration::from_millis(200);
/// Tries for one batch; [`PartitionClient::offsets`] waits for a leader in between.
const ATTEMPTS: u32 = 10;

/// Writes all segments of a partition; gives the records written and what was translated.
pub(crate) async fn write(
    plan: &TopicsPlan,
    backup: &Backup,
    topic: &str,
    partition: &Partition,
    map: &IdMap,
) -> Result<(u64, Tally)> {
    let number = partition.partition;
    let mut client = PartitionClient::new(plan.cluster.clone(), topic, number);
    let (mut records, mut tally) = (0, Tally::default());
    let mut translator = Translator::new(Parts::BOTH, plan.decompressed_limit);
    let mut appender = Appender { client: &mut client, topic, partition: number, next: None };
    for segment in &partition.segments {
        let mut reader = SegmentReader::new(backup, topic, number, segment);
        while let Some((header, bytes)) = reader.next_batch().await? {
            let batch = Batch { header, bytes: &bytes };
            let producible =
                rebatch::for_produce(&batch, plan.decompressed_limit).map_err(|why| {
                    Error::Batch {
                        topic: topic.to_owned(),
                        partition: number,
                        offset: header.base_offset,
                        why,
                    }
                })?;
            let Some(mut producible) = producible else {
                continue;
            };
            if let Some(rebuilt) = translator.records(&mut producible, map, &mut tally) {
                producible = rebuilt;
            }
            appender.append(producible.into(), i64::from(header.count)).await?;
            records += header.count as u64;
        }
    }
    Ok((records, tally))
}

struct Appender<'a> {
    client: &'a mut PartitionClient,
    topic: &'a str,
    partition: i32,
    /// Where the partition ends if only we write to it.
    next: Option<i64>,
}

impl Appender<'_> {
    async fn append(&mut self, batch: Bytes, count: i64) -> Result<()> {
        let next = match self.next {
            Some(next) => next,
            None => self.end().await?,
        };
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.client.produce(batch.clone()).await {
                Ok(base) => {
                    self.expect(next, base)?;
                    self.next = Some(next + count);
                    return Ok(());
                }
                Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                    tracing::warn!("{error}; looking whether the batch was written");
                    tokio::time::sleep(PAUSE).await;
                    // Only the answer was lost where the partition has grown by this batch.
                    let end = self.end().await?;
                    if end == next + count {
                        self.next = Some(end);
                        return Ok(());
                    }
                    self.expect(next, end)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn end(&mut self) -> Result<i64> {
        Ok(self.client.offsets(Isolation::ReadUncommitted).await?.1)
    }

    fn expect(&self, expected: i64, found: i64) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        let (topic, partition) = (self.topic.to_owned(), self.partition);
        Err(Error::NotAlone { topic, partition, found, expected })
    }
}
