//! What stands against a plan, and is better known before it is begun.

use std::collections::{BTreeMap, BTreeSet};

use artifact::manifest::VersionKey;
use registry::Client;
use registry::model::context;

use super::plan::key_of;
use super::survey::Target;
use super::{Ids, Outcome, RegistryPlan, Removal, SchemaStep};
use crate::source::Schemas;

/// No two subjects may become one.
pub(super) fn names(plan: &RegistryPlan, source: &Schemas, failures: &mut Vec<String>) {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for subject in source.settings.keys() {
        let name = plan.rename.subject(subject);
        if let Some(first) = taken.insert(name.clone(), subject) {
            failures.push(format!(
                "subjects '{first}' and '{subject}' would both become '{name}': change \
                 subject_mapping or context_mapping"
            ));
        }
    }
}

/// A subject that is to be written is in a mode that takes no schemas.
pub(super) fn modes(
    plan: &RegistryPlan,
    target: &Target,
    steps: &[SchemaStep],
    failures: &mut Vec<String>,
) {
    let url = plan.client.url();
    let Some(global) = &target.global_mode else {
        if plan.ids == Ids::Force {
            failures.push(format!(
                "force_ids: {url} has no IMPORT mode (GET /mode is not offered): use \
                 `rewrite_ids: true` instead"
            ));
        }
        return;
    };
    let written: BTreeSet<&String> = steps
        .iter()
        .filter(|it| it.outcome == Outcome::Restore)
        .map(|it| &it.target_subject)
        .collect();
    for subject in written {
        let overrides = global == "READONLY_OVERRIDE";
        let own = target.mode(subject).filter(|_| !overrides);
        let mode = own.as_ref().unwrap_or(global);
        if overrides || (plan.ids != Ids::Force && mode != "READWRITE") {
            failures.push(format!(
                "subject '{subject}' is in mode {mode} in {url}, which takes no schemas"
            ));
        }
    }
}

/// The first new version of each subject must be one that the target takes.
pub(super) async fn compatibility(
    plan: &RegistryPlan,
    target: &Target,
    steps: &[SchemaStep],
    removals: &[Removal],
    failures: &mut Vec<String>,
) -> registry::Result<()> {
    if plan.ids == Ids::Force || plan.force_register {
        return Ok(());
    }
    let mut seen = BTreeSet::new();
    for step in steps.iter().filter(|it| it.outcome == Outcome::Restore) {
        let subject = &step.target_subject;
        let replaced = removals.iter().any(|it| it.version.subject == *subject);
        if !seen.insert(subject) || replaced || target.numbers(subject).live.is_empty() {
            continue;
        }
        // A reference that is not there yet makes the registry refuse the question.
        let all_there = step.version.schema.references.iter().all(|it| {
            let Some(key) = key_of(it, subject) else { return true };
            target.numbers(&key.subject).live.contains(&key.version)
        });
        if !all_there {
            continue;
        }
        let conflicts = plan.client.conflicts(subject, &step.version.schema).await?;
        if !conflicts.is_empty() {
            failures.push(format!(
                "Schema registration failed for subject {subject}: version {} of the backup is not \
                 compatible with what {} has ({}): set `force_register: true`, or the subject's \
                 compatibility to NONE",
                step.source.version,
                plan.client.url(),
                conflicts.join("; ")
            ));
        }
    }
    Ok(())
}

/// A version that others reference can only go together with them.
pub(super) async fn removals(
    client: &Client,
    removals: &[Removal],
    failures: &mut Vec<String>,
) -> registry::Result<()> {
    let going: BTreeSet<&VersionKey> = removals.iter().map(|it| &it.version).collect();
    for removal in removals {
        let VersionKey { subject, version } = &removal.version;
        for id in client.referencing(subject, *version).await? {
            for (by, number) in client.users(id, context(subject)).await? {
                let user = VersionKey { subject: by, version: number };
                if going.contains(&user) {
                    continue;
                }
                let live = client.versions(&user.subject, false).await?.unwrap_or_default();
                if live.contains(&user.version) {
                    failures.push(format!("{removal}, but {user} references it and stays"));
                }
            }
        }
    }
    Ok(())
}
