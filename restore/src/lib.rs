//! Brings an artefact back: schemas first, then the id map, then the records.
//!
//! Everything that can be checked is checked before anything is changed; the id map is written
//! before the first record is produced.

pub mod generate;
pub mod groups;
pub mod map;
pub mod offsets;
mod pace;
mod preflight;
mod records;
mod rename;
mod schemas;
mod source;
mod topics;
pub mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU64, NonZeroUsize};

use app::Selection;
use artifact::Backup;
use artifact::manifest::VersionKey;
use kafka::Cluster;
use serde::Serialize;
use wire::Tally;
use wire::id_map::{MapFile, WRITTEN_FEATURE};
use wire::rebatch::Window;

pub use groups::GroupsPlan;
pub use map::Conflict;
pub use preflight::Failure;
pub use rename::{Names, Rename};
pub use schemas::{Compatibility, Ids, Outcome, RegistryPlan, Removal, SchemaStep, Strategy};

use schemas::Planned;
use source::Schemas;

/// What to restore, and where to.
#[derive(Debug)]
pub struct Plan {
    /// Where the schemas go.
    pub registry: Option<RegistryPlan>,
    /// Where the records go.
    pub topics: Option<TopicsPlan>,
    /// Which consumer groups are set to where they were, once the records are there.
    pub groups: Option<GroupsPlan>,
}

/// Where the records go.
#[derive(Debug)]
pub struct TopicsPlan {
    /// The target.
    pub cluster: Cluster,
    /// Which topics, by their names in the backup.
    pub selection: Selection,
    /// New names of topics.
    pub names: Names,
    /// New numbers of partitions, in every topic.
    pub partitions: BTreeMap<i32, i32>,
    /// Only these partitions of the backup, where given.
    pub source_partitions: Option<BTreeSet<i32>>,
    /// Only records of this time.
    pub window: Window,
    /// Only these offsets, by topic and partition of the backup; the ends are not in it.
    pub ranges: BTreeMap<String, BTreeMap<i32, OffsetRange>>,
    /// Which partition a record goes to where the target has another number of them.
    pub partitioning: Partitioning,
    /// How many partitions new topics get, by their names in the backup; as many as there where none
    /// is given.
    pub counts: BTreeMap<String, i32>,
    /// Create topics that are missing.
    pub create: bool,
    /// How many replicas new topics get; as in the backup where it is not given.
    pub replication_factor: Option<i16>,
    /// Write behind what a topic holds already.
    pub append: bool,
    /// The most bytes in one second, over all partitions.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Partitions that are written at the same time.
    pub max_concurrent_partitions: NonZeroUsize,
    /// What all copies together may hold.
    pub max_memory_bytes: NonZeroU64,
    /// What one batch may grow to when it is decompressed.
    pub decompressed_limit: usize,
}

impl TopicsPlan {
    /// All topics as they were, into topics that are empty or missing.
    pub fn all(cluster: Cluster) -> Self {
        Self {
            cluster,
            selection: Selection::new(&["*".to_owned()], &[]).expect("`*` is a pattern"),
            names: Names::default(),
            partitions: BTreeMap::new(),
            source_partitions: None,
            window: Window::default(),
            ranges: BTreeMap::new(),
            partitioning: Partitioning::Keep,
            counts: BTreeMap::new(),
            create: true,
            replication_factor: None,
            append: false,
            bytes_per_second: None,
            max_concurrent_partitions: NonZeroUsize::new(4).expect("4 is not zero"),
            max_memory_bytes: NonZeroU64::new(128 << 20).expect("128 MiB is not zero"),
            decompressed_limit: wire::codec::DECOMPRESSED_LIMIT,
        }
    }

    /// What the copy of one partition may hold: half of it batches that the target has not
    /// acknowledged, a quarter what was read of the store.
    fn memory_of_one(&self) -> usize {
        self.max_memory_bytes.get() as usize / self.max_concurrent_partitions.get()
    }

    /// Which records of a partition.
    fn window_of(&self, topic: &str, partition: i32) -> Window {
        let range = self.ranges.get(topic).and_then(|it| it.get(&partition));
        let OffsetRange { start, end } = range.copied().unwrap_or_default();
        Window { first_offset: start, end_offset: end, ..self.window }
    }
}

/// Offsets from the first to the last but one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OffsetRange {
    /// The first that is in it.
    pub start: Option<i64>,
    /// The first that is not.
    pub end: Option<i64>,
}

/// Which partition a record goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioning {
    /// The one it was in, or that one's new number.
    Keep,
    /// Where the target has another number of partitions, the one that its key belongs to there.
    ByKey,
}

/// What a restore did.
#[derive(Debug, Default, Serialize)]
pub struct Restored {
    /// Each version, in the order of its registration.
    pub schemas: Vec<RestoredSchema>,
    /// Versions of the target that went.
    pub removed: Vec<Removal>,
    /// Ids for which the given map counted, not the one that was learned.
    pub conflicts: Vec<Conflict>,
    /// Each topic, by name.
    pub topics: Vec<RestoredTopic>,
    /// What consumer groups have committed now.
    pub groups: Option<groups::Reset>,
    /// Where the id map lies, where one was written.
    pub id_map: Option<String>,
}

/// One version and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct RestoredSchema {
    /// The subject in the target.
    pub subject: String,
    /// The version in the source.
    pub source: VersionKey,
    /// Its id in the source.
    pub source_id: u32,
    /// Its id in the target; none where it was left out.
    pub target_id: Option<u32>,
    /// Its version in the target, where that is known.
    pub target_version: Option<u32>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What a restore would do.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Why it can't be done; none where it can.
    pub failures: Vec<String>,
    /// Each version, in the order of its registration.
    pub schemas: Vec<SchemaStep>,
    /// Versions of the target that would go.
    pub removals: Vec<Removal>,
    /// Ids for which the given map counts, not the one that was learned.
    pub conflicts: Vec<Conflict>,
    /// The id map as far as it is known: an id is `null` where the target will give one out.
    pub id_map: BTreeMap<String, BTreeMap<u32, Option<u32>>>,
    /// The topics that would be written.
    pub topics: Vec<PlannedTopic>,
    /// The consumer groups that would be set.
    pub groups: Vec<String>,
}

/// One topic that would be written.
#[derive(Debug, Serialize)]
pub struct PlannedTopic {
    /// Its name in the backup.
    pub name: String,
    /// Its name in the target.
    pub target: String,
    /// Whether it would be created.
    pub create: bool,
    /// Partitions that would be written.
    pub partitions: usize,
    /// Records in them, of whatever time.
    pub records: u64,
    /// The size of their segments.
    pub bytes: u64,
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
    /// Of those, the ones that an earlier run had written before it was stopped.
    pub records_before: u64,
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
    #[error(
        "Schema registration failed for subject {subject} (version {version}): {why}; where it is \
         not compatible set `force_register: true`, or the subject's compatibility to NONE"
    )]
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
    /// A proxy on the way has another map.
    #[error(
        "the target is a schema-proxy whose id map is not the one of this restore, so ids would be \
         translated twice; no record was written. Give it the backup's id-map.json, or restore to the \
         brokers themselves"
    )]
    TwoMaps,
    /// Someone asked to stop.
    #[error("interrupted; run it again to go on")]
    Interrupted,
    /// Modes or compatibility that could not be put back.
    #[error(
        "{}still in IMPORT mode or at compatibility NONE: {}. Run the restore again, or set their \
         mode and compatibility by hand",
        cause.as_ref().map(|it| format!("{it}; and ")).unwrap_or_default(),
        subjects.iter().map(|(subject, why)| format!("{subject} ({why})")).collect::<Vec<_>>().join(", ")
    )]
    StillHeld {
        /// The subjects and why each could not be put back.
        subjects: Vec<(String, String)>,
        /// Why the restore failed before.
        cause: Option<Box<Error>>,
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

/// A restore that has been checked and can be carried out.
#[derive(Debug)]
pub struct Prepared<'a> {
    plan: &'a Plan,
    backup: &'a Backup,
    schemas: Option<(Schemas, Planned)>,
    topics: Option<topics::Planned>,
    groups: Vec<String>,
    failures: Vec<String>,
}

/// Runs every check and plans everything; changes nothing.
///
/// # Errors
///
/// Where there is no finished backup, or its store fails. What stands against the restore is in the
/// report.
pub async fn prepare<'a>(plan: &'a Plan, backup: &'a Backup) -> Result<Prepared<'a>> {
    let manifest = backup.manifest().await?;
    let mut failures = Vec::new();
    let mut schemas = None;
    if let Some(plan) = &plan.registry {
        let registry = preflight::registry_manifest(backup, &manifest).await?;
        schemas = preflight::registry(plan, backup, registry.as_ref(), &mut failures).await?;
    }
    let mut topics = None;
    if let Some(plan) = &plan.topics {
        preflight::segments(backup, &manifest, &mut failures).await;
        topics = topics::plan(plan, backup, &manifest, &mut failures).await?;
    }
    let mut groups = Vec::new();
    if let Some(plan) = &plan.groups {
        let chosen = groups::chosen(plan, backup, &manifest, &mut failures).await?;
        for (group, offsets) in &chosen {
            let topics = topics.iter().flat_map(topics::Planned::placed_by_key);
            for topic in topics.filter(|it| offsets.contains_key(*it)) {
                failures.push(format!(
                    "consumer group `{group}` can't be set: the records of topic `{topic}` go to \
                     other partitions by their keys, where its offsets mean nothing"
                ));
            }
        }
        groups = chosen.into_keys().collect();
    }
    if let (Some(_), Some(plan), Some((_, planned))) = (&plan.topics, &plan.registry, &schemas) {
        preflight::unchanged_ids(plan, planned, &mut failures);
    }
    Ok(Prepared { plan, backup, schemas, topics, groups, failures })
}

impl Prepared<'_> {
    /// What would be done, and what stands against it.
    pub fn report(&self) -> Report {
        let mut report = Report { failures: self.failures.clone(), ..Report::default() };
        if let (Some(plan), Some((source, planned))) = (&self.plan.registry, &self.schemas) {
            let (known, conflicts) = map::predict(plan, source, &planned.steps);
            for step in &planned.steps {
                let of = registry::model::context(&step.source.subject);
                let usable = matches!(step.outcome, Outcome::Restore | Outcome::Exists);
                if usable {
                    report.id_map.entry(of.to_owned()).or_default().insert(step.source_id, None);
                }
            }
            for (of, pairs) in map::contexts(&known) {
                let pairs = pairs.iter().map(|(&source, &target)| (source, Some(target)));
                report.id_map.entry(of.to_owned()).or_default().extend(pairs);
            }
            report.schemas.clone_from(&planned.steps);
            report.removals.clone_from(&planned.removals);
            report.conflicts = conflicts;
        }
        if let Some(planned) = &self.topics {
            report.topics = planned.report();
        }
        report.groups.clone_from(&self.groups);
        report
    }

    /// Restores everything. `interrupted` ends it early: then modes that were changed for a while
    /// are put back.
    pub async fn run(self, interrupted: impl Future<Output = ()>) -> Result<Restored> {
        let mut interrupted = std::pin::pin!(interrupted);
        let mut failures = self.failures;
        if let (Some(plan), Some((_, planned))) = (&self.plan.registry, &self.schemas)
            && failures.is_empty()
        {
            preflight::may_import(plan, planned, &mut failures).await?;
        }
        if !failures.is_empty() {
            return Err(Failure(failures).into());
        }
        let mut restored = Restored::default();
        let mut map = MapFile::default();
        if let (Some(plan), Some((source, planned))) = (&self.plan.registry, &self.schemas) {
            let left_behind = schemas::left_behind(self.backup, &plan.client.url()).await?;
            restored.schemas =
                schemas::apply(plan, planned, left_behind, self.backup, interrupted.as_mut())
                    .await?;
            restored.removed.clone_from(&planned.removals);
            (map, restored.conflicts) = map::learn(plan, source, &restored.schemas);
            map::learn_guids(plan, source, &restored.schemas, &mut map).await?;
            if plan.write_map {
                restored.id_map = Some(map::write(&map, self.backup).await?);
            }
            if self.plan.topics.is_some() {
                unchanged_ids(plan, &restored.schemas)?;
            }
            if plan.ids != Ids::Rewrite {
                map = plan.given_map.clone();
            }
        }
        if let (Some(plan), Some(planned)) = (&self.plan.topics, &self.topics) {
            let map = map.id_map(wire::id_map::DEFAULT_CONTEXT);
            let map = unless_proxy_has(map, plan).await?;
            restored.topics = tokio::select! {
                biased;
                () = interrupted => return Err(Error::Interrupted),
                topics = topics::restore(plan, planned, self.backup, &map) => topics?,
            };
        }
        if let Some(plan) = &self.plan.groups {
            restored.groups = Some(groups::reset(plan, self.backup, false).await?);
        }
        Ok(restored)
    }
}

/// What is left to translate where the target may be a `schema-proxy`: nothing if it has this map.
async fn unless_proxy_has(map: wire::IdMap, plan: &TopicsPlan) -> Result<wire::IdMap> {
    let features = if map.is_empty() { Vec::new() } else { plan.cluster.features().await? };
    let theirs = features.iter().find_map(|it| it.strip_prefix(WRITTEN_FEATURE));
    match theirs {
        None => Ok(map),
        Some(theirs) if *theirs == format!("{:08x}", map.fingerprint()) => {
            tracing::info!("the target is a schema-proxy with this id map: it translates the ids");
            Ok(wire::IdMap::default())
        }
        Some(_) => Err(Error::TwoMaps),
    }
}

/// Before the first record: one with an id that means another schema could not be told later.
fn unchanged_ids(plan: &RegistryPlan, restored: &[RestoredSchema]) -> Result<()> {
    if plan.ids != Ids::Assigned {
        return Ok(());
    }
    let changed = restored.iter().find(|it| it.target_id.is_some_and(|id| id != it.source_id));
    match changed {
        Some(&RestoredSchema { source_id, target_id: Some(target_id), ref subject, .. }) => {
            Err(Error::IdChanged { subject: subject.clone(), source_id, target_id })
        }
        _ => Ok(()),
    }
}
