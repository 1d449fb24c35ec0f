//! Batches: read, made producible, translated, written exactly once.

use std::collections::BTreeMap;

use app::progress::Progress;
use artifact::manifest::{MappedSegment, Partition, Segment};
use artifact::{Backup, SegmentReader};
use bytes::Bytes;
use kafka::{Appender, Isolation, PartitionClient};
use wire::rebatch::{self, Window};
use wire::translate::Parts;
use wire::{Batch, Header, IdMap, Tally, Translator};

use crate::pace::Pace;
use crate::{Error, Result, TopicsPlan};

/// What all partitions of a restore share.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) plan: &'a TopicsPlan,
    pub(crate) backup: &'a Backup,
    pub(crate) map: &'a IdMap,
    pub(crate) pace: Pace,
    pub(crate) progress: Progress,
}

/// Where records come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct From<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: &'a Partition,
    pub(crate) window: Window,
}

/// Where they go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct To<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    /// Where the partition ended before this restore first began.
    pub(crate) start: i64,
}

/// What became of a partition.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) records: u64,
    /// Of those, the ones that an earlier run had written.
    pub(crate) before: u64,
    pub(crate) tally: Tally,
    /// Where each segment begins in the target; none where records were placed by their keys.
    pub(crate) segments: Vec<MappedSegment>,
}

/// Writes a partition into one of the target's.
pub(crate) async fn copy(job: &Job<'_>, from: From<'_>, to: To<'_>) -> Result<Written> {
    let limit = job.plan.decompressed_limit;
    let mut writer = Writer::begin(job, to).await?;
    for segment in &from.partition.segments {
        let mapped = MappedSegment { source: segment.base_offset, target: writer.next_offset() };
        writer.written.segments.push(mapped);
        if from.window.is_everything() && writer.has(segment) {
            continue;
        }
        let mut batches = Batches::of(job, &from, segment);
        while let Some((header, bytes)) = batches.next().await? {
            let batch = Batch { header, bytes: &bytes };
            let producible = rebatch::for_produce(&batch, &from.window, limit)
                .map_err(|why| batches.unusable(&header, why))?;
            if let Some(producible) = producible {
                writer.put(producible).await?;
            }
        }
    }
    writer.finish().await
}

/// Writes a topic into one with another number of partitions, each record where its key belongs
/// there. One source partition follows the other, so that a run that goes on finds the same order.
pub(crate) async fn spread(
    job: &Job<'_>,
    from: &[From<'_>],
    to: &[To<'_>],
) -> Result<Vec<Written>> {
    let (limit, count) = (job.plan.decompressed_limit, to.len() as i32);
    let mut writers = BTreeMap::new();
    for to in to {
        writers.insert(to.partition, Writer::begin(job, *to).await?);
    }
    for from in from {
        let keyless = from.partition.partition % count.max(1);
        for segment in &from.partition.segments {
            let mut batches = Batches::of(job, from, segment);
            while let Some((header, bytes)) = batches.next().await? {
                let batch = Batch { header, bytes: &bytes };
                let placed = rebatch::by_key(&batch, &from.window, count, keyless, limit)
                    .map_err(|why| batches.unusable(&header, why))?;
                for (partition, producible) in placed {
                    if let Some(writer) = writers.get_mut(&partition) {
                        writer.put(producible).await?;
                    }
                }
            }
        }
    }
    let mut written = Vec::with_capacity(writers.len());
    for writer in writers.into_values() {
        written.push(writer.finish().await?);
    }
    Ok(written)
}

/// The batches of one segment.
struct Batches<'a> {
    job: &'a Job<'a>,
    from: &'a From<'a>,
    reader: SegmentReader<'a>,
}

impl<'a> Batches<'a> {
    fn of(job: &'a Job<'a>, from: &'a From<'a>, segment: &'a Segment) -> Self {
        let number = from.partition.partition;
        let reader = SegmentReader::new(job.backup, from.topic, number, segment)
            .reading(job.plan.memory_of_one() / 4);
        Self { job, from, reader }
    }

    async fn next(&mut self) -> Result<Option<(Header, Bytes)>> {
        let batch = self.reader.next_batch().await?;
        if let Some((_, bytes)) = &batch {
            self.job.progress.add(bytes.len() as u64, bytes.len());
        }
        Ok(batch)
    }

    fn unusable(&self, header: &Header, why: wire::Error) -> Error {
        let From { topic, partition, .. } = self.from;
        let (topic, partition) = ((*topic).to_owned(), partition.partition);
        Error::Batch { topic, partition, offset: header.base_offset, why }
    }
}

/// Writes to one partition of the target. What lies between its start and its end when it begins was
/// written by an earlier run, and comes again in the same order.
struct Writer<'a> {
    job: &'a Job<'a>,
    to: To<'a>,
    end: i64,
    /// Records of the earlier run that have not come yet.
    there: i64,
    translator: Option<Translator>,
    appender: Option<Appender>,
    written: Written,
}

impl<'a> Writer<'a> {
    async fn begin(job: &'a Job<'a>, to: To<'a>) -> Result<Self> {
        let mut client = PartitionClient::new(job.plan.cluster.clone(), to.topic, to.partition);
        let (_, end) = client.offsets(Isolation::ReadUncommitted).await?;
        let limit = job.plan.decompressed_limit;
        let translator = (!job.map.is_empty()).then(|| Translator::new(Parts::BOTH, limit));
        let (appender, written) = Default::default();
        let writer = Self { job, to, end, there: end - to.start, translator, appender, written };
        if writer.there < 0 {
            return Err(writer.not_alone(to.start));
        }
        Ok(writer)
    }

    /// Where the next record goes.
    fn next_offset(&self) -> i64 {
        self.to.start + self.written.records as i64
    }

    /// Whether the earlier run has written all of a segment; then it is passed over.
    fn has(&mut self, segment: &Segment) -> bool {
        let has = self.there >= segment.records as i64;
        if has {
            self.there -= segment.records as i64;
            self.written.before += segment.records;
            self.written.records += segment.records;
            self.job.progress.add(segment.bytes, 0);
        }
        has
    }

    async fn put(&mut self, mut batch: Vec<u8>) -> Result<()> {
        let limit = self.job.plan.decompressed_limit;
        let header = Batch::parse(&batch).map_err(|why| self.unreadable(&why))?.header;
        let mut count = header.count;
        self.written.records += count as u64;
        if self.there > 0 {
            let before = i64::from(count).min(self.there) as i32;
            self.there -= i64::from(before);
            self.written.before += before as u64;
            if before == count {
                return Ok(());
            }
            // The target took no larger batches, and the earlier run ended between two halves.
            batch = rebatch::without_first(&batch, before, limit)
                .map_err(|why| self.unreadable(&why))?;
            count -= before;
        }
        if let Some(translator) = &mut self.translator
            && let Some(rebuilt) =
                translator.records(&mut batch, self.job.map, &mut self.written.tally)
        {
            batch = rebuilt.to_vec();
        }
        self.job.pace.wait(batch.len()).await;
        let appender = match &mut self.appender {
            Some(appender) => appender,
            none => {
                let plan = self.job.plan;
                let (cluster, To { topic, partition, .. }) = (plan.cluster.clone(), self.to);
                let begun = Appender::begin(cluster, topic, partition, self.end, limit).await?;
                none.insert(begun.holding(plan.memory_of_one() / 2))
            }
        };
        Ok(appender.append(batch, count).await?)
    }

    async fn finish(mut self) -> Result<Written> {
        if self.there > 0 {
            // There is more than the backup has.
            return Err(self.not_alone(self.end - self.there));
        }
        if let Some(appender) = self.appender.take() {
            appender.finish().await?;
        }
        Ok(self.written)
    }

    fn not_alone(&self, expected: i64) -> Error {
        let To { topic, partition, .. } = self.to;
        let (topic, found) = (topic.to_owned(), self.end);
        kafka::Error::NotAlone { topic, partition, found, expected }.into()
    }

    fn unreadable(&self, why: &wire::Error) -> Error {
        let To { topic, partition, .. } = self.to;
        let (topic, why) = (topic.to_owned(), why.to_string());
        kafka::Error::Unreadable { topic, partition, why }.into()
    }
}
