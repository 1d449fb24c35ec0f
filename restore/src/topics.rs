//! Topics created and their partitions written.

use artifact::manifest::{Topic, TopicFacts};
use artifact::{Backup, Manifest, layout};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use kafka::{Created, NewTopic};
use wire::{IdMap, Tally};

use crate::{Error, RestoredTopic, Result, TopicsPlan, records};

pub(crate) async fn restore(
    plan: &TopicsPlan,
    backup: &Backup,
    manifest: &Manifest,
    map: &IdMap,
) -> Result<Vec<RestoredTopic>> {
    let brokers = plan.cluster.metadata(Some(&[])).await?.brokers.len();
    let mut restored = Vec::with_capacity(manifest.topics.len());
    for topic in &manifest.topics {
        let facts: TopicFacts = backup.json(&layout::topic(&topic.name), &topic.facts).await?;
        restored.push(RestoredTopic {
            name: topic.name.clone(),
            created: create(plan, facts, brokers).await?,
            records: 0,
            translated: 0,
            unmapped: 0,
            undecodable: 0,
        });
    }
    let all = manifest.topics.iter().enumerate().flat_map(|(index, topic)| {
        topic.partitions.iter().map(move |partition| (index, topic, partition))
    });
    let written: Vec<(usize, u64, Tally)> = stream::iter(all)
        .map(|(index, topic, partition)| async move {
            let (records, tally) =
                records::write(plan, backup, &topic.name, partition, map).await?;
            Ok::<_, Error>((index, records, tally))
        })
        .buffer_unordered(plan.max_concurrent_partitions.get())
        .try_collect()
        .await?;
    for (index, records, tally) in written {
        restored[index].records += records;
        restored[index].count(&tally);
        warn(&manifest.topics[index], &tally);
    }
    Ok(restored)
}

async fn create(plan: &TopicsPlan, facts: TopicFacts, brokers: usize) -> Result<bool> {
    let most = i16::try_from(brokers).unwrap_or(i16::MAX);
    if facts.replication_factor > most {
        tracing::warn!(
            "topic {} had {} replicas and gets {most}: the target has no more brokers",
            facts.name,
            facts.replication_factor
        );
    }
    let new = NewTopic {
        name: facts.name,
        partitions: facts.partitions,
        replication_factor: facts.replication_factor.min(most),
        configs: facts.configs.unwrap_or_default(),
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
