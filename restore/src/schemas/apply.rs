//! A plan carried out.

use std::collections::{BTreeMap, BTreeSet};

use artifact::Backup;
use artifact::manifest::VersionKey;
use registry::Client;
use serde_json::Value;

use super::held::{Held, Original};
use super::plan::key_of;
use super::{Ids, Outcome, Own, Planned, RegistryPlan, Removal, SchemaStep};
use crate::{Error, RestoredSchema, Result};

/// Registers everything. Whatever happens, an interruption too, modes and compatibility that were
/// changed for a while are put back.
pub(crate) async fn apply(
    plan: &RegistryPlan,
    planned: &Planned,
    left_behind: BTreeMap<String, Original>,
    backup: &Backup,
    interrupted: impl Future<Output = ()>,
) -> Result<Vec<RestoredSchema>> {
    if !left_behind.is_empty() {
        tracing::warn!(
            "an earlier restore was killed: {} subjects are put back",
            left_behind.len()
        );
        let held = Held::resume(&plan.client, backup, left_behind);
        still_held(held.put_back().await, None)?;
    }
    let held = Held::begin(&plan.client, backup, planned.held.clone()).await?;
    let work = async {
        held.change().await?;
        carry_out(plan, planned).await
    };
    let result = tokio::select! {
        biased;
        () = interrupted => Err(Error::Interrupted),
        result = work => result,
    };
    let failed = held.put_back().await;
    match result {
        Ok(restored) => still_held(failed, None).map(|()| restored),
        Err(why) if failed.is_empty() => Err(why),
        Err(why) => still_held(failed, Some(why)).map(|()| Vec::new()),
    }
}

fn still_held(failed: Vec<(String, String)>, cause: Option<Error>) -> Result<()> {
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::StillHeld { subjects: failed, cause: cause.map(Box::new) })
}

async fn carry_out(plan: &RegistryPlan, planned: &Planned) -> Result<Vec<RestoredSchema>> {
    let client = &plan.client;
    let mut late = Vec::new();
    for (scope, settings) in &planned.wide_settings {
        let scope = scope.as_deref();
        set_config(client, scope, settings.config.as_ref(), &mut late).await?;
    }
    delete(client, &planned.removals).await?;
    for it in &planned.settings {
        let held = planned.held.get(&it.subject).is_some_and(|it| it.config.is_touched());
        match &it.config {
            Own::Set(config) if !held => {
                set_config(client, Some(&it.subject), Some(config), &mut late).await?;
            }
            Own::Removed if !held => client.delete_config(&it.subject).await?,
            _ => {}
        }
    }
    let restored = register(plan, &planned.steps).await?;
    for (subject, config) in late {
        // It refuses to set NONE where that is so already.
        if client.config(subject.as_deref()).await?.as_ref() != Some(&config) {
            client.set_config(subject.as_deref(), &config).await?;
        }
    }
    // Last, because a mode can forbid to register.
    for it in &planned.settings {
        let held = planned.held.get(&it.subject).is_some_and(|it| it.mode.is_touched());
        match &it.mode {
            Own::Set(mode) if !held => client.set_mode(Some(&it.subject), mode, true).await?,
            Own::Removed if !held => client.delete_mode(&it.subject).await?,
            _ => {}
        }
    }
    for (scope, settings) in &planned.wide_settings {
        let now = client.mode(scope.as_deref()).await?;
        if let (Some(mode), Some(_)) = (&settings.mode, &planned.global_mode)
            && now.as_ref() != Some(mode)
        {
            client.set_mode(scope.as_deref(), mode, true).await?;
        }
    }
    Ok(restored)
}

/// Some registries (Apicurio) take a subject's config only once the subject is there.
async fn set_config(
    client: &Client,
    subject: Option<&str>,
    config: Option<&Value>,
    late: &mut Vec<(Option<String>, Value)>,
) -> Result<()> {
    let Some(config) = config else { return Ok(()) };
    match client.set_config(subject, config).await {
        Err(error) if error.is_not_found() => {
            late.push((subject.map(str::to_owned), config.clone()));
            Ok(())
        }
        result => Ok(result?),
    }
}

/// What references others goes before those: a registry keeps what is referenced, so each round
/// deletes what it lets go.
async fn delete(client: &Client, removals: &[Removal]) -> Result<()> {
    let mut left: Vec<&Removal> = removals.iter().filter(|it| !it.replaced).collect();
    while !left.is_empty() {
        let mut kept = Vec::new();
        for removal in &left {
            let VersionKey { subject, version } = &removal.version;
            match client.delete_version(subject, *version).await {
                Err(error) if error.code() == Some(REFERENCED) => kept.push((*removal, error)),
                result => result?,
            }
        }
        if kept.len() == left.len() {
            let (_, error) = kept.remove(0);
            return Err(error.into());
        }
        left = kept.into_iter().map(|(removal, _)| removal).collect();
    }
    Ok(())
}

/// The registry's error code for a version that others reference.
const REFERENCED: u32 = 42206;

async fn register(plan: &RegistryPlan, steps: &[SchemaStep]) -> Result<Vec<RestoredSchema>> {
    let client = &plan.client;
    let referenced: BTreeSet<(String, u32)> = steps
        .iter()
        .flat_map(|step| {
            let of = |it| key_of(it, &step.target_subject);
            step.version.schema.references.iter().filter_map(of)
        })
        .map(|key| (key.subject, key.version))
        .collect();
    // Where a version came out under another number than was expected, because someone else
    // registers too.
    let mut moved: BTreeMap<VersionKey, u32> = BTreeMap::new();
    let mut restored = Vec::with_capacity(steps.len());
    let mut to_delete = Vec::new();
    for step in steps {
        let subject = &step.target_subject;
        let mut done = RestoredSchema {
            subject: subject.clone(),
            source: step.source.clone(),
            source_id: step.source_id,
            target_id: step.target_id,
            target_version: step.target_version,
            outcome: step.outcome,
        };
        if step.outcome == Outcome::Restore {
            let mut version = step.version.clone();
            for reference in &mut version.schema.references {
                let number = key_of(reference, subject).and_then(|key| moved.get(&key));
                reference.version = number.map_or(reference.version, |&it| it as i32);
            }
            let fail = |why| Error::Registration {
                subject: subject.clone(),
                version: step.source.version,
                why,
            };
            let expected = step.target_version.unwrap_or(0);
            let mut number = expected;
            if plan.ids == Ids::Force {
                let place = (step.source_id, expected);
                client.import(subject, place, &version.schema).await.map_err(fail)?;
            } else {
                done.target_id =
                    Some(client.register(subject, &version.schema).await.map_err(fail)?);
                if step.deleted
                    || version.guid.is_some()
                    || referenced.contains(&(subject.clone(), expected))
                {
                    let found = client.lookup(subject, &version.schema, false).await;
                    number = found.map_err(fail)?.map_or(expected, |it| it.version);
                }
            }
            done.target_version = Some(number);
            if number != expected {
                moved.insert(VersionKey { subject: subject.clone(), version: expected }, number);
            }
            if step.deleted {
                to_delete.push((subject, number));
            }
        } else if step.delete_existing {
            to_delete.extend(step.target_version.map(|number| (subject, number)));
        }
        restored.push(done);
    }
    // After all that references them is there: a registry takes no reference to a deleted version.
    for (subject, number) in to_delete.into_iter().rev() {
        client.delete_version(subject, number).await?;
    }
    Ok(restored)
}
