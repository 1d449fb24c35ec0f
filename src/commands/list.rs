//! `kafka-backup list` and `prune`

use artifact::{Backup, Error};
use serde::Serialize;

use super::{Format, print_json, size};
use crate::exit::Failure;
use crate::open;

/// A folder in the store.
#[derive(Debug, Serialize)]
struct Listed {
    backup_id: String,
    /// `complete`, `unfinished` or `damaged`.
    state: &'static str,
    /// When a complete one was finished, RFC 3339.
    finished_at: Option<String>,
    topics: usize,
    records: u64,
    bytes: u64,
    schemas: usize,
}

/// Prints what lies in a store, the oldest first; unfinished backups come last.
pub async fn run(path: &str, format: Format) -> Result<(), Failure> {
    let listed = list(path).await?;
    match format {
        Format::Json => print_json(&listed),
        Format::Text => listed.iter().for_each(print),
    }
    Ok(())
}

fn print(it: &Listed) {
    let (id, state, bytes) = (&it.backup_id, it.state, size(it.bytes));
    let finished = it.finished_at.as_deref().unwrap_or("-");
    println!(
        "{id}  {state}  {finished}  {} topics, {} records, {bytes}, {} schemas",
        it.topics, it.records, it.schemas
    );
}

async fn list(path: &str) -> Result<Vec<Listed>, Failure> {
    let store = open::store_at(path).await?;
    let folders = store.folders().await.map_err(Error::from)?;
    let mut listed = Vec::with_capacity(folders.len());
    for backup_id in folders {
        let mut it = Listed {
            backup_id,
            state: "complete",
            finished_at: None,
            topics: 0,
            records: 0,
            bytes: 0,
            schemas: 0,
        };
        match Backup::new(store.clone(), &it.backup_id).manifest().await {
            Ok(manifest) => {
                it.topics = manifest.topics.len();
                it.records = manifest.records();
                it.bytes = manifest.bytes();
                it.finished_at = Some(manifest.finished_at);
                it.schemas = manifest.schema_registry.map_or(0, |it| it.schemas_count);
            }
            Err(Error::Unfinished { .. }) => it.state = "unfinished",
            Err(Error::Damaged { .. } | Error::Format { .. }) => it.state = "damaged",
            Err(other) => return Err(other.into()),
        }
        listed.push(it);
    }
    // RFC 3339 in UTC sorts by time.
    listed.sort_by_key(|it| (it.finished_at.is_none(), it.finished_at.clone()));
    Ok(listed)
}

/// What was deleted, or would be.
#[derive(Debug, Serialize)]
struct Pruned {
    dry_run: bool,
    deleted: Vec<String>,
    kept: Vec<String>,
}

/// Deletes all complete backups but the newest ones. Unfinished and damaged ones stay: someone may
/// want to look at them.
pub async fn prune(path: &str, keep: usize, dry_run: bool, format: Format) -> Result<(), Failure> {
    let listed = list(path).await?;
    let complete: Vec<&Listed> = listed.iter().filter(|it| it.state == "complete").collect();
    let (old, new) = complete.split_at(complete.len().saturating_sub(keep));
    let names = |them: &[&Listed]| them.iter().map(|it| it.backup_id.clone()).collect::<Vec<_>>();
    let pruned = Pruned { dry_run, deleted: names(old), kept: names(new) };
    if !dry_run {
        let store = open::store_at(path).await?;
        for id in &pruned.deleted {
            Backup::new(store.clone(), id).delete().await?;
        }
    }
    match format {
        Format::Json => print_json(&pruned),
        Format::Text => {
            let verb = if dry_run { "would be deleted" } else { "deleted" };
            pruned.deleted.iter().for_each(|it| println!("{it}  {verb}"));
            pruned.kept.iter().for_each(|it| println!("{it}  kept"));
        }
    }
    Ok(())
}
