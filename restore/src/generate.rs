//! The id map between two live registries, found by comparing their schemas.

use std::collections::{BTreeMap, BTreeSet};

use artifact::manifest::VersionKey;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use registry::canonical::{Canonical, Fingerprint};
use registry::graph::dependency_order;
use registry::{Client, Version};
use serde::Serialize;
use wire::id_map::{DEFAULT_CONTEXT, Guid, MapFile, Registry};

use crate::schemas::{canonical_of, key_of};

/// Subjects that are asked for at the same time; the rate limit rules all the same.
const CONCURRENT_SUBJECTS: usize = 8;

/// A map and what it lacks.
#[derive(Debug, Serialize)]
pub struct Generated {
    /// The pairs that are certain.
    pub map: MapFile,
    /// Source ids whose schema the target does not have.
    pub unmatched: Vec<Unmatched>,
    /// Source ids whose schema the target has several times, none of them with the same subject.
    pub ambiguous: Vec<Ambiguous>,
}

/// A source id without a partner.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Unmatched {
    /// Its context.
    pub context: String,
    /// The id.
    pub id: u32,
    /// Versions that have it.
    pub versions: Vec<VersionKey>,
}

/// A source id with several partners.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Ambiguous {
    /// Its context.
    pub context: String,
    /// The id.
    pub id: u32,
    /// The target's ids; the first is the smallest.
    pub candidates: Vec<u32>,
}

/// Compares all schemas, soft-deleted ones too: first exactly, then by their canonical forms. Where
/// several fit, those of the same subject count.
pub async fn generate(source: &Client, target: &Client) -> registry::Result<Generated> {
    let (sources, targets) = (Schemas::read(source).await?, Schemas::read(target).await?);
    let mut generated = Generated {
        map: MapFile {
            source: Some(Registry { url: source.url() }),
            target: Some(Registry { url: target.url() }),
            created_at: Some(jiff::Timestamp::now().to_string()),
            ..MapFile::default()
        },
        unmatched: Vec::new(),
        ambiguous: Vec::new(),
    };
    for ((of, id), found) in &sources.by_id {
        let candidates = targets.like(of, found);
        let pairs = if of == DEFAULT_CONTEXT {
            let subjects: BTreeSet<&String> = found.versions.iter().map(|it| &it.subject).collect();
            let subjects = subjects.into_iter().cloned().collect();
            generated.map.subjects.insert(*id, subjects);
            &mut generated.map.mapping
        } else {
            generated.map.contexts.entry(of.clone()).or_default()
        };
        let (of, id) = (of.clone(), *id);
        match candidates.as_slice() {
            [] => {
                let versions = found.versions.clone();
                generated.unmatched.push(Unmatched { context: of, id, versions });
            }
            [one] => {
                pairs.insert(id, *one);
                let there = targets.by_id[&(of, *one)].guid;
                if let (Some(old), Some(new)) = (found.guid, there)
                    && old != new
                {
                    generated.map.guids.insert(old, new);
                }
            }
            _ => generated.ambiguous.push(Ambiguous { context: of, id, candidates }),
        }
    }
    let mapped = &generated.map.mapping;
    generated.map.subjects.retain(|id, _| mapped.contains_key(id));
    Ok(generated)
}

/// A registry's schemas by context and id.
struct Schemas {
    by_id: BTreeMap<(String, u32), Found>,
    exact: BTreeMap<(String, Fingerprint), BTreeSet<u32>>,
    canonical: BTreeMap<(String, Fingerprint), BTreeSet<u32>>,
}

struct Found {
    canonical: Canonical,
    guid: Option<Guid>,
    versions: Vec<VersionKey>,
}

impl Schemas {
    async fn read(client: &Client) -> registry::Result<Self> {
        let subjects = client.subjects(true).await?;
        let all: Vec<Vec<Version>> = stream::iter(subjects)
            .map(|subject| async move {
                let numbers = client.versions(&subject, true).await?.unwrap_or_default();
                let mut versions = Vec::with_capacity(numbers.len());
                for number in numbers {
                    versions.push(client.version(&subject, number, true).await?);
                }
                Ok::<_, registry::Error>(versions)
            })
            .buffered(CONCURRENT_SUBJECTS)
            .try_collect()
            .await?;
        let versions: BTreeMap<VersionKey, Version> =
            all.into_iter().flatten().map(|it| (key(&it.subject, it.version), it)).collect();
        let mut schemas =
            Self { by_id: BTreeMap::new(), exact: BTreeMap::new(), canonical: BTreeMap::new() };
        let mut known: BTreeMap<VersionKey, Canonical> = BTreeMap::new();
        for key in order(&versions) {
            let version = &versions[&key];
            let canonical = canonical_of(version, |key| known.get(key));
            let of = version.context().to_owned();
            schemas.exact.entry((of.clone(), canonical.exact)).or_default().insert(version.id);
            let alike = schemas.canonical.entry((of.clone(), canonical.canonical));
            alike.or_default().insert(version.id);
            let found = schemas.by_id.entry((of, version.id)).or_insert_with(|| Found {
                canonical: canonical.clone(),
                guid: version.guid.as_deref().and_then(|it| it.parse().ok()),
                versions: Vec::new(),
            });
            found.versions.push(key.clone());
            known.insert(key, canonical);
        }
        Ok(schemas)
    }

    /// Ids whose schema is the one that was found elsewhere.
    fn like(&self, of: &str, found: &Found) -> Vec<u32> {
        let exact = self.exact.get(&(of.to_owned(), found.canonical.exact));
        let canonical = || self.canonical.get(&(of.to_owned(), found.canonical.canonical));
        let Some(ids) = exact.or_else(canonical) else { return Vec::new() };
        if ids.len() == 1 {
            return ids.iter().copied().collect();
        }
        let subjects: BTreeSet<&str> = found.versions.iter().map(|it| &*it.subject).collect();
        let of_same_subject: Vec<u32> = ids
            .iter()
            .copied()
            .filter(|&id| {
                let versions = &self.by_id[&(of.to_owned(), id)].versions;
                versions.iter().any(|it| subjects.contains(&*it.subject))
            })
            .collect();
        if of_same_subject.is_empty() { ids.iter().copied().collect() } else { of_same_subject }
    }
}

fn key(subject: &str, version: u32) -> VersionKey {
    VersionKey { subject: subject.to_owned(), version }
}

/// References first; those that are gone are left out, and in a circle any order will do.
fn order(versions: &BTreeMap<VersionKey, Version>) -> Vec<VersionKey> {
    let graph: BTreeMap<VersionKey, Vec<VersionKey>> = versions
        .iter()
        .map(|(key, version)| {
            let references = version.schema.references.iter();
            let needs = references.filter_map(|it| key_of(it, &version.subject));
            (key.clone(), needs.filter(|it| versions.contains_key(it)).collect())
        })
        .collect();
    dependency_order(&graph).unwrap_or_else(|_| versions.keys().cloned().collect())
}
