//! `kafka-backup offsets`

use std::path::Path;

use ::restore::groups::{self, Change, Reset, Snapshot};
use app::{Selection, SettingsError};
use artifact::Backup;

use super::{Format, print_json, restore};
use crate::exit::Failure;
use crate::open;
use crate::settings::job::{Job, Mode, Target};

/// Writes down what groups have committed and where topics end, to a file or to stdout.
pub async fn snapshot(file: &Path, named: &[String], output: Option<&Path>) -> Result<(), Failure> {
    let job = Job::load_any(file)?;
    let (key, servers, security, topics) = match (&job.source, &job.target) {
        (Some(it), _) => ("source", &it.bootstrap_servers, &it.security, &it.topics),
        (None, Some(it)) => ("target", &it.bootstrap_servers, &it.security, &it.topics),
        (None, None) => {
            let why = "there is neither a `source` nor a `target` to look at";
            return Err(SettingsError::new(file, why).into());
        }
    };
    let cluster = open::cluster(file, key, servers, security)?;
    let all = ["*".to_owned()];
    let wrong = |why| SettingsError::new(file, format!("{why}"));
    let groups = if named.is_empty() { &all[..] } else { named };
    let groups = Selection::new(groups, &[]).map_err(wrong)?;
    let topics = Selection::new(&topics.include, &topics.exclude).map_err(wrong)?;
    let snapshot = groups::snapshot(&cluster, &groups, &topics).await?;
    match output {
        None => print_json(&snapshot),
        Some(output) => {
            let json = serde_json::to_string_pretty(&snapshot).expect("its keys are strings");
            let written = std::fs::write(output, json + "\n");
            written.map_err(|why| Failure::Failed(format!("{}: {why}", output.display())))?;
        }
    }
    Ok(())
}

/// Sets groups to where they were in the source.
pub async fn reset(
    file: &Path,
    named: &[String],
    dry_run: bool,
    format: Format,
) -> Result<(), Failure> {
    let job = Job::load(file, Mode::Restore)?;
    let backup = Backup::new(open::store(file, &job.storage).await?, &job.backup_id);
    let plan = restore::groups_plan(file, target(file, &job)?, &job.restore, named)?;
    let reset = groups::reset(&plan, &backup, dry_run).await?;
    match format {
        Format::Json => print_json(&reset),
        Format::Text => {
            if dry_run {
                println!("nothing is changed: this is a dry run");
            }
            print_reset(&reset);
        }
    }
    Ok(())
}

/// Sets groups to what a snapshot says, or to what they had before the last reset.
pub async fn rollback(
    file: &Path,
    from: Option<&Path>,
    dry_run: bool,
    format: Format,
) -> Result<(), Failure> {
    let job = Job::load(file, Mode::Restore)?;
    let target = target(file, &job)?;
    let cluster = open::cluster(file, "target", &target.bootstrap_servers, &target.security)?;
    let snapshot: Snapshot = if let Some(from) = from {
        let wrong = |why: String| Failure::Usage(format!("{}: {why}", from.display()));
        let text = std::fs::read(from).map_err(|why| wrong(why.to_string()))?;
        serde_json::from_slice(&text).map_err(|why| wrong(why.to_string()))?
    } else {
        let backup = Backup::new(open::store(file, &job.storage).await?, &job.backup_id);
        let none = "no offsets were reset in this cluster from this backup";
        let last = groups::last_before(&backup, &cluster).await?;
        last.ok_or_else(|| Failure::Usage(none.to_owned()))?
    };
    let changes = groups::rollback(&cluster, &snapshot, dry_run).await?;
    match format {
        Format::Json => print_json(&changes),
        Format::Text => {
            if dry_run {
                println!("nothing is changed: this is a dry run");
            }
            print_changes(&changes);
        }
    }
    Ok(())
}

fn target<'a>(file: &Path, job: &'a Job) -> Result<&'a Target, Failure> {
    let missing = || SettingsError::new(file, "there is no `target`");
    Ok(job.target.as_ref().ok_or_else(missing)?)
}

pub(super) fn print_reset(reset: &Reset) {
    print_changes(&reset.changes);
    if let Some(place) = &reset.offsets_before {
        println!("offsets before: {place} (`kafka-backup offsets rollback` goes back to them)");
    }
}

fn print_changes(changes: &[Change]) {
    println!("consumer group offsets: {}", changes.len());
    for Change { group, topic, partition, before, after } in changes {
        let shown = |it: &Option<i64>| it.map_or("none".to_owned(), |it| it.to_string());
        println!("  {group} {topic}-{partition}: {} -> {}", shown(before), shown(after));
    }
}
