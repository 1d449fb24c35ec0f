//! `kafka-backup verify`

use std::path::Path;

use ::restore::verify::Verification;
use app::SettingsError;
use artifact::Backup;

use super::{Format, print_json, restore};
use crate::exit::Failure;
use crate::open;
use crate::settings::job::{Job, Mode};

/// Compares the target registry with the backup; differences end with their own exit code.
pub async fn run(file: &Path, format: Format) -> Result<(), Failure> {
    let job = Job::load(file, Mode::Restore)?;
    let Some(settings) = job.registry() else {
        let why = "verify compares registries, and there is no `enterprise.schema_registry`";
        return Err(SettingsError::new(file, why).into());
    };
    let backup = Backup::new(open::store(file, &job.storage).await?, &job.backup_id);
    let plan = restore::registry_plan(file, settings).await?;
    let verification = ::restore::verify::verify(&plan, &backup).await?;
    match format {
        Format::Json => print_json(&verification),
        Format::Text => print(&verification),
    }
    match verification.differences.len() {
        0 => Ok(()),
        count => Err(Failure::Differs(format!("{count} differences from {}", backup.place()))),
    }
}

fn print(verification: &Verification) {
    let (schemas, subjects) = (verification.schemas, verification.subjects);
    println!("{schemas} versions of {subjects} subjects compared");
    for it in &verification.differences {
        println!("DIFFERS {}: {}", it.what, it.how);
    }
}
