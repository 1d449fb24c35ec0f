//! `kafka-backup backup`

use std::path::Path;

use ::backup::{Plan, Selection, TopicsPlan};
use app::SettingsError;
use artifact::Backup;

use super::{Format, describe};
use crate::exit::Failure;
use crate::open;
use crate::settings::job::{Isolation, Job, Mode};

/// Captures what the file names and prints what was captured.
pub async fn run(file: &Path, format: Format) -> Result<(), Failure> {
    let job = Job::load(file, Mode::Backup)?;
    let backup = Backup::new(open::store(file, &job.storage).await?, &job.backup_id);
    let plan = plan(file, &job)?;
    let manifest = ::backup::run(&plan, &backup).await?;
    let description = describe::Description::read(&backup, manifest).await?;
    description.print(format);
    Ok(())
}

fn plan(file: &Path, job: &Job) -> Result<Plan, Failure> {
    let topics = match &job.source {
        None => None,
        Some(source) => {
            let selection = Selection::new(&source.topics.include, &source.topics.exclude);
            let selection = selection
                .map_err(|why| SettingsError::new(file, format!("source.topics: {why}")))?;
            Some(TopicsPlan {
                cluster: open::cluster(file, "source", &source.bootstrap_servers)?,
                selection,
                max_concurrent_partitions: job.backup.max_concurrent_partitions,
                segment_max_bytes: job.backup.segment_max_bytes,
                fetch_max_bytes: job.backup.fetch_max_bytes,
                isolation: match job.backup.isolation {
                    Isolation::ReadCommitted => kafka::Isolation::ReadCommitted,
                    Isolation::ReadUncommitted => kafka::Isolation::ReadUncommitted,
                },
            })
        }
    };
    let registry = job.registry().map(|it| open::registry(file, it)).transpose()?;
    Ok(Plan { topics, registry })
}
