//! The segments that earlier runs have finished: their facts, written after them, are the
//! checkpoints that a backup goes on from.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::manifest::{SeenIds, SegmentFacts, Skipped};
use crate::{Backup, Error, Result, layout, manifest};

/// Objects that are read at the same time.
const CONCURRENT_READS: usize = 16;

/// All segments in a backup's store, in its manifest or not.
#[derive(Debug)]
pub struct Segments {
    /// Folder of a partition to base offset to what is there.
    partitions: BTreeMap<String, BTreeMap<i64, Objects>>,
}

#[derive(Debug, Default)]
struct Objects {
    log: bool,
    facts: bool,
}

/// What earlier runs have captured of one partition.
#[derive(Debug, Default)]
pub struct Found {
    /// Its segments, by base offset.
    pub segments: Vec<manifest::Segment>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// Ids in segments that no manifest lists yet, and that no captured version had.
    pub ids: SeenIds,
}

impl Found {
    /// The first offset that no earlier run has looked at.
    pub fn next_offset(&self) -> Option<i64> {
        let captured = self.segments.last().map(|it| it.last_offset + 1);
        captured.max(self.skipped.last().map(|it| it.to + 1))
    }
}

impl Segments {
    /// Lists them.
    pub async fn list(backup: &Backup) -> Result<Self> {
        let mut partitions: BTreeMap<String, BTreeMap<i64, Objects>> = BTreeMap::new();
        for object in backup.objects(layout::TOPICS).await? {
            let Some((folder, name)) = object.rsplit_once('/') else { continue };
            let Some((offset, extension)) = name.split_once('.') else { continue };
            let Ok(offset) = offset.parse::<i64>() else { continue };
            let segments = partitions.entry(format!("{folder}/")).or_default();
            match extension {
                "json" => segments.entry(offset).or_default().facts = true,
                "log" => segments.entry(offset).or_default().log = true,
                _ => {}
            }
        }
        Ok(Self { partitions })
    }

    /// Adds what lies behind `found` to it. A segment without facts was not finished: it is deleted.
    pub async fn behind(
        &self,
        backup: &Backup,
        topic: &str,
        partition: i32,
        mut found: Found,
    ) -> Result<Found> {
        let Some(offsets) = self.partitions.get(&layout::partition(topic, partition)) else {
            return Ok(found);
        };
        let next = found.next_offset().unwrap_or(0);
        for (&base, _) in offsets.range(next..).filter(|(_, it)| !it.facts) {
            let log = layout::segment_log(topic, partition, base);
            backup.remove(&log).await?;
        }
        let finished = offsets.range(next..).filter(|(_, it)| it.facts && it.log);
        let read: Vec<SegmentFacts> = stream::iter(finished.map(|(&base, _)| base))
            .map(|base| facts(backup, topic, partition, base))
            .buffered(CONCURRENT_READS)
            .try_collect()
            .await?;
        for facts in read {
            facts.skipped.into_iter().for_each(|it| it.add(&mut found.skipped));
            found.ids.extend(&facts.ids);
            found.segments.push(facts.segment);
        }
        Ok(found)
    }
}

async fn facts(backup: &Backup, topic: &str, partition: i32, base: i64) -> Result<SegmentFacts> {
    let object = layout::segment_facts(topic, partition, base);
    let missing = || Error::Damaged {
        place: backup.store().place(&backup.key(&object)),
        why: "it went away while it was read".to_owned(),
    };
    backup.find_json(&object).await?.ok_or_else(missing)
}
