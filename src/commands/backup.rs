//! `kafka-backup backup`

use std::path::Path;
use std::time::Duration;

use ::backup::{AuditIds, Plan, SchemasPlan, Shard, TopicsPlan, Versions};
use app::{Selection, SettingsError};
use artifact::manifest::{Part, Topic};
use artifact::{Backup, Manifest};

use super::{Format, asked_to_stop, describe, print_json};
use crate::exit::Failure;
use crate::open;
use crate::settings::job::{Isolation, Job, Mode};
use crate::settings::registry::{IncludeVersions, SchemaRegistry};

/// How a backup is run.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Leave the topics out.
    pub schemas_only: bool,
    /// Which of several machines this is.
    pub shard: Option<Shard>,
}

/// Reads `1/3`: the index counts from zero, as Kubernetes' `JOB_COMPLETION_INDEX` does.
pub fn shard(text: &str) -> Result<Shard, String> {
    let numbers = text.split_once('/').and_then(|(index, count)| {
        Some(Shard { index: index.parse().ok()?, count: count.parse().ok()? })
    });
    match numbers {
        Some(shard) if shard.index < shard.count => Ok(shard),
        _ => {
            Err("it has the form INDEX/COUNT, and the index counts from 0: 0/3, 1/3, 2/3"
                .to_owned())
        }
    }
}

/// Captures what the file names and prints what was captured.
pub async fn run(file: &Path, how: How, format: Format) -> Result<(), Failure> {
    let How { schemas_only, shard } = how;
    let mut job = Job::load(file, Mode::Backup)?;
    if schemas_only {
        if job.registry().is_none() {
            let why = "--schemas-only needs an `enterprise.schema_registry`";
            return Err(SettingsError::new(file, why).into());
        }
        job.source = None;
    }
    let backup = Backup::new(open::store(file, &job.storage).await?, &job.backup_id);
    let plan = plan(file, &job, shard)?;
    if job.backup.continuous {
        if shard.is_some() {
            let why = "backup.continuous: a continuous backup has no shards";
            return Err(SettingsError::new(file, why).into());
        }
        let pause = Duration::from_secs(job.backup.segment_max_age_secs);
        let told = |manifest: &Manifest| {
            let (records, topics) = (manifest.records(), manifest.topics.len());
            tracing::info!("run {} done: {records} records in {topics} topics", manifest.runs);
        };
        return Ok(::backup::follow(&plan, &backup, pause, asked_to_stop(), told).await?);
    }
    if shard.is_some() {
        let Some(topics) = &plan.topics else {
            let why = "--shard needs a `source`: the registry is captured by `finalize`";
            return Err(SettingsError::new(file, why).into());
        };
        let part = unless_stopped(::backup::part(topics, plan.schemas.as_ref(), &backup)).await?;
        print_part(&part, format);
        return Ok(());
    }
    let manifest = unless_stopped(::backup::run(&plan, &backup)).await?;
    let description = describe::Description::read(&backup, manifest).await?;
    description.print(format);
    Ok(())
}

/// Joins what the shards have captured, and prints the whole.
pub async fn finalize(file: &Path, format: Format) -> Result<(), Failure> {
    let job = Job::load(file, Mode::Backup)?;
    let backup = Backup::new(open::store(file, &job.storage).await?, &job.backup_id);
    let manifest = unless_stopped(::backup::finalize(&plan(file, &job, None)?, &backup)).await?;
    describe::Description::read(&backup, manifest).await?.print(format);
    Ok(())
}

async fn unless_stopped<T>(work: impl Future<Output = ::backup::Result<T>>) -> Result<T, Failure> {
    tokio::select! {
        biased;
        () = asked_to_stop() => Err(Failure::Failed("interrupted; run it again to go on".to_owned())),
        done = work => Ok(done?),
    }
}

fn print_part(part: &Part, format: Format) {
    if format == Format::Json {
        return print_json(part);
    }
    let partitions: usize = part.topics.iter().map(|it| it.partitions.len()).sum();
    let records: u64 = part.topics.iter().map(Topic::records).sum();
    let bytes = super::size(part.topics.iter().map(Topic::bytes).sum());
    println!(
        "shard {}/{}: {partitions} partitions, {records} records, {bytes}; `kafka-backup finalize` \
         joins the shards",
        part.index, part.count
    );
}

fn plan(file: &Path, job: &Job, shard: Option<Shard>) -> Result<Plan, Failure> {
    let topics = match &job.source {
        None => None,
        Some(source) => {
            let selection = Selection::new(&source.topics.include, &source.topics.exclude);
            let selection = selection
                .map_err(|why| SettingsError::new(file, format!("source.topics: {why}")))?;
            Some(TopicsPlan {
                cluster: open::cluster(
                    file,
                    "source",
                    &source.bootstrap_servers,
                    &source.security,
                )?,
                selection,
                max_concurrent_partitions: job.backup.max_concurrent_partitions,
                segment_max_bytes: job.backup.segment_max_bytes,
                segment_max_records: job.backup.segment_max_records,
                fetch_max_bytes: job.backup.fetch_max_bytes,
                max_memory_bytes: job.backup.max_memory_bytes,
                shard,
                isolation: match job.backup.isolation {
                    Isolation::ReadCommitted => kafka::Isolation::ReadCommitted,
                    Isolation::ReadUncommitted => kafka::Isolation::ReadUncommitted,
                },
            })
        }
    };
    let schemas = job.registry().map(|it| schemas(file, it)).transpose()?;
    Ok(Plan { topics, schemas })
}

fn schemas(file: &Path, settings: &SchemaRegistry) -> Result<SchemasPlan, Failure> {
    let chosen = &settings.backup;
    let subjects = Selection::new(&chosen.subjects.to_vec(), &chosen.exclude);
    let subjects = subjects
        .map_err(|why| SettingsError::new(file, format!("schema_registry.backup: {why}")))?;
    let types = settings.schema_types.as_ref();
    Ok(SchemasPlan {
        client: open::registry(file, settings)?,
        subjects,
        schema_types: types.map(|them| them.iter().map(|it| it.name().to_owned()).collect()),
        versions: match chosen.include_versions {
            IncludeVersions::All => Versions::All,
            IncludeVersions::Latest => Versions::Latest,
        },
        include_soft_deleted: chosen.include_soft_deleted,
        include_references: chosen.include_references,
        include_protobuf_dependencies: settings.protobuf.include_dependencies,
        audit_ids: match chosen.audit_ids {
            None => AuditIds::OfSchemaTopics,
            Some(true) => AuditIds::Always,
            Some(false) => AuditIds::Never,
        },
    })
}
