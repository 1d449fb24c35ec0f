//! `kafka-backup backup`

use std::path::Path;

use ::backup::{AuditIds, Plan, SchemasPlan, TopicsPlan, Versions};
use app::{Selection, SettingsError};
use artifact::Backup;

use super::{Format, describe};
use crate::exit::Failure;
use crate::open;
use crate::settings::job::{Isolation, Job, Mode};
use crate::settings::registry::{IncludeVersions, SchemaRegistry};

/// Captures what the file names and prints what was captured.
pub async fn run(file: &Path, schemas_only: bool, format: Format) -> Result<(), Failure> {
    let mut job = Job::load(file, Mode::Backup)?;
    if schemas_only {
        if job.registry().is_none() {
            let why = "--schemas-only needs an `enterprise.schema_registry`";
            return Err(SettingsError::new(file, why).into());
        }
        job.source = None;
    }
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
