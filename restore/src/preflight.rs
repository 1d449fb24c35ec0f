//! What can be known before anything is changed.

use std::fmt;

use artifact::layout;
use artifact::manifest::RegistryManifest;
use artifact::{Backup, Manifest};
use registry::Error;

use crate::schemas::{Ids, Outcome, Planned, RegistryPlan};
use crate::source::{self, Schemas};
use crate::{Result, map, schemas};

/// The checks that failed, all of them.
#[derive(Debug)]
pub struct Failure(pub Vec<String>);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing was changed, because ")?;
        f.write_str(&self.0.join("; and "))
    }
}

impl std::error::Error for Failure {}

/// The registry's manifest, where the backup has one.
pub(crate) async fn registry_manifest(
    backup: &Backup,
    manifest: &Manifest,
) -> Result<Option<RegistryManifest>> {
    Ok(match &manifest.schema_registry {
        Some(part) => Some(backup.json(layout::REGISTRY_MANIFEST, &part.manifest).await?),
        None => None,
    })
}

/// Every schema file is there and whole, the target answers, and each version has its place there.
pub(crate) async fn registry(
    plan: &RegistryPlan,
    backup: &Backup,
    manifest: Option<&RegistryManifest>,
    failures: &mut Vec<String>,
) -> Result<Option<(Schemas, Planned)>> {
    let Some(manifest) = manifest else {
        let id = backup.id();
        failures.push(format!("backup `{id}` has no schemas to put into {}", plan.client.url()));
        return Ok(None);
    };
    let schemas = source::read(backup, manifest, failures).await;
    let Some(schemas) = schemas else {
        // The target is asked all the same: all failures are reported together.
        failures.extend(plan.client.subjects(false).await.err().map(|why| why.to_string()));
        return Ok(None);
    };
    let left_behind = schemas::left_behind(backup, &plan.client.url()).await?;
    match schemas::plan(plan, &schemas, &left_behind, failures).await {
        Ok(planned) => {
            given_map(plan, failures).await;
            Ok(Some((schemas, planned)))
        }
        Err(why) => {
            failures.push(why.to_string());
            Ok(None)
        }
    }
}

/// A map that is given must lead to schemas that exist.
async fn given_map(plan: &RegistryPlan, failures: &mut Vec<String>) {
    let renamed = |context: &str| plan.rename.context(context).to_owned();
    match map::unknown_targets(&plan.given_map, &plan.client, renamed).await {
        Ok(unknown) => failures.extend(unknown.iter().map(|id| {
            format!(
                "Schema ID {id} not found in target registry: id_mapping_file leads to it; correct \
                 the file, or restore its schema first"
            )
        })),
        Err(why) => failures.push(why.to_string()),
    }
}

/// Records keep their ids where those are not translated, so what exists must have the same.
pub(crate) fn unchanged_ids(plan: &RegistryPlan, planned: &Planned, failures: &mut Vec<String>) {
    if plan.ids != Ids::Assigned {
        return;
    }
    for step in planned.steps.iter().filter(|it| it.outcome == Outcome::Exists) {
        if let Some(id) = step.target_id.filter(|&id| id != step.source_id) {
            failures.push(format!(
                "schema id {} of subject {} is {id} in the target, and the records carry the old \
                 one: set `rewrite_ids: true` to translate them",
                step.source_id, step.target_subject
            ));
        }
    }
}

/// Whether modes can be changed, and by us: asked in a way that changes nothing. An IMPORT without
/// force is refused for a subject that has versions; an empty registry is set to the mode it has.
pub(crate) async fn may_import(
    plan: &RegistryPlan,
    planned: &Planned,
    failures: &mut Vec<String>,
) -> registry::Result<()> {
    if planned.held.is_empty() || plan.ids != Ids::Force {
        return Ok(());
    }
    let client = &plan.client;
    let probe = if let Some(occupied) = client.subjects(false).await?.first() {
        client.set_mode(Some(occupied), "IMPORT", false).await
    } else {
        let mode = planned.global_mode.as_deref().unwrap_or("READWRITE");
        client.set_mode(None, mode, false).await
    };
    match probe {
        Err(Error::Answer { message, .. }) if message.contains("Mode changes are not allowed") => {
            failures.push(format!(
                "force_ids: {} does not let modes be changed (mode.mutability=false): use \
                 `rewrite_ids: true`, or allow it there",
                client.url()
            ));
        }
        Err(why @ (Error::Unauthorized { .. } | Error::Unreachable { .. })) => {
            failures.push(format!("force_ids: {why}"));
        }
        _ => {}
    }
    Ok(())
}

/// Every segment is there and has its size; checksums are checked while it is read.
pub(crate) async fn segments(backup: &Backup, manifest: &Manifest, failures: &mut Vec<String>) {
    for topic in &manifest.topics {
        for partition in &topic.partitions {
            for segment in &partition.segments {
                let checked = backup.check_size(&topic.name, partition.partition, segment).await;
                failures.extend(checked.err().map(|why| why.to_string()));
            }
        }
    }
}
