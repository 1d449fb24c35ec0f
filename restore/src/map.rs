//! The id map: learned from what was restored, laid under what was given, written before any record.

use std::collections::{BTreeMap, BTreeSet};

use artifact::{Backup, layout};
use registry::Client;
use registry::model::context;
use serde::Serialize;
use wire::id_map::{DEFAULT_CONTEXT, Guid, MapFile, Registry};

use crate::schemas::{Outcome, RegistryPlan, SchemaStep};
use crate::source::Schemas;
use crate::{RestoredSchema, Result};

/// A source id that was given another target id than the one that was learned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// The context of the source.
    pub context: String,
    /// The source id.
    pub id: u32,
    /// The target id that was learned.
    pub learned: u32,
    /// The target id that was given: it counts.
    pub given: u32,
}

/// Makes the map of what was restored; the given one counts where they differ.
///
/// A schema that the target has under several ids can be read by each: the first one stays.
pub(crate) fn learn(
    plan: &RegistryPlan,
    source: &Schemas,
    restored: &[RestoredSchema],
) -> (MapFile, Vec<Conflict>) {
    let mut map = MapFile {
        source: Some(Registry { url: source.url.clone() }),
        target: Some(Registry { url: plan.client.url() }),
        created_at: Some(jiff::Timestamp::now().to_string()),
        ..MapFile::default()
    };
    for it in restored {
        let Some(target_id) = it.target_id else { continue };
        let of = context(&it.source.subject);
        if of == DEFAULT_CONTEXT {
            let subjects = map.subjects.entry(it.source_id).or_default();
            if !subjects.contains(&it.source.subject) {
                subjects.push(it.source.subject.clone());
            }
        }
        pairs(&mut map, of).entry(it.source_id).or_insert(target_id);
    }
    let mut conflicts = Vec::new();
    for (of, given) in contexts(&plan.given_map) {
        let pairs = pairs(&mut map, of);
        for (&id, &given) in given {
            if let Some(learned) = pairs.insert(id, given).filter(|&it| it != given) {
                conflicts.push(Conflict { context: of.to_owned(), id, learned, given });
            }
        }
    }
    (map, conflicts)
}

/// Adds GUIDs that are others in the target: a reference was renumbered or renamed, or the text was
/// normalised differently. Registries before 8.0 have none.
pub(crate) async fn learn_guids(
    plan: &RegistryPlan,
    source: &Schemas,
    restored: &[RestoredSchema],
    map: &mut MapFile,
) -> Result<()> {
    for it in restored {
        let Some(Ok(old)) = source.versions[&it.source].guid.as_deref().map(str::parse::<Guid>)
        else {
            continue;
        };
        let (Some(number), Some(_)) = (it.target_version, it.target_id) else { continue };
        let there = plan.client.version(&it.subject, number, true).await?;
        if let Some(Ok(new)) = there.guid.as_deref().map(str::parse::<Guid>)
            && new != old
        {
            map.guids.insert(old, new);
        }
    }
    Ok(())
}

/// What the map will be as far as it is known now: ids that the target will give out are missing.
pub(crate) fn predict(
    plan: &RegistryPlan,
    source: &Schemas,
    steps: &[SchemaStep],
) -> (MapFile, Vec<Conflict>) {
    let known: Vec<RestoredSchema> = steps.iter().map(SchemaStep::as_planned).collect();
    learn(plan, source, &known)
}

impl SchemaStep {
    /// As if it had been done; without an id where the target will give one out.
    pub(crate) fn as_planned(&self) -> RestoredSchema {
        let usable = matches!(self.outcome, Outcome::Restore | Outcome::Exists);
        RestoredSchema {
            subject: self.target_subject.clone(),
            source: self.source.clone(),
            source_id: self.source_id,
            target_id: self.target_id.filter(|_| usable),
            target_version: self.target_version.filter(|_| usable),
            outcome: self.outcome,
        }
    }
}

fn pairs<'a>(map: &'a mut MapFile, context: &str) -> &'a mut BTreeMap<u32, u32> {
    if context == DEFAULT_CONTEXT {
        &mut map.mapping
    } else {
        map.contexts.entry(context.to_owned()).or_default()
    }
}

/// Each context's pairs, the default one's first.
pub fn contexts(map: &MapFile) -> impl Iterator<Item = (&str, &BTreeMap<u32, u32>)> {
    let named = map.contexts.iter().map(|(name, pairs)| (name.as_str(), pairs));
    std::iter::once((DEFAULT_CONTEXT, &map.mapping)).chain(named)
}

/// Target ids that the registry does not have, each once.
pub async fn unknown_targets(
    map: &MapFile,
    target: &Client,
    rename: impl Fn(&str) -> String,
) -> registry::Result<Vec<u32>> {
    let mut unknown = Vec::new();
    for (of, pairs) in contexts(map) {
        let of = rename(of);
        for id in pairs.values().copied().collect::<BTreeSet<u32>>() {
            if target.schema(id, &of).await?.is_none() {
                unknown.push(id);
            }
        }
    }
    Ok(unknown)
}

/// A map of an earlier restore is kept under another name, unless it is the same.
pub(crate) async fn write(map: &MapFile, backup: &Backup) -> Result<String> {
    let store = backup.store();
    let key = backup.key(layout::ID_MAP);
    let place = store.place(&key);
    if store.size(&key).await.map_err(artifact::Error::from)?.is_some() {
        let same = read(backup).await?.is_some_and(|it| {
            (&it.mapping, &it.contexts, &it.guids) == (&map.mapping, &map.contexts, &map.guids)
        });
        if same {
            return Ok(place);
        }
        let aside =
            backup.key(&format!("id-map.before-{}.json", jiff::Timestamp::now().as_second()));
        store.rename(&key, &aside).await.map_err(artifact::Error::from)?;
        tracing::info!("the id map of an earlier restore was kept as {}", store.place(&aside));
    }
    let json = map.to_json();
    store.put(&key, json.into()).await.map_err(artifact::Error::from)?;
    Ok(place)
}

/// The map of an earlier restore; `None` where there is none that can be read.
pub async fn read(backup: &Backup) -> Result<Option<MapFile>> {
    let bytes = backup.find(layout::ID_MAP).await?;
    let text = bytes.as_deref().and_then(|it| std::str::from_utf8(it).ok());
    Ok(text.and_then(|it| MapFile::parse(it).ok()))
}
