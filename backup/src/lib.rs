//! Captures a registry and topics into an artefact.
//!
//! The order is what makes the two fit: consumer groups' offsets are taken first, end offsets then,
//! schemas are listed after them, the manifest is written last. So no group is ahead of the records,
//! and every id in those was registered before the schemas were listed.
//!
//! A run of a backup that is complete adds what is new. Nothing that its manifest lists is touched
//! before the next manifest takes its place, so a run that is killed leaves the backup as it was; the
//! segments that it had finished are the checkpoints of the next one.

mod audit;
mod groups;
mod ids;
mod partition;
mod schemas;
mod shard;
mod spool;
mod topics;
pub mod validate;

use std::collections::BTreeSet;
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use app::Selection;
use artifact::manifest::{FORMAT_VERSION, ObjectSum, RegistryManifest, RegistryPart, Topic};
use artifact::{Backup, Manifest, layout};
use kafka::{Cluster, Isolation};
use tokio::time::sleep;

pub use shard::{Shard, finalize, part};

use audit::Audits;

/// What to capture.
#[derive(Debug)]
pub struct Plan {
    /// The topics; `None` for schemas only.
    pub topics: Option<TopicsPlan>,
    /// The registry, where there is one.
    pub schemas: Option<SchemasPlan>,
}

/// Which schemas.
#[derive(Debug)]
pub struct SchemasPlan {
    /// The source.
    pub client: registry::Client,
    /// Which of its subjects, by their names with context.
    pub subjects: Selection,
    /// Only these types, where given; references may be of any.
    pub schema_types: Option<BTreeSet<String>>,
    /// Which versions.
    pub versions: Versions,
    /// Soft-deleted versions too, marked so.
    pub include_soft_deleted: bool,
    /// Pull referenced subjects in although no pattern names them.
    pub include_references: bool,
    /// The same for what Protobuf schemas import.
    pub include_protobuf_dependencies: bool,
    /// Which topics' records are read for ids that no captured version has.
    pub audit_ids: AuditIds,
}

impl SchemasPlan {
    /// Every live version of every subject.
    pub fn all(client: registry::Client) -> Self {
        let subjects = Selection::new(&["*".to_owned()], &[]).expect("`*` is a pattern");
        Self {
            client,
            subjects,
            schema_types: None,
            versions: Versions::All,
            include_soft_deleted: false,
            include_references: true,
            include_protobuf_dependencies: true,
            audit_ids: AuditIds::default(),
        }
    }
}

/// Which versions of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// All of them.
    All,
    /// The latest live one, and those that others reference.
    Latest,
}

/// Which records are read for ids that no captured version has. Reading costs what decompressing
/// the topic does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuditIds {
    /// None.
    Never,
    /// Keys and values of topics that have a subject by the topic's name (TopicNameStrategy).
    #[default]
    OfSchemaTopics,
    /// All.
    Always,
}

/// Which topics, and how.
#[derive(Debug)]
pub struct TopicsPlan {
    /// The source.
    pub cluster: Cluster,
    /// Which of its topics.
    pub selection: Selection,
    /// Partitions that are copied at the same time.
    pub max_concurrent_partitions: NonZeroUsize,
    /// A segment ends after the batch that reaches this size.
    pub segment_max_bytes: u64,
    /// The same for this many records, where given.
    pub segment_max_records: Option<NonZeroU64>,
    /// What one Fetch may bring.
    pub fetch_max_bytes: i32,
    /// What all copies together may hold.
    pub max_memory_bytes: NonZeroU64,
    /// Which partitions are this machine's, where there are several.
    pub shard: Option<Shard>,
    /// Which records are captured.
    pub isolation: Isolation,
}

impl TopicsPlan {
    /// A snapshot of all topics.
    pub fn all(cluster: Cluster) -> Self {
        Self {
            cluster,
            selection: Selection::new(&["*".to_owned()], &[]).expect("`*` is a pattern"),
            max_concurrent_partitions: NonZeroUsize::new(8).expect("8 is not zero"),
            segment_max_bytes: 100 << 20,
            segment_max_records: None,
            fetch_max_bytes: 4 << 20,
            max_memory_bytes: NonZeroU64::new(128 << 20).expect("128 MiB is not zero"),
            shard: None,
            isolation: Isolation::ReadCommitted,
        }
    }

    /// What one Fetch may bring so that the memory suffices. Of each answer there may be the buffer
    /// that is read into, and what the store holds of the one before.
    fn fetch_bytes(&self) -> i32 {
        let share = self.max_memory_bytes.get() / self.max_concurrent_partitions.get() as u64;
        i32::try_from(share / 4).unwrap_or(i32::MAX).min(self.fetch_max_bytes)
    }
}

/// Why a backup failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The store.
    #[error(transparent)]
    Artifact(#[from] artifact::Error),
    /// A topic was named that is not there.
    #[error("topic `{0}` does not exist in the source cluster")]
    NoTopic(String),
    /// A topic of the same name is another one now.
    #[error(
        "topic `{0}` was deleted and created again since the earlier run of this backup, so its \
         offsets began anew: choose another backup_id"
    )]
    Recreated(String),
    /// A partition ends before what an earlier run has captured.
    #[error(
        "{topic}-{partition} ends at offset {end}, but an earlier run of this backup has captured it up \
         to {captured}: its log was truncated, or the topic is another one. Choose another backup_id"
    )]
    Truncated {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where it ends now.
        end: i64,
        /// Where the earlier run ended.
        captured: i64,
    },
    /// The backup has records of another cluster.
    #[error(
        "this backup is of cluster {earlier}, and the source is cluster {now}: choose another \
         backup_id"
    )]
    OtherCluster {
        /// `cluster.id` of the earlier runs.
        earlier: String,
        /// Of this one.
        now: String,
    },
    /// Another run finished meanwhile.
    #[error(
        "another run of backup `{0}` finished while this one was working; run it again, and one at a \
         time"
    )]
    Overtaken(String),
    /// The parts of several machines do not make a whole.
    #[error("the parts of backup `{backup_id}` can't be joined: {why}")]
    Parts {
        /// The backup.
        backup_id: String,
        /// What is missing or does not fit.
        why: String,
    },
    /// A batch that is not what its producer sent.
    #[error("{topic}-{partition}: the record batch at offset {offset} is corrupt: {why}")]
    Corrupt {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where.
        offset: i64,
        /// What does not fit.
        why: String,
    },
    /// The broker gives nothing where it said that there is something.
    #[error(
        "{topic}-{partition}: the broker gives no records from offset {offset} on, though the \
         partition ended at {end} when the backup began; was its log truncated?"
    )]
    NoData {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where the copy stopped.
        offset: i64,
        /// The end offset at the start.
        end: i64,
    },
    /// A version refers to one that is not there.
    #[error("Reference to subject '{subject}' not found (version {version}, referenced by {by})")]
    Reference {
        /// The subject that is missing.
        subject: String,
        /// Its version.
        version: u32,
        /// Who refers to it.
        by: String,
    },
    /// Schemas refer to each other in a circle.
    #[error("{0}")]
    Cycle(String),
    /// The temporary file that holds schemas until all are known.
    #[error("the temporary file for schemas failed: {0}")]
    Temporary(String),
}

/// The result of a backup's work.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the same may succeed a little later: in a continuous backup that is no end.
    fn is_transient(&self) -> bool {
        match self {
            Self::Kafka(why) => why.is_transient(),
            Self::Registry(why) => match why {
                registry::Error::Unreachable { .. } => true,
                registry::Error::Answer { status, .. } => *status == 429 || *status >= 500,
                _ => false,
            },
            Self::Artifact(artifact::Error::Store(why)) => {
                matches!(why, artifact::StoreError::Failed { .. })
            }
            _ => false,
        }
    }
}

/// Captures everything, or what is new since the run before, and gives the finished manifest.
pub async fn run(plan: &Plan, backup: &Backup) -> Result<Manifest> {
    let run = Run::begin(backup).await?;
    let groups = match &plan.topics {
        Some(topics) => groups::capture(topics).await?,
        None => None,
    };
    let snapshot = match &plan.topics {
        Some(topics) => Some((topics, topics::snapshot(topics, &run).await?)),
        None => None,
    };
    let mut schemas = run.schemas(plan).await?;
    let mut captured = Captured::default();
    if let Some((plan, snapshot)) = snapshot {
        let known = schemas.as_ref().map(|(plan, it)| (*plan, it));
        let audits = Audits::new(known);
        let (topics, seen) = topics::copy(plan, &snapshot, &audits, &run.backup).await?;
        if let Some((plan, manifest)) = &mut schemas {
            audit::fetch(&plan.client, audits.unknown(seen), manifest, &run.backup).await?;
        }
        captured = Captured { cluster_id: snapshot.cluster_id, topics, groups: None };
        if let Some(groups) = groups {
            captured.groups = Some(groups::put(groups, &captured.topics, &run.backup).await?);
        }
    }
    run.commit(captured, schemas.map(|(_, it)| it)).await
}

/// Runs again and again, with a pause between, until `stop`; what goes away and comes back is waited
/// for. Each run that is done is `told`.
///
/// # Errors
///
/// What trying again can't mend.
pub async fn follow(
    plan: &Plan,
    backup: &Backup,
    pause: Duration,
    stop: impl Future<Output = ()>,
    mut told: impl FnMut(&Manifest),
) -> Result<()> {
    let mut stop = std::pin::pin!(stop);
    loop {
        let done = tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            done = run(plan, backup) => done,
        };
        match done {
            Ok(manifest) => told(&manifest),
            Err(why) if why.is_transient() => tracing::error!("{why}; it is tried again"),
            Err(why) => return Err(why),
        }
        tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            () = sleep(pause) => {}
        }
    }
}

/// One run of a backup, over what earlier ones have finished.
pub(crate) struct Run {
    started_at: String,
    /// As the run found it.
    earlier: Option<Manifest>,
    registry: Option<RegistryManifest>,
    /// Writes beside what the earlier manifest lists.
    backup: Backup,
}

/// What a run has captured of a cluster.
#[derive(Default)]
pub(crate) struct Captured {
    cluster_id: Option<String>,
    topics: Vec<Topic>,
    groups: Option<ObjectSum>,
}

impl Run {
    async fn begin(backup: &Backup) -> Result<Self> {
        let started_at = jiff::Timestamp::now().to_string();
        let earlier = backup.find_manifest().await?;
        let (mut registry, mut backup) = (None, backup.clone());
        if let Some(manifest) = &earlier {
            if let Some(part) = &manifest.schema_registry {
                registry = Some(backup.json(layout::REGISTRY_MANIFEST, &part.manifest).await?);
            }
            backup = backup.continued(manifest, registry.as_ref());
        }
        Ok(Self { started_at, earlier, registry, backup })
    }

    /// Counts the runs of this backup from 1.
    fn number(&self) -> u32 {
        self.earlier.as_ref().map_or(1, |it| it.runs + 1)
    }

    async fn schemas<'a>(
        &self,
        plan: &'a Plan,
    ) -> Result<Option<(&'a SchemasPlan, RegistryManifest)>> {
        Ok(match &plan.schemas {
            Some(plan) => {
                Some((plan, schemas::capture(plan, self.registry.as_ref(), &self.backup).await?))
            }
            None => None,
        })
    }

    /// Writes the manifest: what it lists is the backup from here on.
    async fn commit(
        self,
        captured: Captured,
        schemas: Option<RegistryManifest>,
    ) -> Result<Manifest> {
        let runs = self.number();
        let Self { started_at, earlier, registry, backup } = self;
        let mut manifest = earlier.clone().unwrap_or_else(|| Manifest {
            format_version: FORMAT_VERSION,
            backup_id: backup.id().to_owned(),
            tool_version: String::new(),
            started_at,
            finished_at: String::new(),
            runs,
            cluster_id: None,
            topics: Vec::new(),
            groups: None,
            schema_registry: None,
        });
        manifest.runs = runs;
        env!("CARGO_PKG_VERSION").clone_into(&mut manifest.tool_version);
        manifest.cluster_id = captured.cluster_id.or(manifest.cluster_id);
        manifest.groups = captured.groups.or(manifest.groups);
        // A topic that is gone, or not selected any more, stays as the earlier run has it.
        for topic in captured.topics {
            match manifest.topics.binary_search_by(|it| it.name.cmp(&topic.name)) {
                Ok(place) => manifest.topics[place] = topic,
                Err(place) => manifest.topics.insert(place, topic),
            }
        }
        if let Some(schemas) = &schemas {
            let sum = backup.put_json(layout::REGISTRY_MANIFEST, schemas).await?;
            let (subjects_count, schemas_count) = (schemas.subjects_count, schemas.schemas_count);
            manifest.schema_registry =
                Some(RegistryPart { manifest: sum, subjects_count, schemas_count });
        }
        manifest.finished_at = jiff::Timestamp::now().to_string();
        if backup.find_manifest().await? != earlier {
            return Err(Error::Overtaken(backup.id().to_owned()));
        }
        backup.put_json(layout::MANIFEST, &manifest).await?;
        let registry = schemas.or(registry);
        backup.drop_superseded(&backup.continued(&manifest, registry.as_ref())).await?;
        Ok(manifest)
    }
}
