//! What can be known before anything is changed.

use std::fmt;

use kafka::{Isolation, PartitionClient};
use serde_json::Value;

use crate::{Plan, RegistryPlan, Result, Source, TopicsPlan};

/// The checks that failed, all of them.
#[derive(Debug)]
pub struct Failure(pub Vec<String>);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing was changed, because ")?;
        f.write_str(&self.0.join("; and "))
    }
}

impl std::error::Error for Failure {}

/// Runs every check and reports all that fail together.
pub(crate) async fn check(plan: &Plan, source: &Source<'_>) -> Result<()> {
    let mut failures = Vec::new();
    if let Some(plan) = &plan.registry {
        registry(plan, source, &mut failures).await;
    }
    if let Some(plan) = &plan.topics {
        segments(source, &mut failures).await;
        if let Err(why) = topics(plan, source, &mut failures).await {
            failures.push(why.to_string());
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure(failures).into()) }
}

/// Every schema file is there and whole, and the target answers.
async fn registry(plan: &RegistryPlan, source: &Source<'_>, failures: &mut Vec<String>) {
    let Some(manifest) = &source.registry else {
        let id = source.backup.id();
        failures.push(format!("backup `{id}` has no schemas to put into {}", plan.client.url()));
        return;
    };
    for (object, sum) in &manifest.objects {
        if let Err(why) = source.backup.json::<Value>(object, sum).await {
            failures.push(why.to_string());
        }
    }
    if let Err(why) = plan.client.subjects(false).await {
        failures.push(why.to_string());
    }
}

/// Every segment is there and has its size; checksums are checked while it is read.
async fn segments(source: &Source<'_>, failures: &mut Vec<String>) {
    for topic in &source.manifest.topics {
        for partition in &topic.partitions {
            for segment in &partition.segments {
                let checked =
                    source.backup.check_size(&topic.name, partition.partition, segment).await;
                failures.extend(checked.err().map(|why| why.to_string()));
            }
        }
    }
}

/// No topic of the backup holds records in the target, and those that exist fit.
async fn topics(
    plan: &TopicsPlan,
    source: &Source<'_>,
    failures: &mut Vec<String>,
) -> kafka::Result<()> {
    let metadata = plan.cluster.metadata(None).await?;
    for topic in &source.manifest.topics {
        let Some(found) = metadata.topics.get(&topic.name) else {
            continue;
        };
        let (name, wanted, there) = (&topic.name, topic.partitions.len(), found.leaders.len());
        if there < wanted {
            failures.push(format!(
                "topic `{name}` has {there} partitions in the target and {wanted} in the backup"
            ));
            continue;
        }
        for &partition in found.leaders.keys() {
            let mut client = PartitionClient::new(plan.cluster.clone(), name, partition);
            let (start, end) = client.offsets(Isolation::ReadUncommitted).await?;
            if start < end {
                failures.push(format!(
                    "topic `{name}` is not empty in the target ({name}-{partition} holds offsets \
                     {start} to {end})"
                ));
                break;
            }
        }
    }
    Ok(())
}
