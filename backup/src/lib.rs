//! Captures a registry and topics into an artefact.
//!
//! The order is what makes the two fit: end offsets are taken first, schemas are listed after them,
//! the manifest is written last. So every id in the captured records was registered before the
//! schemas were listed.

mod audit;
mod ids;
mod partition;
mod schemas;
mod spool;
mod topics;
pub mod validate;

use std::collections::BTreeSet;
use std::num::{NonZeroU64, NonZeroUsize};

use app::Selection;
use artifact::manifest::{FORMAT_VERSION, RegistryPart, Topic};
use artifact::{Backup, Manifest, layout};
use kafka::{Cluster, Isolation};

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
    /// Which records are captured.
    pub isolation: Isolation,
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

/// Captures everything and gives the finished manifest.
pub async fn run(plan: &Plan, backup: &Backup) -> Result<Manifest> {
    backup.check_not_complete().await?;
    let started_at = jiff::Timestamp::now().to_string();
    let snapshot = match &plan.topics {
        Some(topics) => Some((topics, topics::snapshot(topics).await?)),
        None => None,
    };
    let mut captured = match &plan.schemas {
        Some(plan) => Some((plan, schemas::capture(plan, backup).await?)),
        None => None,
    };
    let (cluster_id, topics) = match snapshot {
        Some((plan, snapshot)) => {
            let audits = audit::Audits::new(captured.as_ref().map(|(plan, it)| (*plan, it)));
            let (topics, unknown) = topics::copy(plan, &snapshot, &audits, backup).await?;
            if let Some((plan, manifest)) = &mut captured {
                audit::fetch(&plan.client, unknown, manifest, backup).await?;
            }
            (snapshot.cluster_id, topics)
        }
        None => (None, Vec::<Topic>::new()),
    };
    let schema_registry = match captured {
        Some((_, captured)) => {
            let manifest = backup.put_json(layout::REGISTRY_MANIFEST, &captured).await?;
            let (subjects_count, schemas_count) = (captured.subjects_count, captured.schemas_count);
            Some(RegistryPart { manifest, subjects_count, schemas_count })
        }
        None => None,
    };
    let manifest = Manifest {
        format_version: FORMAT_VERSION,
        backup_id: backup.id().to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at,
        finished_at: jiff::Timestamp::now().to_string(),
        cluster_id,
        topics,
        schema_registry,
    };
    backup.put_json(layout::MANIFEST, &manifest).await?;
    Ok(manifest)
}
