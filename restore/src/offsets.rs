//! The offset map: where in the target each offset of the source is. It has one entry a segment, and
//! within a segment the artefact tells the rest: so it is small, and exact.

use artifact::manifest::{MappedPartition, MappedSegment, OffsetMap};
use artifact::{Backup, Manifest, SegmentReader, layout};
use wire::{Batch, rebatch};

use crate::records::{From, To};
use crate::{Error, Result};

/// What became of one partition.
pub(crate) fn mapped(
    from: &From<'_>,
    to: &To<'_>,
    segments: Vec<MappedSegment>,
    records: u64,
) -> MappedPartition {
    MappedPartition {
        topic: from.topic.to_owned(),
        partition: from.partition.partition,
        target_topic: to.topic.to_owned(),
        target_partition: to.partition,
        target_end: to.start + records as i64,
        window: from.window,
        segments,
    }
}

/// Writes the map; what earlier restores into the same cluster say of other partitions stays.
pub(crate) async fn write(
    backup: &Backup,
    cluster_id: &str,
    mut partitions: Vec<MappedPartition>,
) -> Result<()> {
    let earlier: OffsetMap = backup.find_json(layout::OFFSET_MAP).await?.unwrap_or_default();
    if earlier.cluster_id == cluster_id {
        let is_other = |it: &MappedPartition| {
            !partitions.iter().any(|new| (&new.topic, new.partition) == (&it.topic, it.partition))
        };
        let others: Vec<_> = earlier.partitions.into_iter().filter(is_other).collect();
        partitions.extend(others);
    }
    partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    let map = OffsetMap { cluster_id: cluster_id.to_owned(), partitions };
    backup.put_json(layout::OFFSET_MAP, &map).await?;
    Ok(())
}

/// Finds offsets of the target.
#[derive(Debug)]
pub struct Lookup<'a> {
    backup: &'a Backup,
    manifest: &'a Manifest,
    map: &'a OffsetMap,
    decompressed_limit: usize,
}

/// An offset of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl<'a> Lookup<'a> {
    /// Looks things up in the map that restores of this backup have written.
    pub fn new(
        backup: &'a Backup,
        manifest: &'a Manifest,
        map: &'a OffsetMap,
        decompressed_limit: usize,
    ) -> Self {
        Self { backup, manifest, map, decompressed_limit }
    }

    /// Where the first restored record is whose source offset is `offset` or larger; behind the last
    /// one where there is none such. `None` where the partition was not restored.
    pub async fn place(&self, topic: &str, partition: i32, offset: i64) -> Result<Option<Place>> {
        let is_it = |it: &&MappedPartition| it.topic == topic && it.partition == partition;
        let Some(mapped) = self.map.partitions.iter().find(is_it) else { return Ok(None) };
        let at = self.offset(mapped, offset).await?;
        Ok(Some(Place {
            topic: mapped.target_topic.clone(),
            partition: mapped.target_partition,
            offset: at,
        }))
    }

    async fn offset(&self, mapped: &MappedPartition, offset: i64) -> Result<i64> {
        let behind = mapped.segments.partition_point(|it| it.source <= offset);
        let next = mapped.segments.get(behind).map_or(mapped.target_end, |it| it.target);
        // Before the first segment is where that begins.
        let Some(within) = behind.checked_sub(1).map(|it| mapped.segments[it]) else {
            return Ok(next);
        };
        let topics = self.manifest.topics.iter().find(|it| it.name == mapped.topic);
        let partitions =
            topics.and_then(|it| it.partitions.iter().find(|it| it.partition == mapped.partition));
        let segment =
            partitions.and_then(|it| it.segments.iter().find(|it| it.base_offset == within.source));
        let Some(segment) = segment.filter(|it| it.last_offset >= offset) else { return Ok(next) };
        let dense = segment.last_offset - segment.base_offset + 1 == segment.records as i64;
        if dense && mapped.window.is_everything() {
            return Ok(within.target + offset - segment.base_offset);
        }
        let mut reader = SegmentReader::new(self.backup, &mapped.topic, mapped.partition, segment);
        let mut before = 0;
        while let Some((header, bytes)) = reader.next_batch().await? {
            if header.base_offset >= offset {
                break;
            }
            let batch = Batch { header, bytes: &bytes };
            let limit = self.decompressed_limit;
            before +=
                rebatch::count_before(&batch, &mapped.window, offset, limit).map_err(|why| {
                    let (topic, partition) = (mapped.topic.clone(), mapped.partition);
                    Error::Batch { topic, partition, offset: header.base_offset, why }
                })?;
        }
        Ok(within.target + before)
    }
}
