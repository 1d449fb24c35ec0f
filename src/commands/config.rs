//! `kafka-backup config check`

use std::path::Path;

use super::print_json;
use crate::exit::Failure;
use crate::settings::job::Job;

/// Reads the file as a run would and prints what it means, without secrets.
pub fn check(file: &Path) -> Result<(), Failure> {
    let job: Job = app::settings::load(file)?;
    job.check(file)?;
    print_json(&job);
    eprintln!("{}: no mistakes found", file.display());
    Ok(())
}
