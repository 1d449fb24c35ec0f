//! Brings an artefact back: schemas first, then the id map, then the records.
//!
//! Everything that can be checked is checked before anything is changed; the id map is written
//! before the first record is produced.

mod preflight;
mod records;
mod schemas;
mod topics;

use std::num::NonZeroUsize;

use artifact::manifest::RegistryManifest;
use artifact::{Backup, Manifest, layout};
use kafka::Cluster;
use serde::Serialize;
use wire::Tally;
use wire::id_map::MapFile;

pub use preflight::Failure;

/// What to restore, and where to.
#[derive(Debug)]
pub struct Plan {
    /// Where the schemas go.
    pub registry: Option<RegistryPlan>,
    /// Where the records go.
    pub topics: Option<TopicsPlan>,
}

/// Where the schemas go.
#[derive(Debug)]
pub struct RegistryPlan {
    /// The target.
    pub client: registry::Client,
    /// Let the target give out ids, and translate those in the records.
    pub rewrite_ids: bool,
}

/// Where the records go.
#[derive(Debug)]
pub struct TopicsPlan {
    /// The target.
    pub cluster: Cluster,
    /// Partitions that are written at the same time.
    pub max_concurrent_partitions: NonZeroUsize,
    /// What one batch may grow to when it is decompressed.
    pub decompressed_limit: usize,
}

/// What a restore did.
#[derive(Debug, Default, Serialize)]
pub struct Restored {
    /// Each version, in the order of its registration.
    pub schemas: Vec<RestoredSchema>,
    /// Each topic, by name.
    pub topics: Vec<RestoredTopic>,
    /// Where the id map lies, where one was written.
    pub id_map: Option<String>,
}

/// One version in the target.
#[derive(Debug, Serialize)]
pub struct RestoredSchema {
    /// The subject.
    pub subject: String,
    /// Its version in the source.
    pub version: u32,
    /// Its id in the source.
    pub source_id: u32,
    /// Its id in the target.
    pub target_id: u32,
    /// Whether the target had it already.
    pub existed: bool,
}

/// One topic in the target.
#[derive(Debug, Serialize)]
pub struct RestoredTopic {
    /// Its name.
    pub name: String,
    /// Whether it was created.
    pub created: bool,
    /// Records that were written.
    pub records: u64,
    /// Ids that were replaced in them.
    pub translated: u64,
    /// Ids that the map lacks, left as they were.
    pub unmapped: u64,
    /// Batches whose ids could not be looked at, left as they were.
    pub undecodable: u64,
}

impl RestoredTopic {
    fn count(&mut self, tally: &Tally) {
        self.translated += tally.translated;
        self.unmapped += tally.unmapped;
        self.undecodable += tally.undecodable;
    }
}

/// Why a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A check failed; nothing was changed.
    #[error(transparent)]
    Preflight(#[from] Failure),
    /// The artefact.
    #[error(transparent)]
    Artifact(#[from] artifact::Error),
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The target refused a schema.
    #[error("Schema registration failed for subject {subject} (version {version}): {why}")]
    Registration {
        /// The subject.
        subject: String,
        /// Its version in the source.
        version: u32,
        /// The registry's word.
        why: registry::Error,
    },
    /// The target gave out another id, and the records would not be read with it.
    #[error(
        "schema id {source_id} of subject {subject} is {target_id} in the target; \
         no record was written. Set `rewrite_ids: true` to translate the ids in the records"
    )]
    IdChanged {
        /// The subject.
        subject: String,
        /// The id in the source.
        source_id: u32,
        /// The id in the target.
        target_id: u32,
    },
    /// One source id would have to become two target ids.
    #[error(
        "schema id {source_id} became {first} and {second} in the target: subject {subject} holds \
         another schema than the subject that was restored before it"
    )]
    Ambiguous {
        /// The id in the source.
        source_id: u32,
        /// What it became first.
        first: u32,
        /// What it became then.
        second: u32,
        /// The subject that told.
        subject: String,
    },
    /// Someone else writes to the partition.
    #[error(
        "{topic}-{partition} ends at offset {found} where {expected} was due: \
         something else writes to it. Stop it, delete the topic and restore again"
    )]
    NotAlone {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where it ends.
        found: i64,
        /// Where it would end if only we wrote.
        expected: i64,
    },
    /// A batch in the artefact can't be made into one that a broker takes.
    #[error("{topic}-{partition}: the record batch at offset {offset} can't be restored: {why}")]
    Batch {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Its offset in the source.
        offset: i64,
        /// What does not fit.
        why: wire::Error,
    },
}

/// The result of a restore's work.
pub type Result<T> = std::result::Result<T, Error>;

/// An artefact whose documents have been read and checked.
struct Source<'a> {
    backup: &'a Backup,
    manifest: Manifest,
    registry: Option<RegistryManifest>,
}

/// Checks, then restores everything.
pub async fn run(plan: &Plan, backup: &Backup) -> Result<Restored> {
    let source = open(backup).await?;
    preflight::check(plan, &source).await?;

    let mut restored = Restored::default();
    let mut map = MapFile::default();
    if let (Some(plan), Some(manifest)) = (&plan.registry, &source.registry) {
        (restored.schemas, map) = schemas::restore(plan, manifest, backup).await?;
        if plan.rewrite_ids {
            restored.id_map = Some(write_map(&map, backup).await?);
        }
    }
    if let Some(plan) = &plan.topics {
        let map = map.id_map(wire::id_map::DEFAULT_CONTEXT);
        restored.topics = topics::restore(plan, &source, &map).await?;
    }
    Ok(restored)
}

async fn open(backup: &Backup) -> Result<Source<'_>> {
    let manifest = backup.manifest().await?;
    let registry = match &manifest.schema_registry {
        Some(part) => Some(backup.json(layout::REGISTRY_MANIFEST, &part.manifest).await?),
        None => None,
    };
    Ok(Source { backup, manifest, registry })
}

/// A map of an earlier restore is kept under another name, unless it is the same.
async fn write_map(map: &MapFile, backup: &Backup) -> Result<String> {
    let store = backup.store();
    let key = backup.key(layout::ID_MAP);
    let place = store.place(&key);
    if store.size(&key).await.map_err(artifact::Error::from)?.is_some() {
        let bytes = store.get(&key).await.map_err(artifact::Error::from)?;
        let earlier = std::str::from_utf8(&bytes).ok().and_then(|it| MapFile::parse(it).ok());
        let same =
            earlier.is_some_and(|it| it.mapping == map.mapping && it.contexts == map.contexts);
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
