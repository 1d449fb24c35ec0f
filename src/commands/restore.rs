//! `kafka-backup restore`

use std::path::Path;

use ::restore::{Plan, RegistryPlan, Restored, TopicsPlan};
use artifact::Backup;

use super::{Format, print_json};
use crate::exit::Failure;
use crate::open;
use crate::settings::job::{Job, Mode};

/// Restores what the file names and prints what was done.
pub async fn run(file: &Path, format: Format) -> Result<(), Failure> {
    let job = Job::load(file, Mode::Restore)?;
    let backup = Backup::new(open::store(file, &job.storage).await?, &job.backup_id);
    let plan = plan(file, &job)?;
    let restored = ::restore::run(&plan, &backup).await?;
    match format {
        Format::Json => print_json(&restored),
        Format::Text => print(&restored),
    }
    Ok(())
}

fn plan(file: &Path, job: &Job) -> Result<Plan, Failure> {
    let topics = match &job.target {
        None => None,
        Some(target) => Some(TopicsPlan {
            cluster: open::cluster(file, "target", &target.bootstrap_servers)?,
            max_concurrent_partitions: job.restore.max_concurrent_partitions,
            decompressed_limit: job.restore.max_decompressed_bytes,
        }),
    };
    let registry = match job.registry() {
        None => None,
        Some(settings) => Some(RegistryPlan {
            client: open::registry(file, settings)?,
            rewrite_ids: settings.restore.rewrite_ids,
        }),
    };
    Ok(Plan { registry, topics })
}

fn print(restored: &Restored) {
    if !restored.schemas.is_empty() {
        println!("schemas");
        for it in &restored.schemas {
            let note = if it.existed { "  was there" } else { "" };
            let (subject, version) = (&it.subject, it.version);
            println!(
                "  {subject} version {version}: id {} -> {}{note}",
                it.source_id, it.target_id
            );
        }
    }
    if !restored.topics.is_empty() {
        println!("topics");
        for it in &restored.topics {
            let (name, records) = (&it.name, it.records);
            println!("  {name}: {records} records, {} ids translated", it.translated);
            if it.unmapped > 0 {
                println!("    {} ids are not in the id map and stayed as they were", it.unmapped);
            }
            if it.undecodable > 0 {
                println!(
                    "    {} batches could not be read and stayed as they were",
                    it.undecodable
                );
            }
        }
    }
    if let Some(place) = &restored.id_map {
        println!("id map: {place}");
    }
}
