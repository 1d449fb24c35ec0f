//! `kafka-backup restore`

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::Path;

use ::restore::{
    Compatibility, GroupsPlan, Ids, Names, OffsetRange, Outcome, Partitioning, Plan, RegistryPlan,
    Removal, Rename, Report, Restored, Strategy, TopicsPlan,
};
use app::{Selection, SettingsError};
use artifact::Backup;
use wire::rebatch::Window;

use super::{Format, asked_to_stop, offsets, print_json};
use crate::exit::Failure;
use crate::open::{self, MapPlace};
use crate::settings::job::{self as settings, IntoNonEmpty, Job, Mode, Restore, Target, Time};
use crate::settings::registry::{SchemaRegistry, SetCompatibility, Strategy as Settings};

/// How a restore is run.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Only tell what would be done.
    pub dry_run: bool,
    /// Delete and replace without asking.
    pub yes: bool,
}

/// Restores what the file names and prints what was done.
pub async fn run(file: &Path, how: How, format: Format) -> Result<(), Failure> {
    let job = Job::load(file, Mode::Restore)?;
    let backup = Backup::new(open::store(file, &job.storage).await?, &job.backup_id);
    let plan = plan(file, &job).await?;
    let prepared = ::restore::prepare(&plan, &backup).await?;
    let report = prepared.report();
    let in_file = job.restore.dry_run || job.registry().is_some_and(|it| it.restore.dry_run);
    if how.dry_run || in_file {
        match format {
            Format::Json => print_json(&report),
            Format::Text => print_report(&report),
        }
        return match report.failures.len() {
            0 => Ok(()),
            count => Err(Failure::Preflight(format!("{count} checks failed; nothing was changed"))),
        };
    }
    if report.failures.is_empty() && !report.removals.is_empty() && !how.yes {
        confirm(&report.removals)?;
    }
    let restored = prepared.run(asked_to_stop()).await?;
    match format {
        Format::Json => print_json(&restored),
        Format::Text => print(&restored),
    }
    Ok(())
}

/// What is deleted is listed first, and only a person or `--yes` lets it happen.
fn confirm(removals: &[Removal]) -> Result<(), Failure> {
    for it in removals {
        eprintln!("{it}");
    }
    let count = removals.len();
    let refused = |why: &str| {
        Err(Failure::Preflight(format!(
            "{count} versions of the target would be deleted or replaced; {why}, so nothing was \
             changed"
        )))
    };
    if !std::io::stdin().is_terminal() {
        return refused("there is neither --yes nor a terminal to ask on");
    }
    eprint!("go on? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stderr().flush().and_then(|()| std::io::stdin().read_line(&mut answer));
    match read {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        _ => refused("that was not confirmed"),
    }
}

async fn plan(file: &Path, job: &Job) -> Result<Plan, Failure> {
    let topics = job.target.as_ref().map(|it| topics_plan(file, it, &job.restore)).transpose()?;
    let registry = match job.registry() {
        None => None,
        Some(settings) => Some(registry_plan(file, settings).await?),
    };
    let groups = match &job.target {
        Some(target) if job.restore.resets_groups() => {
            Some(groups_plan(file, target, &job.restore, &[])?)
        }
        _ => None,
    };
    Ok(Plan { registry, topics, groups })
}

/// The groups that are named, by the command or in the file.
pub(super) fn groups_plan(
    file: &Path,
    target: &Target,
    restore: &Restore,
    named: &[String],
) -> Result<GroupsPlan, Failure> {
    let all = ["*".to_owned()];
    let selection = match (named, &restore.consumer_groups[..]) {
        ([], []) => Selection::new(&all, &[]),
        ([], _) if restore.auto_consumer_groups => Selection::new(&all, &[]),
        ([], in_file) => Selection::new(in_file, &[]),
        (named, _) => Selection::new(named, &[]),
    };
    let wrong = |why| SettingsError::new(file, format!("restore.consumer_groups: {why}"));
    Ok(GroupsPlan {
        cluster: open::cluster(file, "target", &target.bootstrap_servers, &target.security)?,
        selection: selection.map_err(wrong)?,
        decompressed_limit: restore.max_decompressed_bytes,
    })
}

fn topics_plan(file: &Path, target: &Target, restore: &Restore) -> Result<TopicsPlan, Failure> {
    let wrong = |why: String| SettingsError::new(file, why);
    let selection = Selection::new(&target.topics.include, &target.topics.exclude)
        .map_err(|why| wrong(format!("target.topics: {why}")))?;
    let time = |key: &str, time: Option<&Time>| {
        time.map(Time::millis).transpose().map_err(|why| wrong(format!("restore.{key}: {why}")))
    };
    let counts = restore.topic_partitions.iter();
    let names = Names::new("topic_mapping", restore.topic_mapping.clone());
    Ok(TopicsPlan {
        cluster: open::cluster(file, "target", &target.bootstrap_servers, &target.security)?,
        selection,
        names: names.map_err(|why| wrong(format!("restore.{why}")))?,
        partitions: restore.partition_mapping.clone(),
        source_partitions: restore.source_partitions.clone(),
        window: Window {
            start: time("time_window_start", restore.time_window_start.as_ref())?,
            end: time("time_window_end", restore.time_window_end.as_ref())?,
            ..Window::default()
        },
        ranges: restore.offset_ranges.iter().map(ranges).collect(),
        partitioning: match restore.partitioning {
            settings::Partitioning::Keep => Partitioning::Keep,
            settings::Partitioning::ByKey => Partitioning::ByKey,
        },
        counts: counts.map(|(name, count)| (name.clone(), i32::from(count.get()))).collect(),
        max_memory_bytes: restore.max_memory_bytes,
        create: restore.create_topics,
        // -1 is Kafka's word for a broker's own default.
        replication_factor: restore.default_replication_factor.filter(|&it| it > 0),
        append: restore.into_non_empty == IntoNonEmpty::Append,
        bytes_per_second: restore.rate_limit,
        max_concurrent_partitions: restore.max_concurrent_partitions,
        decompressed_limit: restore.max_decompressed_bytes,
    })
}

fn ranges(
    (topic, partitions): (&String, &BTreeMap<i32, settings::OffsetRange>),
) -> (String, BTreeMap<i32, OffsetRange>) {
    let range = |it: &settings::OffsetRange| OffsetRange { start: it.start, end: it.end };
    let ranges = partitions.iter().map(|(&partition, it)| (partition, range(it)));
    (topic.clone(), ranges.collect())
}

/// The plan of the `schema_registry` section, for a restore and for what verifies it.
pub(super) async fn registry_plan(
    file: &Path,
    settings: &SchemaRegistry,
) -> Result<RegistryPlan, Failure> {
    let restore = &settings.restore;
    let (subjects, contexts) = (restore.subject_mapping.clone(), restore.context_mapping.clone());
    let rename = Rename::new(subjects, contexts)
        .map_err(|why| SettingsError::new(file, format!("schema_registry.restore.{why}")))?;
    let given_map = match restore.id_mapping_file.as_ref().and_then(|it| it.to_str()) {
        Some(place) => MapPlace::at(place, None).await?.map().await?,
        None => wire::id_map::MapFile::default(),
    };
    Ok(RegistryPlan {
        client: open::registry(file, settings)?,
        strategy: match restore.strategy {
            Settings::Preserve => Strategy::Preserve,
            Settings::Overwrite => Strategy::Overwrite,
            Settings::Skip => Strategy::Skip,
        },
        ids: match (restore.force_ids, restore.rewrite_ids) {
            (true, _) => Ids::Force,
            (_, true) => Ids::Rewrite,
            _ => Ids::Assigned,
        },
        rename,
        compatibility: match restore.set_compatibility {
            SetCompatibility::FromBackup(true) => Compatibility::FromBackup,
            SetCompatibility::FromBackup(false) => Compatibility::Untouched,
            SetCompatibility::Level(level) => Compatibility::Level(level.name().to_owned()),
        },
        force_register: restore.force_register,
        given_map,
        write_map: restore.id_mapping,
    })
}

fn print_report(report: &Report) {
    println!("nothing is changed: this is a dry run");
    for it in &report.removals {
        println!("  {it}");
    }
    if !report.schemas.is_empty() {
        println!("schemas");
    }
    for it in &report.schemas {
        let id = it.target_id.map_or("assigned".to_owned(), |id| id.to_string());
        let target = if it.target_subject == it.source.subject {
            String::new()
        } else {
            format!(" as {}", it.target_subject)
        };
        match it.outcome {
            Outcome::Restore => println!("  {}{target}: id {} -> {id}", it.source, it.source_id),
            Outcome::Exists => {
                println!("  {}{target}: id {} -> {id}, already there", it.source, it.source_id);
            }
            Outcome::Skip | Outcome::Refuse => {
                let what = if it.outcome == Outcome::Skip { "skipped" } else { "REFUSED" };
                println!(
                    "  {}{target}: {what}: {}",
                    it.source,
                    it.why.as_deref().unwrap_or_default()
                );
            }
        }
    }
    if !report.topics.is_empty() {
        println!("topics");
    }
    for it in &report.topics {
        let (partitions, records) = (it.partitions, it.records);
        let name = if it.name == it.target {
            it.name.clone()
        } else {
            format!("{} as {}", it.name, it.target)
        };
        let name = if it.create { format!("{name} (new)") } else { name };
        println!("  {name}: {partitions} partitions, {records} records, {}", super::size(it.bytes));
    }
    if !report.groups.is_empty() {
        println!("consumer groups that are set to where they were: {}", report.groups.join(", "));
    }
    for failure in &report.failures {
        println!("FAILED {failure}");
    }
}

fn print(restored: &Restored) {
    for it in &restored.removed {
        println!("  {it}");
    }
    if !restored.schemas.is_empty() {
        println!("schemas");
    }
    for it in &restored.schemas {
        let (source, source_id) = (&it.source, it.source_id);
        let id = it.target_id.map_or("none".to_owned(), |id| id.to_string());
        let note = match it.outcome {
            Outcome::Restore => "",
            Outcome::Exists => "  was there",
            Outcome::Skip | Outcome::Refuse => "  skipped",
        };
        println!("  {source}: id {source_id} -> {id}{note}");
    }
    for it in &restored.conflicts {
        println!(
            "  id {}: {} as id_mapping_file says, though it became {}",
            it.id, it.given, it.learned
        );
    }
    if !restored.topics.is_empty() {
        println!("topics");
        for it in &restored.topics {
            let (name, records) = (&it.name, it.records);
            println!("  {name}: {records} records, {} ids translated", it.translated);
            if it.records_before > 0 {
                println!("    {} of them by the run before", it.records_before);
            }
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
    if let Some(groups) = &restored.groups {
        offsets::print_reset(groups);
    }
    if let Some(place) = &restored.id_map {
        println!("id map: {place}");
    }
}
