//! Topics: which partition goes where, what is there already, and their records.

use std::collections::BTreeMap;
use std::time::Duration;

use artifact::manifest::{Partition, Topic, TopicFacts};
use artifact::{Backup, Manifest, layout};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use kafka::{Cluster, Created, Isolation, NewTopic, PartitionClient};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};
use wire::{IdMap, Tally};

use crate::{Error, PlannedTopic, RestoredTopic, Result, TopicsPlan, records};

/// What is going to be written where.
#[derive(Debug)]
pub(crate) struct Planned {
    topics: Vec<TopicPlan>,
    brokers: usize,
    progress: Progress,
    /// An earlier run into this cluster was stopped, and this one goes on.
    resumes: bool,
}

#[derive(Debug)]
struct TopicPlan {
    topic: Topic,
    facts: TopicFacts,
    target: String,
    exists: bool,
    /// By their numbers in the target.
    partitions: BTreeMap<i32, Partition>,
}

/// Beside the artefact's manifest while records are restored: where each partition of the target
/// ended before. With it a restore that was killed knows where it was, from the target's own end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    cluster_id: String,
    /// The settings that decide which records go where.
    settings: String,
    starts: BTreeMap<String, BTreeMap<i32, i64>>,
}

impl Planned {
    pub(crate) fn report(&self) -> Vec<PlannedTopic> {
        let each = self.topics.iter().map(|it| PlannedTopic {
            name: it.topic.name.clone(),
            target: it.target.clone(),
            create: !it.exists,
            partitions: it.partitions.len(),
            records: segments(it).map(|it| it.records).sum(),
            bytes: segments(it).map(|it| it.bytes).sum(),
        });
        each.collect()
    }
}

fn segments(topic: &TopicPlan) -> impl Iterator<Item = &artifact::manifest::Segment> {
    topic.partitions.values().flat_map(|it| &it.segments)
}

/// Finds each partition's place; asks the target only.
pub(crate) async fn plan(
    plan: &TopicsPlan,
    backup: &Backup,
    manifest: &Manifest,
    failures: &mut Vec<String>,
) -> Result<Option<Planned>> {
    for name in plan.selection.exact_names() {
        if !manifest.topics.iter().any(|it| it.name == name) {
            failures.push(format!("topic `{name}` is not in the backup"));
        }
    }
    let mut topics = Vec::new();
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for topic in manifest.topics.iter().filter(|it| plan.selection.selects(&it.name)) {
        let target = plan.names.of(&topic.name).unwrap_or_else(|| topic.name.clone());
        if let Some(first) = taken.insert(target.clone(), topic.name.clone()) {
            let second = &topic.name;
            failures.push(format!("topics `{first}` and `{second}` would both become `{target}`"));
        }
        let facts = match backup.json(&layout::topic(&topic.name), &topic.facts).await {
            Ok(facts) => facts,
            Err(why) => {
                failures.push(why.to_string());
                continue;
            }
        };
        let partitions = partitions(plan, topic, failures);
        let topic = topic.clone();
        topics.push(TopicPlan { topic, facts, target, exists: false, partitions });
    }
    match survey(plan, backup, topics, failures).await {
        Err(Error::Kafka(why)) => {
            failures.push(why.to_string());
            Ok(None)
        }
        result => result.map(Some),
    }
}

fn partitions(
    plan: &TopicsPlan,
    topic: &Topic,
    failures: &mut Vec<String>,
) -> BTreeMap<i32, Partition> {
    let mut partitions = BTreeMap::new();
    for it in &topic.partitions {
        if plan.source_partitions.as_ref().is_some_and(|those| !those.contains(&it.partition)) {
            continue;
        }
        let number = plan.partitions.get(&it.partition).copied().unwrap_or(it.partition);
        if let Some(other) = partitions.insert(number, it.clone()) {
            let (name, first, second) = (&topic.name, other.partition, it.partition);
            failures.push(format!(
                "partition_mapping: {name}-{first} and {name}-{second} would both become \
                 partition {number}"
            ));
        }
    }
    partitions
}

async fn survey(
    plan: &TopicsPlan,
    backup: &Backup,
    mut topics: Vec<TopicPlan>,
    failures: &mut Vec<String>,
) -> Result<Planned> {
    let metadata = plan.cluster.metadata(None).await?;
    let cluster_id = metadata.cluster_id.clone().unwrap_or_default();
    let earlier: Option<Progress> =
        backup.find_json(&layout::records_in_progress(&cluster_id)).await?;
    let mut progress = Progress { cluster_id, settings: settings(plan), starts: BTreeMap::new() };
    let resumes = earlier.is_some();
    if earlier.as_ref().is_some_and(|it| it.settings != progress.settings) {
        failures.push(format!(
            "a restore into this cluster was stopped, and its topic settings were others: go on with \
             those, or delete the topics and {}",
            backup.store().place(&backup.key(&progress.object()))
        ));
    }
    for topic in &mut topics {
        let name = &topic.target;
        let found = metadata.topics.get(name);
        topic.exists = found.is_some();
        let configs = match found {
            Some(_) => plan.cluster.topic_configs(name).await?.unwrap_or_default(),
            None => topic.facts.configs.clone().unwrap_or_default(),
        };
        warn_of_retention(topic, &configs);
        let starts = progress.starts.entry(name.clone()).or_default();
        let Some(found) = found else {
            if !plan.create {
                failures
                    .push(format!("topic `{name}` is not in the target (create_topics: false)"));
            }
            starts.extend(topic.partitions.keys().map(|&it| (it, 0)));
            continue;
        };
        for &partition in topic.partitions.keys() {
            if !found.leaders.contains_key(&partition) {
                let there = found.leaders.len();
                failures.push(format!(
                    "topic `{name}` has {there} partitions in the target, so there is no partition \
                     {partition}"
                ));
                continue;
            }
            let before = earlier.as_ref().and_then(|it| it.starts.get(name));
            if let Some(&start) = before.and_then(|it| it.get(&partition)) {
                starts.insert(partition, start);
                continue;
            }
            let mut client = PartitionClient::new(plan.cluster.clone(), name, partition);
            let (start, end) = client.offsets(Isolation::ReadUncommitted).await?;
            starts.insert(partition, end);
            if start < end && !plan.append {
                failures.push(format!(
                    "topic `{name}` is not empty in the target ({name}-{partition} holds offsets \
                     {start} to {end}); delete it, or set `into_non_empty: append`"
                ));
                break;
            }
        }
    }
    Ok(Planned { topics, brokers: metadata.brokers.len(), progress, resumes })
}

/// Retention counts from the records' own times, so old ones go as soon as they have come.
fn warn_of_retention(topic: &TopicPlan, configs: &BTreeMap<String, String>) {
    let set = |key: &str| configs.get(key).map(String::as_str);
    if set("cleanup.policy").is_some_and(|it| !it.contains("delete")) {
        return;
    }
    let retention = set("retention.ms").and_then(|it| it.parse().ok()).unwrap_or(WEEK_MS);
    let limit = jiff::Timestamp::now().as_millisecond() - retention;
    let old: u64 = segments(topic)
        .filter(|it| retention >= 0 && it.records > 0 && it.max_timestamp < limit)
        .map(|it| it.records)
        .sum();
    if old > 0 {
        tracing::warn!(
            "topic {}: at least {old} records are older than its retention.ms of {retention}, so the \
             target will delete them soon after they were written; set retention.ms=-1 first to \
             keep them",
            topic.target
        );
    }
}

/// Kafka's default `log.retention.hours`.
const WEEK_MS: i64 = 7 * 24 * 3_600_000;

/// Which records go where: a restore that goes on must decide the same.
fn settings(plan: &TopicsPlan) -> String {
    let (window, partitions) = (plan.window, &plan.partitions);
    format!("{window:?} {:?} {partitions:?} {:?}", plan.names, plan.source_partitions)
}

impl Progress {
    fn object(&self) -> String {
        layout::records_in_progress(&self.cluster_id)
    }
}

/// Creates what is missing and writes all partitions.
pub(crate) async fn restore(
    plan: &TopicsPlan,
    planned: &Planned,
    backup: &Backup,
    map: &IdMap,
) -> Result<Vec<RestoredTopic>> {
    let object = planned.progress.object();
    backup.put_json(&object, &planned.progress).await?;
    if planned.resumes {
        tokio::time::sleep(SETTLING).await;
    }
    let mut restored = Vec::with_capacity(planned.topics.len());
    for topic in &planned.topics {
        restored.push(RestoredTopic {
            name: topic.target.clone(),
            created: !topic.exists && create(plan, topic, planned.brokers).await?,
            records: 0,
            records_before: 0,
            translated: 0,
            unmapped: 0,
            undecodable: 0,
        });
    }
    let pace = Pace::new(plan.bytes_per_second.map(std::num::NonZeroU64::get));
    let all = planned.topics.iter().enumerate().flat_map(|(index, topic)| {
        topic.partitions.iter().map(move |(&number, it)| (index, topic, number, it))
    });
    let written: Vec<(usize, records::Written)> = stream::iter(all)
        .map(|(index, topic, number, partition)| {
            let (pace, start) = (&pace, planned.progress.starts[&topic.target][&number]);
            async move {
                let to = records::To { topic: &topic.target, partition: number, start };
                let from = records::From { backup, topic: &topic.topic.name, partition };
                let end = end(&plan.cluster, &to).await?;
                let written = records::write(plan, from, to, end, map, pace).await?;
                Ok::<_, Error>((index, written))
            }
        })
        .buffer_unordered(plan.max_concurrent_partitions.get())
        .try_collect()
        .await?;
    for (index, written) in written {
        restored[index].records += written.records;
        restored[index].records_before += written.before;
        restored[index].count(&written.tally);
        warn(&planned.topics[index].topic, &written.tally);
    }
    backup.store().delete(&backup.key(&object)).await.map_err(artifact::Error::from)?;
    Ok(restored)
}

/// What a killed restore had sent may still arrive; its ends are looked at after this.
const SETTLING: Duration = Duration::from_secs(2);

async fn end(cluster: &Cluster, to: &records::To<'_>) -> Result<i64> {
    let mut client = PartitionClient::new(cluster.clone(), to.topic, to.partition);
    Ok(client.offsets(Isolation::ReadUncommitted).await?.1)
}

async fn create(plan: &TopicsPlan, topic: &TopicPlan, brokers: usize) -> Result<bool> {
    let most = i16::try_from(brokers).unwrap_or(i16::MAX);
    let facts = &topic.facts;
    let wanted = plan.replication_factor.unwrap_or(facts.replication_factor);
    if wanted > most {
        tracing::warn!(
            "topic {} is to have {wanted} replicas and gets {most}: the target has no more brokers",
            topic.target
        );
    }
    let highest = topic.partitions.keys().last().map_or(0, |it| it + 1);
    let new = NewTopic {
        name: topic.target.clone(),
        partitions: facts.partitions.max(highest),
        replication_factor: wanted.min(most),
        configs: facts.configs.clone().unwrap_or_default(),
    };
    Ok(plan.cluster.create_topic(&new).await? == Created::New)
}

fn warn(topic: &Topic, tally: &Tally) {
    if let Some(id) = tally.first_unmapped {
        tracing::warn!(
            "topic {}: {} ids are not in the id map and stayed as they were, the first is {} in a {:?}",
            topic.name,
            tally.unmapped,
            id.id,
            id.part
        );
    }
    if let Some(why) = &tally.first_error {
        tracing::warn!(
            "topic {}: {} batches stayed as they were, because {why}",
            topic.name,
            tally.undecodable
        );
    }
}

/// Lets bytes go no faster than a rate, over all partitions.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Option<u64>,
    /// When the bytes that went have been paid for.
    paid: Mutex<Instant>,
}

impl Pace {
    fn new(rate: Option<u64>) -> Self {
        Self { rate, paid: Mutex::new(Instant::now()) }
    }

    pub(crate) async fn wait(&self, bytes: usize) {
        let Some(rate) = self.rate else { return };
        let mut paid = self.paid.lock().await;
        let start = (*paid).max(Instant::now());
        *paid = start + Duration::from_secs_f64(bytes as f64 / rate as f64);
        drop(paid);
        sleep_until(start).await;
    }
}
