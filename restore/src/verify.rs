//! Whether a target registry is what the artefact says, found out by requests that change nothing.

use artifact::Backup;
use registry::canonical::Canonical;
use registry::model::context;
use serde::Serialize;
use wire::id_map::MapFile;

use crate::schemas::{Ids, Outcome, Own, Planned, RegistryPlan, SchemaStep, Strategy};
use crate::{Result, map, preflight, schemas};

/// What was compared and where it differs.
#[derive(Debug, Default, Serialize)]
pub struct Verification {
    /// Versions that were compared.
    pub schemas: usize,
    /// Subjects whose settings were compared.
    pub subjects: usize,
    /// Everything that differs; none after a good restore.
    pub differences: Vec<Difference>,
}

/// One thing that is not as the artefact says.
#[derive(Debug, Serialize)]
pub struct Difference {
    /// What differs: a version, a subject, or the artefact.
    pub what: String,
    /// How.
    pub how: String,
}

/// Compares subjects, versions, ids (the same, or as the artefact's id map says), schemas,
/// references, config and mode.
pub async fn verify(plan: &RegistryPlan, backup: &Backup) -> Result<Verification> {
    let manifest = backup.manifest().await?;
    let registry = preflight::registry_manifest(backup, &manifest).await?;
    let mut failures = Vec::new();
    let planned = preflight::registry(plan, backup, registry.as_ref(), &mut failures).await?;
    let mut found = Verification::default();
    let Some((source, planned)) = planned else {
        for how in failures {
            found.differs("the artefact or the target", how);
        }
        return Ok(found);
    };
    let written = map::read(backup).await?.unwrap_or_default();
    for step in &planned.steps {
        found.schemas += 1;
        let mut how = difference(plan, step).await?;
        if how.is_none() {
            how = other_id(plan, &written, step);
        }
        if let Some(how) = how {
            found.differs(&step.source.to_string(), how);
        }
    }
    if plan.strategy != Strategy::Skip {
        settings(&planned, &mut found);
    }
    found.subjects = source.settings.len();
    for removal in planned.removals.iter().filter(|it| !it.replaced) {
        found.differs(&removal.version.to_string(), "the artefact does not have it".to_owned());
    }
    for (subject, _) in schemas::left_behind(backup, &plan.client.url()).await? {
        let how = "a restore that was killed left it in IMPORT mode or at compatibility NONE";
        found.differs(&subject, how.to_owned());
    }
    Ok(found)
}

impl Verification {
    fn differs(&mut self, what: &str, how: String) {
        self.differences.push(Difference { what: what.to_owned(), how });
    }
}

/// How the target's version differs; `None` where it is the artefact's.
async fn difference(plan: &RegistryPlan, step: &SchemaStep) -> Result<Option<String>> {
    let why = || step.why.clone().unwrap_or_default();
    match (step.outcome, step.target_version) {
        (Outcome::Refuse, _) => Ok(Some(why())),
        // What a strategy leaves out is no difference.
        (Outcome::Skip, _) => Ok(None),
        (Outcome::Exists, Some(number)) => {
            let subject = &step.target_subject;
            let there = plan.client.version(subject, number, true).await?;
            let ours = &step.version.schema;
            if there.schema.references != ours.references {
                return Ok(Some("its references differ".to_owned()));
            }
            let same =
                Canonical::of(&there.schema, &[]).canonical == Canonical::of(ours, &[]).canonical;
            if !same {
                return Ok(Some("its schema differs".to_owned()));
            }
            let live = plan.client.versions(subject, false).await?.unwrap_or_default();
            Ok(match (step.deleted, live.contains(&number)) {
                (true, true) if plan.strategy == Strategy::Overwrite => {
                    Some("it is live in the target, and soft-deleted in the backup")
                }
                (false, false) => Some("it is soft-deleted in the target, and live in the backup"),
                _ => None,
            }
            .map(str::to_owned))
        }
        _ => Ok(Some(format!("the target does not have it as '{}'", step.target_subject))),
    }
}

/// How the id is not what was promised: the same, or the one in the id map.
fn other_id(plan: &RegistryPlan, written: &MapFile, step: &SchemaStep) -> Option<String> {
    let id = step.target_id.filter(|_| step.outcome == Outcome::Exists)?;
    if plan.ids == Ids::Assigned && id != step.source_id {
        return Some(format!("its id is {id} in the target, and was {}", step.source_id));
    }
    if plan.ids != Ids::Rewrite || !plan.write_map {
        return None;
    }
    let own = context(&step.source.subject);
    let pairs = map::contexts(written).find(|(name, _)| *name == own);
    let mapped = pairs.and_then(|(_, pairs)| pairs.get(&step.source_id)).copied();
    if mapped == Some(id) {
        return None;
    }
    let mapped = mapped.map_or("nothing".to_owned(), |it| it.to_string());
    Some(format!("its id is {id} in the target, and {mapped} in the id map"))
}

/// The settings that are still to be made are those that differ.
fn settings(planned: &Planned, found: &mut Verification) {
    let mut tell = |subject: &str, what: &str, wanted: Own<String>| match wanted {
        Own::Untouched => {}
        Own::Removed => found.differs(subject, format!("it is to have no {what} of its own")),
        Own::Set(value) => found.differs(subject, format!("its {what} is to be {value}")),
    };
    for it in &planned.settings {
        tell(&it.subject, "config", it.config.shown());
        tell(&it.subject, "mode", it.mode.shown());
    }
}
