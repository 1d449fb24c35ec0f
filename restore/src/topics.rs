//! Topics: which partition goes where, what is there already, and their records.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use app::progress::Progress;
use artifact::manifest::{Partition, Topic, TopicFacts};
use artifact::{Backup, Manifest, layout};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use kafka::{Created, Isolation, NewTopic, PartitionClient};
use serde::{Deserialize, Serialize};
use wire::{IdMap, Tally};

use crate::pace::Pace;
use crate::records::{Job, Written};
use crate::{
    Error, Partitioning, PlannedTopic, RestoredTopic, Result, TopicsPlan, offsets, records,
};

/// What is going to be written where.
#[derive(Debug)]
pub(crate) struct Planned {
    topics: Vec<TopicPlan>,
    brokers: usize,
    journal: Journal,
    /// An earlier run into this cluster was stopped, and this one goes on.
    resumes: bool,
}

#[derive(Debug)]
struct TopicPlan {
    topic: Topic,
    facts: TopicFacts,
    target: String,
    exists: bool,
    /// By their numbers in the target, or where records are placed by their keys, in the backup.
    partitions: BTreeMap<i32, Partition>,
    /// How many the target has, or is to have.
    count: i32,
    /// Whether records are placed by their keys.
    spreads: bool,
}

/// Beside the artefact's manifest while records are restored: where each partition of the target
/// ended before. With it a restore that was killed knows where it was, from the target's own end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Journal {
    cluster_id: String,
    /// The settings that decide which records go where.
    settings: String,
    starts: BTreeMap<String, BTreeMap<i32, i64>>,
    /// Configs of new topics that are set once their records are there.
    #[serde(default)]
    configs: BTreeMap<String, BTreeMap<String, String>>,
}

impl Planned {
    /// The topics whose records change their partitions, by their names in the backup.
    pub(crate) fn placed_by_key(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().filter(|it| it.spreads).map(|it| it.topic.name.as_str())
    }

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
    let named = plan.selection.exact_names().chain(plan.ranges.keys().map(String::as_str));
    for name in named.chain(plan.counts.keys().map(String::as_str)) {
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
        let read = backup.json::<TopicFacts>(&layout::topic(&topic.name), &topic.facts).await;
        let facts = match read {
            Ok(facts) => facts,
            Err(why) => {
                failures.push(why.to_string());
                continue;
            }
        };
        let partitions = partitions(plan, topic, failures);
        let topic = topic.clone();
        let highest = partitions.keys().last().map_or(0, |it| it + 1);
        let chosen = plan.counts.get(&topic.name).copied();
        let count = chosen.unwrap_or_else(|| facts.partitions.max(highest));
        let exists = false;
        topics.push(TopicPlan { topic, facts, target, exists, partitions, count, spreads: false });
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
    let earlier: Option<Journal> =
        backup.find_json(&layout::records_in_progress(&cluster_id)).await?;
    let configs = earlier.as_ref().map(|it| it.configs.clone()).unwrap_or_default();
    let mut journal =
        Journal { cluster_id, settings: settings(plan), starts: BTreeMap::new(), configs };
    let resumes = earlier.is_some();
    if earlier.as_ref().is_some_and(|it| it.settings != journal.settings) {
        failures.push(format!(
            "a restore into this cluster was stopped, and its topic settings were others: go on with \
             those, or delete the topics and {}",
            backup.store().place(&backup.key(&journal.object()))
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
        if let Some(found) = found {
            topic.count = found.leaders.len() as i32;
        }
        topic.spreads =
            plan.partitioning == Partitioning::ByKey && topic.count != topic.facts.partitions;
        let numbers: Vec<i32> = if topic.spreads {
            (0..topic.count).collect()
        } else {
            topic.partitions.keys().copied().collect()
        };
        if found.is_some() && topic.count > topic.facts.partitions && !topic.spreads {
            tracing::warn!(
                "topic {name} has {} partitions in the target and {} in the backup: new records of a \
                 key may go to another partition than its old ones; `partitioning: by_key` places all \
                 by their keys",
                topic.count,
                topic.facts.partitions
            );
        }
        let starts = journal.starts.entry(name.clone()).or_default();
        let Some(found) = found else {
            if let Some(highest) = numbers.last().filter(|&&it| it >= topic.count) {
                failures.push(format!(
                    "topic `{name}` is to have {} partitions, so there is no partition {highest}; \
                     `partitioning: by_key` places records by their keys",
                    topic.count
                ));
            }
            if !plan.create {
                failures
                    .push(format!("topic `{name}` is not in the target (create_topics: false)"));
            }
            starts.extend(numbers.into_iter().map(|it| (it, 0)));
            let held = configs.into_iter().filter(|(key, value)| is_held_back(key, value));
            let held: BTreeMap<_, _> = held.collect();
            if !held.is_empty() {
                journal.configs.insert(name.clone(), held);
            }
            continue;
        };
        for partition in numbers {
            if !found.leaders.contains_key(&partition) {
                let there = found.leaders.len();
                failures.push(format!(
                    "topic `{name}` has {there} partitions in the target, so there is no partition \
                     {partition}; `partitioning: by_key` places records by their keys"
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
    Ok(Planned { topics, brokers: metadata.brokers.len(), journal, resumes })
}

/// A broker that sets the times of new records would take from old ones theirs.
fn is_held_back(key: &str, value: &str) -> bool {
    key == "message.timestamp.type" && value == "LogAppendTime"
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
    let TopicsPlan { names, partitions, source_partitions, window, ranges, partitioning, .. } =
        plan;
    format!("{names:?} {partitions:?} {source_partitions:?} {window:?} {ranges:?} {partitioning:?}")
}

impl Journal {
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
    let object = planned.journal.object();
    backup.put_json(&object, &planned.journal).await?;
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
    let bytes = planned.topics.iter().flat_map(segments).map(|it| it.bytes).sum();
    let job = Job {
        plan,
        backup,
        map,
        pace: Pace::new(plan.bytes_per_second.map(NonZeroU64::get)),
        progress: Progress::new("restored", bytes),
    };
    let tasks = planned.topics.iter().enumerate().flat_map(|(index, topic)| {
        let tasks = topic.tasks(plan, &planned.journal.starts[&topic.target]);
        tasks.into_iter().map(move |task| (index, task))
    });
    let work = stream::iter(tasks)
        .map(|(index, task)| {
            let job = &job;
            async move {
                let written = match &task {
                    Task::Copy(from, to) => vec![records::copy(job, *from, *to).await?],
                    Task::Spread(from, to) => records::spread(job, from, to).await?,
                };
                Ok::<_, Error>((index, task, written))
            }
        })
        .buffer_unordered(plan.max_concurrent_partitions.get())
        .try_collect();
    let done: Vec<(usize, Task<'_>, Vec<Written>)> = job.progress.beside(work).await?;
    let mut offsets = Vec::new();
    for (index, task, written) in done {
        for mut written in written {
            let restored = &mut restored[index];
            restored.records += written.records;
            restored.records_before += written.before;
            restored.count(&written.tally);
            warn(&planned.topics[index].topic, &written.tally);
            if let Task::Copy(from, to) = &task {
                let segments = std::mem::take(&mut written.segments);
                offsets.push(offsets::mapped(from, to, segments, written.records));
            }
        }
    }
    for (topic, configs) in &planned.journal.configs {
        plan.cluster.set_topic_configs(topic, configs).await?;
    }
    offsets::write(backup, &planned.journal.cluster_id, offsets).await?;
    backup.remove(&object).await?;
    Ok(restored)
}

/// What is done by one worker.
enum Task<'a> {
    /// One partition into another.
    Copy(records::From<'a>, records::To<'a>),
    /// All partitions of a topic into all of another.
    Spread(Vec<records::From<'a>>, Vec<records::To<'a>>),
}

impl TopicPlan {
    fn tasks<'a>(&'a self, plan: &TopicsPlan, starts: &'a BTreeMap<i32, i64>) -> Vec<Task<'a>> {
        let from = |partition: &'a Partition| records::From {
            topic: &self.topic.name,
            partition,
            window: plan.window_of(&self.topic.name, partition.partition),
        };
        let to = |(&partition, &start): (&i32, &i64)| records::To {
            topic: &self.target,
            partition,
            start,
        };
        if self.spreads {
            let from = self.partitions.values().map(from).collect();
            return vec![Task::Spread(from, starts.iter().map(to).collect())];
        }
        let each = self.partitions.iter();
        each.map(|(number, it)| Task::Copy(from(it), to((number, &starts[number])))).collect()
    }
}

/// What a killed restore had sent may still arrive; its ends are looked at after this.
const SETTLING: Duration = Duration::from_secs(2);

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
    let configs = facts.configs.clone().unwrap_or_default().into_iter();
    let new = NewTopic {
        name: topic.target.clone(),
        partitions: topic.count,
        replication_factor: wanted.min(most),
        configs: configs.filter(|(key, value)| !is_held_back(key, value)).collect(),
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
