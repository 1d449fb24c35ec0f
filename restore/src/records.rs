//! One partition's batches: read, translated, written exactly once.

use artifact::manifest::Partition;
use artifact::{Backup, SegmentReader};
use kafka::Appender;
use wire::translate::Parts;
use wire::{Batch, IdMap, Tally, Translator, rebatch};

use crate::topics::Pace;
use crate::{Error, Result, TopicsPlan};

/// Where records come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct From<'a> {
    pub(crate) backup: &'a Backup,
    pub(crate) topic: &'a str,
    pub(crate) partition: &'a Partition,
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
}

/// Writes all segments of a partition that ends at `end`: what lies between its start and its end
/// was written by an earlier run.
pub(crate) async fn write(
    plan: &TopicsPlan,
    from: From<'_>,
    to: To<'_>,
    end: i64,
    map: &IdMap,
    pace: &Pace,
) -> Result<Written> {
    let mut written = Written::default();
    let To { topic, partition, start } = to;
    let limit = plan.decompressed_limit;
    let mut there = end - start;
    let not_ours = |found| kafka::Error::NotAlone {
        topic: topic.to_owned(),
        partition,
        found: end,
        expected: found,
    };
    if there < 0 {
        return Err(not_ours(start).into());
    }
    let mut translator = (!map.is_empty()).then(|| Translator::new(Parts::BOTH, limit));
    let mut appender = None;
    for segment in &from.partition.segments {
        let number = from.partition.partition;
        let mut reader = SegmentReader::new(from.backup, from.topic, number, segment);
        while let Some((header, bytes)) = reader.next_batch().await? {
            let batch = Batch { header, bytes: &bytes };
            let unusable = |why| Error::Batch {
                topic: from.topic.to_owned(),
                partition: number,
                offset: header.base_offset,
                why,
            };
            let producible = rebatch::for_produce(&batch, &plan.window, limit).map_err(unusable)?;
            let Some(mut producible) = producible else { continue };
            let count = Batch::parse(&producible).map_err(unusable)?.header.count;
            written.records += count as u64;
            if there > 0 {
                // A split batch may have been written in part; then its rest can't be told.
                there -= i64::from(count);
                if there < 0 {
                    return Err(not_ours(end - there).into());
                }
                written.before += count as u64;
                continue;
            }
            if let Some(translator) = &mut translator
                && let Some(rebuilt) = translator.records(&mut producible, map, &mut written.tally)
            {
                producible = rebuilt;
            }
            pace.wait(producible.len()).await;
            let appender = match &mut appender {
                Some(appender) => appender,
                none => {
                    let cluster = plan.cluster.clone();
                    none.insert(Appender::begin(cluster, topic, partition, end, limit).await?)
                }
            };
            appender.append(producible, count).await?;
        }
    }
    if there > 0 {
        // There is more than the backup has.
        return Err(not_ours(end - there).into());
    }
    if let Some(appender) = appender {
        appender.finish().await?;
    }
    Ok(written)
}
