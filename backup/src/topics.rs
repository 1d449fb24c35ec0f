//! Which partitions there are, where they end, and their copies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use app::progress::Progress;
use artifact::manifest::{Partition, SeenIds, Topic, TopicFacts};
use artifact::{Backup, Found, Segments, layout};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use kafka::PartitionClient;

use crate::audit::{Audits, Seen};
use crate::{Error, Result, Run, TopicsPlan, partition};

/// How often, and after which pause, a partition is asked again that ends before what was captured.
const PATIENCE: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// The cluster at the moment the backup began.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) cluster_id: Option<String>,
    pub(crate) topics: BTreeMap<String, TopicSnapshot>,
}

#[derive(Debug)]
pub(crate) struct TopicSnapshot {
    pub(crate) facts: TopicFacts,
    ranges: Vec<Range>,
}

/// What of one partition is captured.
#[derive(Debug)]
pub(crate) struct Range {
    pub(crate) partition: i32,
    /// The log start offset when the first run began.
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// Where this copy begins.
    pub(crate) next: i64,
    /// What earlier runs have of it.
    pub(crate) found: Found,
}

impl Range {
    fn offsets(&self) -> u64 {
        u64::try_from(self.end - self.next).unwrap_or(0)
    }
}

/// Takes the end offsets of all partitions that are this machine's, and the topics' facts.
pub(crate) async fn snapshot(plan: &TopicsPlan, run: &Run) -> Result<Snapshot> {
    let metadata = plan.cluster.metadata(None).await?;
    let earlier = run.earlier.as_ref().and_then(|it| it.cluster_id.clone());
    if let (Some(earlier), Some(now)) = (earlier, metadata.cluster_id.clone())
        && earlier != now
    {
        return Err(Error::OtherCluster { earlier, now });
    }
    for name in plan.selection.exact_names() {
        if !metadata.topics.contains_key(name) {
            return Err(Error::NoTopic(name.to_owned()));
        }
    }
    let segments = Segments::list(&run.backup).await?;
    let mut topics = BTreeMap::new();
    for (name, found) in metadata.topics {
        if !plan.selection.selects_topic(&name, found.internal) {
            continue;
        }
        let facts = TopicFacts {
            configs: plan.cluster.topic_configs(&name).await?,
            topic_id: found.id,
            partitions: found.leaders.len() as i32,
            replication_factor: found.replication_factor,
            name: name.clone(),
        };
        let earlier = Earlier::read(run, &facts).await?;
        let own = found
            .leaders
            .keys()
            .copied()
            .filter(|&it| plan.shard.is_none_or(|shard| shard.owns(&name, it)));
        let ranges = stream::iter(own)
            .map(|partition| range(plan, &facts, partition, &earlier, &segments, run))
            .buffered(plan.max_concurrent_partitions.get())
            .try_collect()
            .await?;
        topics.insert(name, TopicSnapshot { facts, ranges });
    }
    if topics.is_empty() {
        tracing::warn!("no topic of the source cluster is selected");
    }
    Ok(Snapshot { cluster_id: metadata.cluster_id, topics })
}

/// What the manifest has of a topic.
struct Earlier(BTreeMap<i32, Partition>);

impl Earlier {
    /// Of the same topic: one that has the name only has other records at these offsets.
    async fn read(run: &Run, facts: &TopicFacts) -> Result<Self> {
        let topics = run.earlier.as_ref().map_or(&[][..], |it| &it.topics);
        let object = layout::topic(&facts.name);
        let (before, partitions): (Option<TopicFacts>, _) = match topics
            .iter()
            .find(|it| it.name == facts.name)
        {
            Some(it) => (Some(run.backup.json(&object, &it.facts).await?), it.partitions.clone()),
            None => (run.backup.find_json(&object).await?, Vec::new()),
        };
        if let (Some(before), Some(now)) = (before.and_then(|it| it.topic_id), &facts.topic_id)
            && before != *now
        {
            return Err(Error::Recreated(facts.name.clone()));
        }
        Ok(Self(partitions.into_iter().map(|it| (it.partition, it)).collect()))
    }
}

async fn range(
    plan: &TopicsPlan,
    facts: &TopicFacts,
    partition: i32,
    earlier: &Earlier,
    segments: &Segments,
    run: &Run,
) -> Result<Range> {
    let topic = &facts.name;
    let mut client = PartitionClient::new(plan.cluster.clone(), topic, partition);
    let (mut start, mut end) = client.offsets(plan.isolation).await?;
    let mut found = Found::default();
    if let Some(earlier) = earlier.0.get(&partition) {
        start = earlier.start_offset;
        found.segments.clone_from(&earlier.segments);
        found.skipped.clone_from(&earlier.skipped);
    }
    found = segments.behind(&run.backup, topic, partition, found).await?;
    if let (None, Some(first)) = (earlier.0.get(&partition), found.segments.first()) {
        start = start.min(first.base_offset);
    }
    let ended = earlier.0.get(&partition).map(|it| it.end_offset);
    let captured = found.next_offset().max(ended).unwrap_or(start);
    // A replica that has just become leader may be a little behind (KIP-207).
    for _ in 0..PATIENCE {
        if end >= captured {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        end = client.offsets(plan.isolation).await?.1;
    }
    if end < captured {
        let topic = topic.clone();
        return Err(Error::Truncated { topic, partition, end, captured });
    }
    Ok(Range { partition, start, end, next: captured, found })
}

/// Copies every partition up to its end offset in the snapshot; gives the ids in them that the
/// audits do not know.
pub(crate) async fn copy(
    plan: &TopicsPlan,
    snapshot: &Snapshot,
    audits: &Audits,
    backup: &Backup,
) -> Result<(Vec<Topic>, Seen)> {
    // First of all: the next run of a backup that was stopped knows its topics again.
    let mut facts = BTreeMap::new();
    for (name, topic) in &snapshot.topics {
        facts.insert(name, backup.put_json(&layout::topic(name), &topic.facts).await?);
    }
    let ranges = snapshot.topics.values().flat_map(|it| &it.ranges);
    let progress = Progress::new("captured", ranges.map(Range::offsets).sum());
    let all = snapshot.topics.iter().flat_map(|(name, topic)| {
        let name: Arc<str> = name.as_str().into();
        topic.ranges.iter().map(move |range| (Arc::clone(&name), range))
    });
    let copies = stream::iter(all)
        .map(|(name, range)| {
            let progress = &progress;
            async move {
                let mut audit = audits.of(&name, &range.found.ids);
                let copied =
                    partition::copy(plan, &name, range, &mut audit, progress, backup).await?;
                Ok::<_, Error>((name, copied, audit.unknown()))
            }
        })
        .buffered(plan.max_concurrent_partitions.get())
        .try_collect();
    let copies: Vec<(Arc<str>, Partition, SeenIds)> = progress.beside(copies).await?;
    let mut partitions: BTreeMap<Arc<str>, Vec<Partition>> = BTreeMap::new();
    let mut seen = Seen::new();
    for (name, partition, ids) in copies {
        seen.entry(name.to_string()).or_default().extend(&ids);
        partitions.entry(name).or_default().push(partition);
    }
    let topics = facts.into_iter().map(|(name, facts)| {
        let partitions = partitions.remove(name.as_str()).unwrap_or_default();
        Topic { name: name.clone(), facts, partitions }
    });
    Ok((topics.collect(), seen))
}
