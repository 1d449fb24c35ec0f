//! Which partitions there are, where they end, and their copies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use artifact::manifest::{Partition, Topic, TopicFacts};
use artifact::{Backup, layout};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use kafka::{Cluster, Isolation, PartitionClient};

use crate::audit::Audits;
use crate::{Error, Result, TopicsPlan, partition};

/// The cluster at the moment the backup began.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) cluster_id: Option<String>,
    topics: BTreeMap<String, TopicSnapshot>,
}

#[derive(Debug)]
struct TopicSnapshot {
    facts: TopicFacts,
    ranges: Vec<Range>,
}

/// What of one partition is captured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) partition: i32,
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// Takes the end offsets of all partitions, and the topics' facts.
pub(crate) async fn snapshot(plan: &TopicsPlan) -> Result<Snapshot> {
    let metadata = plan.cluster.metadata(None).await?;
    for name in plan.selection.exact_names() {
        if !metadata.topics.contains_key(name) {
            return Err(Error::NoTopic(name.to_owned()));
        }
    }
    let mut topics = BTreeMap::new();
    for (name, found) in metadata.topics {
        if !plan.selection.selects_topic(&name, found.internal) {
            continue;
        }
        let partitions: Vec<i32> = found.leaders.keys().copied().collect();
        let ranges = ranges(plan, &name, &partitions).await?;
        let facts = TopicFacts {
            configs: plan.cluster.topic_configs(&name).await?,
            partitions: partitions.len() as i32,
            replication_factor: found.replication_factor,
            name: name.clone(),
        };
        topics.insert(name, TopicSnapshot { facts, ranges });
    }
    if topics.is_empty() {
        tracing::warn!("no topic of the source cluster is selected");
    }
    Ok(Snapshot { cluster_id: metadata.cluster_id, topics })
}

async fn ranges(plan: &TopicsPlan, topic: &str, partitions: &[i32]) -> Result<Vec<Range>> {
    let one = |partition: i32| offsets(plan.cluster.clone(), topic, partition, plan.isolation);
    stream::iter(partitions.iter().copied())
        .map(one)
        .buffered(plan.max_concurrent_partitions.get())
        .try_collect()
        .await
}

async fn offsets(
    cluster: Cluster,
    topic: &str,
    partition: i32,
    isolation: Isolation,
) -> Result<Range> {
    let (start, end) = PartitionClient::new(cluster, topic, partition).offsets(isolation).await?;
    Ok(Range { partition, start, end })
}

/// Copies every partition up to its end offset in the snapshot; gives the ids in them that the
/// audits do not know.
pub(crate) async fn copy(
    plan: &TopicsPlan,
    snapshot: &Snapshot,
    audits: &Audits,
    backup: &Backup,
) -> Result<(Vec<Topic>, BTreeSet<u32>)> {
    let all = snapshot.topics.iter().flat_map(|(name, topic)| {
        let name: Arc<str> = name.as_str().into();
        topic.ranges.iter().map(move |&range| (Arc::clone(&name), range))
    });
    let copies: Vec<(Arc<str>, Partition, BTreeSet<u32>)> = stream::iter(all)
        .map(|(name, range)| async move {
            let mut audit = audits.of(&name);
            let copied = partition::copy(plan, &name, range, &mut audit, backup).await?;
            Ok::<_, Error>((name, copied, audit.unknown()))
        })
        .buffered(plan.max_concurrent_partitions.get())
        .try_collect()
        .await?;
    let mut partitions: BTreeMap<Arc<str>, Vec<Partition>> = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    for (name, partition, ids) in copies {
        partitions.entry(name).or_default().push(partition);
        unknown.extend(ids);
    }
    let mut topics = Vec::with_capacity(snapshot.topics.len());
    for (name, topic) in &snapshot.topics {
        let facts = backup.put_json(&layout::topic(name), &topic.facts).await?;
        let partitions = partitions.remove(name.as_str()).unwrap_or_default();
        topics.push(Topic { name: name.clone(), facts, partitions });
    }
    Ok((topics, unknown))
}
