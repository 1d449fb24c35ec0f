//! What is selected of a registry, one object for each version, and the manifest over them.

mod order;

use std::collections::{BTreeMap, BTreeSet};

use artifact::manifest::{
    IdMapping, ObjectSum, RegistryManifest, Subject, SubjectVersion, VersionKey,
};
use artifact::{Backup, layout};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use registry::model::{Version, context, qualify};
use registry::{Client, Reference};
use serde_json::json;

use crate::{Error, Result, SchemasPlan, Versions};

/// Subjects that are asked for at the same time; the rate limit rules all the same.
const CONCURRENT_SUBJECTS: usize = 8;

pub(crate) async fn capture(plan: &SchemasPlan, backup: &Backup) -> Result<RegistryManifest> {
    let client = &plan.client;
    let backup_timestamp = jiff::Timestamp::now().to_string();
    let settings = capture_settings(client, backup).await?;
    let mut capture = Capture {
        plan,
        backup,
        has_mode: settings.has_mode,
        objects: BTreeMap::from([(layout::GLOBAL_CONFIG.to_owned(), settings.sum)]),
        subjects: BTreeMap::new(),
        versions: BTreeMap::new(),
        asked: BTreeSet::new(),
    };
    let names = client.subjects(plan.include_soft_deleted).await?;
    let selected = names.into_iter().filter(|it| plan.subjects.selects(it));
    let mut wanted: BTreeMap<String, Wanted> = selected.map(|it| (it, Wanted::Selected)).collect();
    // References pull in others, which may have references themselves.
    while !wanted.is_empty() {
        let round: Vec<Captured> = stream::iter(std::mem::take(&mut wanted))
            .map(|(name, wanted)| capture.subject(name, wanted))
            .buffered(CONCURRENT_SUBJECTS)
            .try_collect()
            .await?;
        for subject in round {
            capture.add(subject);
        }
        wanted = capture.missing_references()?;
        capture.asked(&wanted);
    }
    let dependency_order = order::order(&capture.versions)?;
    Ok(RegistryManifest {
        url: client.url(),
        schema_registry_version: client.server_version().await?,
        schema_registry_cluster_id: client.cluster_id().await?,
        backup_timestamp,
        id_mapping: capture.id_mapping(),
        subjects_count: capture.subjects.len(),
        schemas_count: capture.versions.len(),
        subjects: capture.subjects.into_values().collect(),
        dependency_order,
        not_offered: settings.not_offered,
        objects: capture.objects,
    })
}

struct Settings {
    sum: ObjectSum,
    has_mode: bool,
    not_offered: Vec<String>,
}

/// Global config and mode, and those of each context.
async fn capture_settings(client: &Client, backup: &Backup) -> Result<Settings> {
    let (config, mode) = (client.config(None).await?, client.mode(None).await?);
    let has_mode = mode.is_some();
    let contexts = client.contexts().await?;
    let offered =
        [("config", config.is_some()), ("mode", has_mode), ("contexts", contexts.is_some())];
    let not_offered = offered.iter().filter(|(_, there)| !there);
    let not_offered = not_offered.map(|(name, _)| (*name).to_owned()).collect();
    let mut of_contexts = serde_json::Map::new();
    // `.` is the default context; Apicurio writes it as `:.:`.
    for name in contexts.unwrap_or_default().iter().filter(|it| it.trim_matches(':') != ".") {
        let subject = format!(":{name}:");
        let config = client.config(Some(&subject)).await?;
        let mode = if has_mode { client.mode(Some(&subject)).await? } else { None };
        of_contexts.insert(name.clone(), json!({ "config": config, "mode": mode }));
    }
    let all = json!({ "config": config, "mode": mode, "contexts": of_contexts });
    let sum = backup.put_json(layout::GLOBAL_CONFIG, &all).await?;
    Ok(Settings { sum, has_mode, not_offered })
}

/// Why a subject is captured.
enum Wanted {
    /// A pattern names it.
    Selected,
    /// These of its versions are referenced.
    Referenced(BTreeSet<Option<u32>>),
}

/// One subject, read and written.
struct Captured {
    name: String,
    compatibility: Option<String>,
    versions: Vec<CapturedVersion>,
    objects: Vec<(String, ObjectSum)>,
}

/// What is kept in memory of a version.
#[derive(Debug)]
pub(crate) struct CapturedVersion {
    pub(crate) number: u32,
    pub(crate) id: u32,
    pub(crate) deleted: bool,
    pub(crate) schema_type: String,
    pub(crate) references: Vec<Reference>,
}

struct Capture<'a> {
    plan: &'a SchemasPlan,
    backup: &'a Backup,
    has_mode: bool,
    objects: BTreeMap<String, ObjectSum>,
    subjects: BTreeMap<String, Subject>,
    versions: BTreeMap<VersionKey, CapturedVersion>,
    /// Referenced versions that were looked for.
    asked: BTreeSet<(String, Option<u32>)>,
}

impl Capture<'_> {
    fn asked(&mut self, wanted: &BTreeMap<String, Wanted>) {
        for (name, wanted) in wanted {
            if let Wanted::Referenced(numbers) = wanted {
                self.asked.extend(numbers.iter().map(|&number| (name.clone(), number)));
            }
        }
    }

    async fn subject(&self, name: String, wanted: Wanted) -> Result<Captured> {
        let client = &self.plan.client;
        let config = client.config(Some(&name)).await?;
        let mode = if self.has_mode { client.mode(Some(&name)).await? } else { None };
        let compatibility =
            config.as_ref().and_then(|it| it["compatibilityLevel"].as_str()).map(str::to_owned);
        let object = layout::subject(&name);
        let metadata = json!({ "subject": name, "config": config, "mode": mode });
        let sum = self.backup.put_json(&object, &metadata).await?;
        let mut captured =
            Captured { name, compatibility, versions: Vec::new(), objects: vec![(object, sum)] };
        let all = self.numbers(&captured.name).await?;
        for (number, deleted) in self.choose(&all, &wanted) {
            let mut version: Version = client.version(&captured.name, number, deleted).await?;
            let of_type = self.plan.schema_types.as_ref();
            if matches!(wanted, Wanted::Selected)
                && of_type.is_some_and(|it| !it.contains(&version.schema.schema_type))
            {
                continue;
            }
            version.deleted = deleted;
            let file = layout::version(&captured.name, number);
            captured.objects.push((file.clone(), self.backup.put_json(&file, &version).await?));
            captured.versions.push(CapturedVersion {
                number,
                id: version.id,
                deleted,
                schema_type: version.schema.schema_type,
                references: version.schema.references,
            });
        }
        Ok(captured)
    }

    /// A subject's versions and whether each is soft-deleted.
    async fn numbers(&self, name: &str) -> Result<Vec<(u32, bool)>> {
        let client = &self.plan.client;
        let live = client.versions(name, false).await?.unwrap_or_default();
        if !self.plan.include_soft_deleted {
            return Ok(live.into_iter().map(|number| (number, false)).collect());
        }
        let all = client.versions(name, true).await?.unwrap_or_default();
        Ok(all.into_iter().map(|number| (number, !live.contains(&number))).collect())
    }

    fn choose(&self, all: &[(u32, bool)], wanted: &Wanted) -> Vec<(u32, bool)> {
        let latest = all.iter().rev().find(|(_, deleted)| !deleted).copied();
        match (wanted, self.plan.versions) {
            // Also where only some are referenced: registering those alone would give them other
            // numbers.
            (_, Versions::All) => all.to_vec(),
            (Wanted::Selected, Versions::Latest) => latest.into_iter().collect(),
            (Wanted::Referenced(numbers), Versions::Latest) => {
                let named = |number| numbers.contains(&Some(number));
                let is_latest = |it| numbers.contains(&None) && Some(it) == latest;
                all.iter().copied().filter(|&it| named(it.0) || is_latest(it)).collect()
            }
        }
    }

    fn add(&mut self, captured: Captured) {
        self.objects.extend(captured.objects);
        for version in captured.versions {
            let key = VersionKey { subject: captured.name.clone(), version: version.number };
            self.versions.insert(key, version);
        }
        let first = VersionKey { subject: captured.name.clone(), version: 0 };
        let own = self.versions.range(first..).take_while(|(key, _)| key.subject == captured.name);
        let mut schema_type = String::new();
        let versions: Vec<SubjectVersion> = own
            .map(|(key, version)| {
                schema_type.clone_from(&version.schema_type);
                SubjectVersion {
                    version: key.version,
                    id: version.id,
                    deleted: version.deleted,
                    schema_file: layout::version(&key.subject, key.version),
                }
            })
            .collect();
        let (name, compatibility) = (captured.name, captured.compatibility);
        if versions.is_empty() {
            // None of its versions is of a wanted type.
            self.objects.remove(&layout::subject(&name));
            return;
        }
        self.subjects.insert(name.clone(), Subject { name, schema_type, compatibility, versions });
    }

    /// Referenced versions that are not captured yet; an error where they may not be pulled in.
    fn missing_references(&self) -> Result<BTreeMap<String, Wanted>> {
        let mut missing: BTreeMap<String, BTreeSet<Option<u32>>> = BTreeMap::new();
        for (key, version) in &self.versions {
            for reference in &version.references {
                let subject = qualify(&reference.subject, context(&key.subject));
                // -1 means the latest one.
                let number = u32::try_from(reference.version).ok();
                let there = match (number, self.subjects.get(&subject)) {
                    (Some(number), Some(it)) => it.versions.iter().any(|it| it.version == number),
                    (None, found) => found.is_some(),
                    (Some(_), None) => false,
                };
                if there {
                    continue;
                }
                let pulls_in = match version.schema_type.as_str() {
                    "PROTOBUF" => self.plan.include_protobuf_dependencies,
                    _ => self.plan.include_references,
                };
                // What was looked for and is still missing does not exist.
                let asked = self.asked.contains(&(subject.clone(), number));
                let whole =
                    self.plan.versions == Versions::All && self.subjects.contains_key(&subject);
                if !pulls_in || asked || whole {
                    let version = number.unwrap_or(0);
                    return Err(Error::Reference { subject, version, by: key.to_string() });
                }
                missing.entry(subject).or_default().insert(number);
            }
        }
        Ok(missing.into_iter().map(|(name, it)| (name, Wanted::Referenced(it))).collect())
    }

    fn id_mapping(&self) -> IdMapping {
        let mut by_context: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (key, version) in &self.versions {
            let ids = by_context.entry(context(&key.subject).to_owned()).or_default();
            let file = || layout::version(&key.subject, key.version);
            ids.entry(version.id.to_string()).or_insert_with(file);
        }
        IdMapping::new(by_context)
    }
}
