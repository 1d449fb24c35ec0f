//! What is selected of a registry, one object for each version, and the manifest over them.

mod order;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use artifact::manifest::{
    Dangling, IdMapping, ObjectSum, RegistryManifest, Subject, SubjectVersion, VersionKey,
};
use artifact::{Backup, Document, layout};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use registry::model::{Version, context};
use registry::{Client, Reference};
use serde_json::{Value, json};

use crate::spool::Spool;
use crate::{Error, Result, SchemasPlan, Versions};

/// Subjects that are asked for at the same time: enough to use up the rate limit with a registry
/// that takes a second to answer, or 64 where the limit is generous.
fn concurrent_subjects(client: &Client) -> usize {
    (client.requests_per_second() as usize).clamp(8, 64)
}

/// Asks for everything first and writes then: a registry whose schemas have no order is refused
/// before anything is written.
///
/// What an earlier run has captured stays, also where the registry has lost it since: the records of
/// that time have its ids.
pub(crate) async fn capture(
    plan: &SchemasPlan,
    earlier: Option<&RegistryManifest>,
    backup: &Backup,
) -> Result<RegistryManifest> {
    let client = &plan.client;
    let backup_timestamp = jiff::Timestamp::now().to_string();
    let settings = capture_settings(client).await?;
    let asker = Asker { plan, has_mode: settings.has_mode };
    let mut gathered = Gathered::new(plan, backup);
    gathered.push(layout::GLOBAL_CONFIG, &settings.document)?;
    let names = client.subjects(plan.include_soft_deleted).await?;
    let selected = names.into_iter().filter(|it| plan.subjects.selects(it));
    let wanted = selected.map(|it| (it, Wanted::Selected)).collect();
    gathered.ask(&asker, wanted).await?;
    if let Some(earlier) = earlier {
        gathered.keep(earlier).await?;
        let wanted = gathered.missing_references()?;
        gathered.ask(&asker, wanted).await?;
    }
    let dependency_order = order::order(&gathered.versions, &gathered.dangling)?;
    let mut manifest = RegistryManifest {
        url: client.url(),
        schema_registry_version: client.server_version().await?,
        schema_registry_cluster_id: client.cluster_id().await?,
        backup_timestamp,
        id_mapping: gathered.id_mapping(),
        subjects_count: gathered.subjects.len(),
        schemas_count: gathered.versions.len(),
        subjects: gathered.subjects.into_values().collect(),
        dependency_order,
        not_offered: settings.not_offered,
        objects: gathered.objects,
        dangling: gathered
            .dangling
            .into_iter()
            .map(|(version, reference)| Dangling { version, reference })
            .collect(),
        audited_ids: BTreeMap::new(),
    };
    gathered.spool.write(backup).await?;
    for (&id, object) in earlier.iter().flat_map(|it| &it.audited_ids) {
        let sum = earlier.and_then(|it| it.objects.get(object)).cloned();
        keep_audited(&mut manifest, id, sum.unwrap_or_default());
    }
    Ok(manifest)
}

/// Adds a schema that only its id led to, unless a version has it.
pub(crate) fn keep_audited(manifest: &mut RegistryManifest, id: u32, sum: ObjectSum) {
    let object = layout::audited(id);
    let ids = manifest.id_mapping.default_context();
    if let Entry::Vacant(vacant) = ids.entry(id.to_string()) {
        vacant.insert(object.clone());
        manifest.objects.insert(object.clone(), sum);
        manifest.audited_ids.insert(id, object);
    }
}

struct Settings {
    document: Document,
    has_mode: bool,
    not_offered: Vec<String>,
}

/// Global config and mode, and those of each context.
async fn capture_settings(client: &Client) -> Result<Settings> {
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
    Ok(Settings { document: Document::new(&all), has_mode, not_offered })
}

/// Why a subject is captured.
enum Wanted {
    /// A pattern names it.
    Selected,
    /// These of its versions are referenced.
    Referenced(BTreeSet<Option<u32>>),
}

/// One subject as it was read.
struct Captured {
    name: String,
    compatibility: Option<String>,
    /// Where they are not known yet.
    settings: Option<Document>,
    versions: Vec<(CapturedVersion, Document)>,
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

fn captured(number: u32, version: Version) -> (CapturedVersion, Document) {
    let document = Document::new(&version);
    let captured = CapturedVersion {
        number,
        id: version.id,
        deleted: version.deleted,
        schema_type: version.schema.schema_type,
        references: version.schema.references,
    };
    (captured, document)
}

struct Asker<'a> {
    plan: &'a SchemasPlan,
    has_mode: bool,
}

impl Asker<'_> {
    async fn subject(&self, name: String, wanted: Wanted) -> Result<Captured> {
        let client = &self.plan.client;
        let config = client.config(Some(&name)).await?;
        let mode = if self.has_mode { client.mode(Some(&name)).await? } else { None };
        let compatibility =
            config.as_ref().and_then(|it| it["compatibilityLevel"].as_str()).map(str::to_owned);
        let settings = Document::new(&json!({ "subject": name, "config": config, "mode": mode }));
        let mut versions = Vec::new();
        let all = self.numbers(&name).await?;
        for (number, deleted) in self.choose(&all, &wanted) {
            let mut version: Version = client.version(&name, number, deleted).await?;
            let of_type = self.plan.schema_types.as_ref();
            if matches!(wanted, Wanted::Selected)
                && of_type.is_some_and(|it| !it.contains(&version.schema.schema_type))
            {
                continue;
            }
            version.deleted = deleted;
            versions.push(captured(number, version));
        }
        Ok(Captured { name, compatibility, settings: Some(settings), versions })
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
}

/// What was read so far; the documents themselves are in the spool.
struct Gathered<'a> {
    plan: &'a SchemasPlan,
    backup: &'a Backup,
    spool: Spool,
    objects: BTreeMap<String, ObjectSum>,
    subjects: BTreeMap<String, Subject>,
    versions: BTreeMap<VersionKey, CapturedVersion>,
    /// Referenced versions that were looked for.
    asked: BTreeSet<(String, Option<u32>)>,
    /// Soft-deleted versions, and what they reference that does not exist any more.
    dangling: BTreeMap<VersionKey, VersionKey>,
}

impl<'a> Gathered<'a> {
    fn new(plan: &'a SchemasPlan, backup: &'a Backup) -> Self {
        Self {
            plan,
            backup,
            spool: Spool::new(),
            objects: BTreeMap::new(),
            subjects: BTreeMap::new(),
            versions: BTreeMap::new(),
            asked: BTreeSet::new(),
            dangling: BTreeMap::new(),
        }
    }

    /// References pull in others, which may have references themselves.
    async fn ask(&mut self, asker: &Asker<'_>, mut wanted: BTreeMap<String, Wanted>) -> Result<()> {
        while !wanted.is_empty() {
            let mut round = stream::iter(wanted)
                .map(|(name, wanted)| asker.subject(name, wanted))
                .buffered(concurrent_subjects(&asker.plan.client));
            while let Some(subject) = round.try_next().await? {
                self.add(subject)?;
            }
            drop(round);
            wanted = self.missing_references()?;
        }
        Ok(())
    }

    fn push(&mut self, object: &str, document: &Document) -> Result<()> {
        let (sum, is_new) = self.backup.place_for(object, document);
        if is_new {
            self.spool.push(sum.place(object).to_owned(), document)?;
        }
        self.objects.insert(object.to_owned(), sum);
        Ok(())
    }

    /// Takes over what an earlier run has and this one did not find: versions that were deleted for
    /// good count as soft-deleted ones, for a restore has to give their ids a meaning.
    async fn keep(&mut self, earlier: &RegistryManifest) -> Result<()> {
        for subject in &earlier.subjects {
            let name = &subject.name;
            let key = |version| VersionKey { subject: name.clone(), version };
            let is_lost = |it: &&SubjectVersion| !self.versions.contains_key(&key(it.version));
            let lost: Vec<u32> =
                subject.versions.iter().filter(is_lost).map(|it| it.version).collect();
            if lost.is_empty() {
                continue;
            }
            let live = self.plan.client.versions(name, false).await?.unwrap_or_default();
            let mut versions = Vec::with_capacity(lost.len());
            for number in lost {
                let object = layout::version(name, number);
                let Some(sum) = earlier.objects.get(&object) else { continue };
                let mut version: Version = self.backup.json(&object, sum).await?;
                version.deleted = !live.contains(&number);
                versions.push(captured(number, version));
            }
            let object = layout::subject(name);
            let settings = match (self.objects.contains_key(&object), earlier.objects.get(&object))
            {
                (false, Some(sum)) => {
                    Some(Document::new(&self.backup.json::<Value>(&object, sum).await?))
                }
                _ => None,
            };
            let there = self.subjects.get(name);
            let compatibility = there.unwrap_or(subject).compatibility.clone();
            self.add(Captured { name: name.clone(), compatibility, settings, versions })?;
        }
        Ok(())
    }

    fn add(&mut self, captured: Captured) -> Result<()> {
        let Captured { name, compatibility, settings, versions } = captured;
        if versions.is_empty() {
            // None of its versions is of a wanted type.
            return Ok(());
        }
        if let Some(settings) = settings {
            self.push(&layout::subject(&name), &settings)?;
        }
        for (version, document) in versions {
            let key = VersionKey { subject: name.clone(), version: version.number };
            if !self.versions.contains_key(&key) {
                self.push(&layout::version(&name, version.number), &document)?;
                self.versions.insert(key, version);
            }
        }
        let first = VersionKey { subject: name.clone(), version: 0 };
        let own = self.versions.range(first..).take_while(|(key, _)| key.subject == name);
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
        self.subjects.insert(name.clone(), Subject { name, schema_type, compatibility, versions });
        Ok(())
    }

    /// Referenced versions that are not captured yet; an error where they may not be pulled in.
    fn missing_references(&mut self) -> Result<BTreeMap<String, Wanted>> {
        let mut missing: BTreeMap<String, BTreeSet<Option<u32>>> = BTreeMap::new();
        for (key, version) in &self.versions {
            for reference in &version.references {
                let (subject, number) = reference.target(&key.subject);
                if self.has(&subject, number) {
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
                if pulls_in && !asked && !whole {
                    missing.entry(subject).or_default().insert(number);
                    continue;
                }
                let reference = VersionKey { subject, version: number.unwrap_or(0) };
                // A registry deletes what only soft-deleted versions reference.
                if version.deleted && pulls_in {
                    self.dangling.insert(key.clone(), reference);
                    continue;
                }
                let VersionKey { subject, version } = reference;
                return Err(Error::Reference { subject, version, by: key.to_string() });
            }
        }
        for (name, numbers) in &missing {
            self.asked.extend(numbers.iter().map(|&number| (name.clone(), number)));
        }
        Ok(missing.into_iter().map(|(name, it)| (name, Wanted::Referenced(it))).collect())
    }

    fn has(&self, subject: &str, number: Option<u32>) -> bool {
        match (number, self.subjects.get(subject)) {
            (Some(number), Some(it)) => it.versions.iter().any(|it| it.version == number),
            (None, found) => found.is_some(),
            (Some(_), None) => false,
        }
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
