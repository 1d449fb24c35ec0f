//! `kafka-backup validate`

use ::backup::validate::{Ids, Validation};
use artifact::Backup;

use super::{Format, print_json};
use crate::exit::Failure;
use crate::open;

/// Checks a finished backup; problems are printed and end with their own exit code.
pub async fn run(path: &str, backup_id: &str, deep: bool, format: Format) -> Result<(), Failure> {
    let backup = Backup::new(open::store_at(path).await?, backup_id);
    let validation = ::backup::validate::validate(&backup, deep).await?;
    match format {
        Format::Json => print_json(&validation),
        Format::Text => print(&validation),
    }
    match validation.problems.len() {
        0 => Ok(()),
        count => Err(Failure::Differs(format!("{count} problems in {}", backup.place()))),
    }
}

fn print(validation: &Validation) {
    let (objects, segments) = (validation.objects, validation.segments);
    let how = if validation.deep { "every record read" } else { "sizes checked" };
    println!("{objects} objects, {segments} segments, {how}");
    for topic in &validation.topics {
        println!("  {}: {} records", topic.name, topic.records);
        for (side, ids) in [("keys", &topic.keys), ("values", &topic.values)] {
            print_ids(side, ids);
        }
    }
    for gap in &validation.gaps {
        println!("GAP {gap}");
    }
    for problem in &validation.problems {
        println!("PROBLEM {problem}");
    }
}

fn print_ids(side: &str, ids: &Ids) {
    for (id, records) in &ids.captured {
        println!("    {side} with schema id {id}: {records}");
    }
    if ids.captured.is_empty() && !ids.missing.is_empty() {
        let records: u64 = ids.missing.values().sum();
        println!("    {side} that begin with a zero byte, but have no known id: {records}");
    }
}
