//! Everything a registry holds, one object for each version.

use std::collections::BTreeMap;

use artifact::manifest::{ObjectSum, RegistryManifest, Subject, SubjectVersion, VersionKey};
use artifact::{Backup, layout};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use registry::graph::{GraphError, dependency_order};
use registry::model::{Version, context};
use registry::{Client, Reference};
use serde_json::{Value, json};

use crate::{Error, Result};

/// Subjects that are asked for at the same time; the rate limit rules all the same.
const CONCURRENT_SUBJECTS: usize = 8;

/// One subject, read and written.
struct Captured {
    subject: Subject,
    keys: Vec<(VersionKey, u32, Vec<Reference>)>,
    objects: Vec<(String, ObjectSum)>,
}

pub(crate) async fn capture(client: &Client, backup: &Backup) -> Result<RegistryManifest> {
    let backup_timestamp = jiff::Timestamp::now().to_string();
    let schema_registry_version = client.server_version().await?;
    let (config, mode) = (client.config(None).await?, client.mode(None).await?);
    let mut not_offered = Vec::new();
    for (name, missing) in [("config", config.is_none()), ("mode", mode.is_none())] {
        if missing {
            not_offered.push(name.to_owned());
        }
    }
    let has_mode = mode.is_some();
    let global = json!({ "config": config, "mode": mode });
    let sum = backup.put_json(layout::GLOBAL_CONFIG, &global).await?;
    let mut objects = BTreeMap::from([(layout::GLOBAL_CONFIG.to_owned(), sum)]);

    let mut names = client.subjects(false).await?;
    names.sort_unstable();
    let captured: Vec<Captured> = stream::iter(names)
        .map(|name| capture_subject(client, backup, name, has_mode))
        .buffered(CONCURRENT_SUBJECTS)
        .try_collect()
        .await?;

    let mut subjects = Vec::with_capacity(captured.len());
    let mut keys = Vec::new();
    for one in captured {
        subjects.push(one.subject);
        keys.extend(one.keys);
        objects.extend(one.objects);
    }
    let mut id_mapping: BTreeMap<String, BTreeMap<u32, String>> = BTreeMap::new();
    for (key, id, _) in &keys {
        let file = layout::version(&key.subject, key.version);
        let ids = id_mapping.entry(context(&key.subject).to_owned()).or_default();
        ids.entry(*id).or_insert(file);
    }
    Ok(RegistryManifest {
        url: client.url(),
        schema_registry_version,
        backup_timestamp,
        subjects_count: subjects.len(),
        schemas_count: keys.len(),
        subjects,
        id_mapping,
        dependency_order: order(&keys)?,
        not_offered,
        objects,
    })
}

async fn capture_subject(
    client: &Client,
    backup: &Backup,
    name: String,
    has_mode: bool,
) -> Result<Captured> {
    let config = client.config(Some(&name)).await?;
    let mode = if has_mode { client.mode(Some(&name)).await? } else { None };
    let compatibility = config.as_ref().and_then(level);
    let object = layout::subject(&name);
    let metadata = json!({ "subject": name, "config": config, "mode": mode });
    let sum = backup.put_json(&object, &metadata).await?;
    let mut objects = vec![(object, sum)];
    let (mut versions, mut keys) = (Vec::new(), Vec::new());
    let mut schema_type = String::new();
    for number in client.versions(&name).await? {
        let version: Version = client.version(&name, number).await?;
        let schema_file = layout::version(&name, number);
        let sum = backup.put_json(&schema_file, &version).await?;
        objects.push((schema_file.clone(), sum));
        schema_type.clone_from(&version.schema.schema_type);
        versions.push(SubjectVersion { version: number, id: version.id, schema_file });
        let key = VersionKey { subject: name.clone(), version: number };
        keys.push((key, version.id, version.schema.references));
    }
    let subject = Subject { name, schema_type, compatibility, versions };
    Ok(Captured { subject, keys, objects })
}

fn level(config: &Value) -> Option<String> {
    config["compatibilityLevel"].as_str().map(str::to_owned)
}

/// Each version after those that it references, and after the earlier ones of its subject.
fn order(keys: &[(VersionKey, u32, Vec<Reference>)]) -> Result<Vec<VersionKey>> {
    let mut latest: BTreeMap<&str, u32> = BTreeMap::new();
    for (key, _, _) in keys {
        let last = latest.entry(&key.subject).or_insert(key.version);
        *last = key.version.max(*last);
    }
    let mut graph: BTreeMap<VersionKey, Vec<VersionKey>> = BTreeMap::new();
    let mut previous: Option<&VersionKey> = None;
    for (key, _, references) in keys {
        let mut needs: Vec<VersionKey> = Vec::with_capacity(references.len() + 1);
        for reference in references {
            let subject = qualify(&reference.subject, context(&key.subject));
            // -1 means the latest one.
            let version = u32::try_from(reference.version).ok();
            let version = version.or_else(|| latest.get(subject.as_str()).copied()).unwrap_or(0);
            needs.push(VersionKey { subject, version });
        }
        needs.extend(previous.filter(|it| it.subject == key.subject).cloned());
        graph.insert(key.clone(), needs);
        previous = Some(key);
    }
    dependency_order(&graph).map_err(|error| match error {
        GraphError::Missing { from, to } => {
            Error::Reference { subject: to.subject, version: to.version, by: from.to_string() }
        }
        cycle @ GraphError::Cycle(_) => Error::Cycle(cycle.to_string()),
    })
}

/// A reference without a context means the context of the schema that has it.
fn qualify(subject: &str, context: &str) -> String {
    if context == "." || subject.starts_with(":.") {
        subject.to_owned()
    } else {
        format!(":{context}:{subject}")
    }
}
