//! More than one machine: each captures its own partitions, and the last step joins what they have.

use std::collections::BTreeMap;

use artifact::manifest::{Part, Topic};
use artifact::{Backup, Manifest, layout};
use wire::crc::crc32c;

use crate::audit::{Audits, Seen};
use crate::{Captured, Error, Plan, Result, Run, SchemasPlan, TopicsPlan, audit, groups, topics};

/// Which of several machines this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From zero.
    pub index: u32,
    /// How many there are.
    pub count: u32,
}

impl Shard {
    /// Whether a partition is this machine's. Those of one topic go round; where they begin depends
    /// on its name, so that topics of one partition are spread too.
    pub fn owns(self, topic: &str, partition: i32) -> bool {
        let first = crc32c(topic.as_bytes());
        first.wrapping_add(partition as u32) % self.count == self.index
    }
}

/// Captures this machine's partitions and writes them down as a part of the backup. The registry is
/// asked when the parts are joined, for then all end offsets are known.
pub async fn part(
    topics: &TopicsPlan,
    schemas: Option<&SchemasPlan>,
    backup: &Backup,
) -> Result<Part> {
    let Shard { index, count } = topics.shard.unwrap_or(Shard { index: 0, count: 1 });
    let run = Run::begin(backup).await?;
    let snapshot = topics::snapshot(topics, &run).await?;
    let audits = Audits::without_schemas(schemas);
    let (captured, ids) = topics::copy(topics, &snapshot, &audits, &run.backup).await?;
    let part = Part {
        index,
        count,
        run: run.number(),
        started_at: run.started_at,
        cluster_id: snapshot.cluster_id,
        topics: captured,
        facts: snapshot.topics.into_iter().map(|(name, it)| (name, it.facts)).collect(),
        ids,
    };
    run.backup.put_json(&layout::part(index, count), &part).await?;
    Ok(part)
}

/// Joins the parts, captures the registry and the groups, and gives the finished manifest.
pub async fn finalize(plan: &Plan, backup: &Backup) -> Result<Manifest> {
    let run = Run::begin(backup).await?;
    let parts = parts(backup, run.number()).await?;
    let groups = match &plan.topics {
        Some(topics) => groups::capture(topics).await?,
        None => None,
    };
    let mut captured = Captured::default();
    let mut all: BTreeMap<String, Topic> = BTreeMap::new();
    let (mut facts, mut seen) = (BTreeMap::new(), Seen::new());
    for part in &parts {
        if captured.cluster_id.is_some() && captured.cluster_id != part.cluster_id {
            return Err(refused(backup, "they are of different clusters".to_owned()));
        }
        captured.cluster_id.clone_from(&part.cluster_id);
        for topic in &part.topics {
            let joined = all
                .entry(topic.name.clone())
                .or_insert_with(|| Topic { partitions: Vec::new(), ..topic.clone() });
            joined.partitions.extend(topic.partitions.iter().cloned());
        }
        facts.extend(&part.facts);
        for (topic, ids) in &part.ids {
            seen.entry(topic.clone()).or_default().extend(ids);
        }
    }
    for topic in all.values_mut() {
        // Each machine wrote them for the next run's sake; the configs may have changed in between.
        if let Some(facts) = facts.get(&topic.name) {
            topic.facts = run.backup.put_json(&layout::topic(&topic.name), facts).await?;
        }
        topic.partitions.sort_by_key(|it| it.partition);
    }
    let mut schemas = run.schemas(plan).await?;
    if let Some((plan, manifest)) = &mut schemas {
        let audits = Audits::new(Some((plan, manifest)));
        audit::fetch(&plan.client, audits.unknown(seen), manifest, &run.backup).await?;
    }
    captured.topics = all.into_values().collect();
    if let Some(groups) = groups {
        captured.groups = Some(groups::put(groups, &captured.topics, &run.backup).await?);
    }
    let manifest = run.commit(captured, schemas.map(|(_, it)| it)).await?;
    for part in parts {
        backup.remove(&layout::part(part.index, part.count)).await?;
    }
    Ok(manifest)
}

/// All parts of this run.
async fn parts(backup: &Backup, run: u32) -> Result<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    for object in backup.objects(layout::PARTS).await? {
        parts.extend(backup.find_json::<Part>(&object).await?);
    }
    let Some(first) = parts.first() else {
        let why = "there are none; run `kafka-backup backup --shard` on each machine first";
        return Err(refused(backup, why.to_owned()));
    };
    let count = first.count;
    if let Some(other) = parts.iter().find(|it| it.count != count) {
        let why = format!("one is of {count}, another of {}; all must be of as many", other.count);
        return Err(refused(backup, why));
    }
    let missing = (0..count)
        .filter(|&index| !parts.iter().any(|it| it.index == index && it.run == run))
        .map(|index| format!("{index}/{count}"));
    let missing: Vec<String> = missing.collect();
    if !missing.is_empty() {
        let why = format!("those of shards {} are missing; run them again", missing.join(", "));
        return Err(refused(backup, why));
    }
    Ok(parts)
}

fn refused(backup: &Backup, why: String) -> Error {
    Error::Parts { backup_id: backup.id().to_owned(), why }
}
