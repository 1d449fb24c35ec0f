//! The registry's part of an artefact, read whole and checked.

use std::collections::{BTreeMap, BTreeSet};

use artifact::manifest::{RegistryManifest, VersionKey};
use artifact::{Backup, layout};
use futures_util::stream::{self, StreamExt};
use registry::{Schema, Version};
use serde::Deserialize;
use serde_json::Value;

/// Objects that are read at the same time.
const CONCURRENT_READS: usize = 16;

/// `_metadata.json` of a subject, and each part of `_global_config.json`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct Settings {
    pub(crate) config: Option<Value>,
    pub(crate) mode: Option<String>,
}

/// `_global_config.json`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Global {
    #[serde(flatten)]
    pub(crate) own: Settings,
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Settings>,
}

/// All that is needed to rebuild a registry.
#[derive(Debug)]
pub(crate) struct Schemas {
    /// Where it was captured.
    pub(crate) url: String,
    /// Each version that can be registered, after those that it references.
    pub(crate) order: Vec<VersionKey>,
    pub(crate) versions: BTreeMap<VersionKey, Version>,
    pub(crate) settings: BTreeMap<String, Settings>,
    pub(crate) global: Global,
}

/// Schemas that only an id led to are restored under such a subject, soft-deleted: as in the source,
/// the id alone finds them.
fn subject_of_audited(id: u32) -> String {
    format!("__schema-id-{id}")
}

/// Reads every object; what is missing or damaged is added to the failures.
pub(crate) async fn read(
    backup: &Backup,
    manifest: &RegistryManifest,
    failures: &mut Vec<String>,
) -> Option<Schemas> {
    let before = failures.len();
    let objects: Vec<_> = stream::iter(&manifest.objects)
        .map(|(object, sum)| async move { (object, backup.json::<Value>(object, sum).await) })
        .buffered(CONCURRENT_READS)
        .collect()
        .await;
    let mut documents = BTreeMap::new();
    for (object, read) in objects {
        match read {
            Ok(document) => drop(documents.insert(object.as_str(), document)),
            Err(why) => failures.push(why.to_string()),
        }
    }
    let mut schemas = Schemas {
        url: manifest.url.clone(),
        order: Vec::with_capacity(manifest.dependency_order.len()),
        versions: BTreeMap::new(),
        settings: BTreeMap::new(),
        global: take(&mut documents, layout::GLOBAL_CONFIG, failures).unwrap_or_default(),
    };
    for subject in &manifest.subjects {
        let object = layout::subject(&subject.name);
        let settings = take(&mut documents, &object, failures);
        schemas.settings.insert(subject.name.clone(), settings.unwrap_or_default());
    }
    for key in &manifest.dependency_order {
        let object = layout::version(&key.subject, key.version);
        let version = take(&mut documents, &object, failures);
        if let Some(lost) = manifest.dangling.iter().find(|it| it.version == *key) {
            tracing::warn!(
                "{key} is soft-deleted and references {}, which the source has lost: it is left out",
                lost.reference
            );
            continue;
        }
        if let Some(version) = version {
            schemas.order.push(key.clone());
            schemas.versions.insert(key.clone(), version);
        }
    }
    // A subject of which nothing can be registered is left out whole.
    let named: BTreeSet<&String> = schemas.versions.keys().map(|key| &key.subject).collect();
    schemas.settings.retain(|subject, _| named.contains(subject));
    for (&id, object) in &manifest.audited_ids {
        if let Some(schema) = take::<Schema>(&mut documents, object, failures) {
            let subject = subject_of_audited(id);
            let key = VersionKey { subject: subject.clone(), version: 1 };
            let version = Version { subject, version: 1, id, guid: None, deleted: true, schema };
            schemas.order.push(key.clone());
            schemas.versions.insert(key, version);
        }
    }
    (failures.len() == before).then_some(schemas)
}

/// One document; its absence is a failure already where the manifest lists it.
fn take<T: serde::de::DeserializeOwned>(
    documents: &mut BTreeMap<&str, Value>,
    object: &str,
    failures: &mut Vec<String>,
) -> Option<T> {
    let Some(document) = documents.remove(object) else {
        let known = failures.iter().any(|it| it.contains(object));
        if !known {
            failures.push(format!("the registry's manifest does not list {object}"));
        }
        return None;
    };
    match serde_json::from_value(document) {
        Ok(value) => Some(value),
        Err(why) => {
            failures.push(format!("{object} is damaged: {why}"));
            None
        }
    }
}
