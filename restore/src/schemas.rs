//! Schemas into the target, in dependency order, and the map of their ids.

use std::collections::{BTreeMap, BTreeSet};

use artifact::manifest::{RegistryManifest, VersionKey};
use artifact::{Backup, layout};
use registry::model::{Version, context, qualify};
use registry::{Client, Reference};
use serde::Deserialize;
use serde_json::Value;
use wire::id_map::{DEFAULT_CONTEXT, MapFile, Registry};

use crate::{Error, RegistryPlan, RestoredSchema, Result};

/// `_metadata.json` of a subject, and `_global_config.json`.
#[derive(Debug, Deserialize)]
struct Settings {
    config: Option<Value>,
    mode: Option<String>,
}

pub(crate) async fn restore(
    plan: &RegistryPlan,
    manifest: &RegistryManifest,
    backup: &Backup,
) -> Result<(Vec<RestoredSchema>, MapFile)> {
    let client = &plan.client;
    let there: BTreeSet<String> = client.subjects(false).await?.into_iter().collect();
    let mut target = Target { client, late_configs: Vec::new(), numbers: BTreeMap::new() };
    if there.is_empty() {
        // A registry that is in use keeps its own global level and mode.
        let settings: Settings = read(backup, manifest, layout::GLOBAL_CONFIG).await?;
        target.set_config(None, settings.config).await?;
    }
    let mut modes = Vec::new();
    for subject in manifest.subjects.iter().filter(|it| !there.contains(&it.name)) {
        let settings: Settings = read(backup, manifest, &layout::subject(&subject.name)).await?;
        target.set_config(Some(&subject.name), settings.config).await?;
        modes.extend(settings.mode.map(|mode| (subject.name.clone(), mode)));
    }

    let referenced = referenced(backup, manifest).await?;
    let mut restored = Vec::with_capacity(manifest.dependency_order.len());
    let mut to_delete = Vec::new();
    let mut map = MapFile {
        source: Some(Registry { url: manifest.url.clone() }),
        target: Some(Registry { url: client.url() }),
        created_at: Some(jiff::Timestamp::now().to_string()),
        ..MapFile::default()
    };
    for key in &manifest.dependency_order {
        let mut version: Version =
            read(backup, manifest, &layout::version(&key.subject, key.version)).await?;
        target.renumber(&mut version);
        let needs_number = version.deleted || referenced.contains(key);
        let registered = target.register(&version, needs_number).await?;
        let target_id = registered.id;
        if let Some(number) = registered.version {
            if version.deleted && !registered.existed {
                to_delete.push((key.subject.clone(), number));
            }
            target.numbers.insert(key.clone(), number);
        }
        learn(&mut map, &version, target_id)?;
        if !plan.rewrite_ids && version.id != target_id {
            let (subject, source_id) = (version.subject, version.id);
            return Err(Error::IdChanged { subject, source_id, target_id });
        }
        restored.push(RestoredSchema {
            subject: version.subject,
            version: version.version,
            source_id: version.id,
            target_id,
            existed: registered.existed,
        });
    }
    for (subject, config) in std::mem::take(&mut target.late_configs) {
        client.set_config(subject.as_deref(), &config).await?;
    }
    // After all that references them is there: a registry takes no reference to a deleted version.
    for (subject, version) in to_delete.into_iter().rev() {
        client.delete_version(&subject, version).await?;
    }
    // Last, because a mode can forbid to register.
    if client.mode(None).await?.is_some() {
        for (subject, mode) in modes {
            client.set_mode(Some(&subject), &mode).await?;
        }
    }
    Ok((restored, map))
}

/// The versions that others reference: only their numbers in the target matter.
async fn referenced(backup: &Backup, manifest: &RegistryManifest) -> Result<BTreeSet<VersionKey>> {
    let mut referenced = BTreeSet::new();
    for key in &manifest.dependency_order {
        let version: Version =
            read(backup, manifest, &layout::version(&key.subject, key.version)).await?;
        for reference in &version.schema.references {
            referenced.extend(key_of(reference, &version.subject));
        }
    }
    Ok(referenced)
}

/// `None` for the latest version, whichever it is.
fn key_of(reference: &Reference, by: &str) -> Option<VersionKey> {
    let version = u32::try_from(reference.version).ok()?;
    Some(VersionKey { subject: qualify(&reference.subject, context(by)), version })
}

struct Target<'a> {
    client: &'a Client,
    /// Configs that the target takes only once the subject is there (Apicurio).
    late_configs: Vec<(Option<String>, Value)>,
    /// Versions that others reference, and their numbers in the target: gaps close there.
    numbers: BTreeMap<VersionKey, u32>,
}

/// What became of a version.
struct Registered {
    id: u32,
    /// Its number in the target, where it was asked for.
    version: Option<u32>,
    existed: bool,
}

impl Target<'_> {
    async fn set_config(&mut self, subject: Option<&str>, config: Option<Value>) -> Result<()> {
        let Some(config) = config else { return Ok(()) };
        match self.client.set_config(subject, &config).await {
            Err(error) if error.is_not_found() => {
                self.late_configs.push((subject.map(str::to_owned), config));
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// Points references at the target's version numbers.
    fn renumber(&self, version: &mut Version) {
        let by = &version.subject;
        for reference in &mut version.schema.references {
            let number = key_of(reference, by).and_then(|key| self.numbers.get(&key));
            if let Some(&number) = number {
                reference.version = number as i32;
            }
        }
    }

    async fn register(&self, version: &Version, needs_number: bool) -> Result<Registered> {
        let (client, subject, schema) = (self.client, &version.subject, &version.schema);
        let fail =
            |why| Error::Registration { subject: subject.clone(), version: version.version, why };
        let lookup = async || client.lookup(subject, schema, version.deleted).await.map_err(fail);
        if let Some(found) = lookup().await? {
            return Ok(Registered { id: found.id, version: Some(found.version), existed: true });
        }
        let id = client.register(subject, schema).await.map_err(fail)?;
        let number = if needs_number { lookup().await?.map(|it| it.version) } else { None };
        Ok(Registered { id, version: number, existed: false })
    }
}

fn learn(map: &mut MapFile, version: &Version, target_id: u32) -> Result<()> {
    let default = context(&version.subject) == DEFAULT_CONTEXT;
    let pairs: &mut BTreeMap<u32, u32> = if default {
        let subjects = map.subjects.entry(version.id).or_default();
        if !subjects.contains(&version.subject) {
            subjects.push(version.subject.clone());
        }
        &mut map.mapping
    } else {
        map.contexts.entry(context(&version.subject).to_owned()).or_default()
    };
    let first = *pairs.entry(version.id).or_insert(target_id);
    if first != target_id {
        let (source_id, subject) = (version.id, version.subject.clone());
        return Err(Error::Ambiguous { source_id, first, second: target_id, subject });
    }
    Ok(())
}

async fn read<T: serde::de::DeserializeOwned>(
    backup: &Backup,
    manifest: &RegistryManifest,
    object: &str,
) -> Result<T> {
    // An object that the manifest does not list has an empty sum, which no object matches.
    let sum = manifest.objects.get(object).cloned().unwrap_or_default();
    Ok(backup.json(object, &sum).await?)
}
