//! The JSON documents of an artefact.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The format that this program writes; it reads this and earlier ones.
pub const FORMAT_VERSION: u32 = 1;

/// `manifest.json`: what a finished backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of the program that wrote it.
    pub format_version: u32,
    /// The backup's id.
    pub backup_id: String,
    /// The version of the program that wrote it.
    pub tool_version: String,
    /// When the backup began, RFC 3339.
    pub started_at: String,
    /// When it was complete, RFC 3339.
    pub finished_at: String,
    /// `cluster.id` of the source cluster, where it has one.
    pub cluster_id: Option<String>,
    /// The topics, by name.
    pub topics: Vec<Topic>,
    /// The registry, where one was captured.
    pub schema_registry: Option<RegistryPart>,
}

/// One captured topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its `_topic.json`.
    pub facts: ObjectSum,
    /// Its partitions, by number.
    pub partitions: Vec<Partition>,
}

impl Topic {
    /// Records in all partitions.
    pub fn records(&self) -> u64 {
        self.segments().map(|it| it.records).sum()
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments().map(|it| it.bytes).sum()
    }

    fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.partitions.iter().flat_map(|it| &it.segments)
    }
}

/// One captured partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its number.
    pub partition: i32,
    /// The log start offset when the backup began.
    pub start_offset: i64,
    /// The end offset when the backup began: all below it that was readable is in the segments.
    pub end_offset: i64,
    /// The segments, by base offset.
    pub segments: Vec<Segment>,
}

/// One `.log` object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Record batches.
    pub batches: u64,
    /// Records.
    pub records: u64,
    /// Smallest base timestamp of a batch, ms since 1970.
    pub first_timestamp: i64,
    /// Largest timestamp, ms since 1970.
    pub max_timestamp: i64,
    /// Size of the object.
    pub bytes: u64,
    /// CRC-32C of the object, eight hexadecimal digits.
    pub crc32c: String,
}

/// `_topic.json`: what is needed to create the topic again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicFacts {
    /// The topic's name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// How many replicas each has.
    pub replication_factor: i16,
    /// Configs set on the topic itself; `None` where the cluster does not tell (no DescribeConfigs).
    pub configs: Option<BTreeMap<String, String>>,
}

/// The registry's part of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryPart {
    /// The registry's own manifest.
    pub manifest: ObjectSum,
    /// How many subjects.
    pub subjects_count: usize,
    /// How many versions of all subjects.
    pub schemas_count: usize,
}

/// Size and checksum of a JSON object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectSum {
    /// Size.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// `schema-registry/_manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryManifest {
    /// The registry's address, without credentials.
    pub url: String,
    /// The version that the registry says it has, where it does.
    pub schema_registry_version: Option<String>,
    /// The id of its cluster, where it tells.
    pub schema_registry_cluster_id: Option<String>,
    /// When the capture began, RFC 3339.
    pub backup_timestamp: String,
    /// The subjects, by name.
    pub subjects: Vec<Subject>,
    /// Schema id to the file of one version that has it.
    pub id_mapping: IdMapping,
    /// All versions, each after those that it references.
    pub dependency_order: Vec<VersionKey>,
    /// How many subjects.
    pub subjects_count: usize,
    /// How many versions of all subjects.
    pub schemas_count: usize,
    /// What the registry does not offer (Apicurio: `mode`).
    pub not_offered: Vec<String>,
    /// Soft-deleted versions whose references the registry has lost: they can't be registered again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dangling: Vec<Dangling>,
    /// Ids of the default context that records carry and no captured version has, though the
    /// registry still knows them, and their files.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub audited_ids: BTreeMap<u32, String>,
    /// Size and checksum of every other object of this part, by its place in the backup.
    pub objects: BTreeMap<String, ObjectSum>,
}

/// Schema id to file: of the only context, or by context where there are several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IdMapping {
    /// Id to file.
    One(BTreeMap<String, String>),
    /// Context to id to file.
    ByContext(BTreeMap<String, BTreeMap<String, String>>),
}

impl IdMapping {
    /// The pairs of the default context.
    pub fn default_context(&mut self) -> &mut BTreeMap<String, String> {
        match self {
            Self::One(ids) => ids,
            Self::ByContext(contexts) => contexts.entry(".".to_owned()).or_default(),
        }
    }

    /// The default context alone needs no name.
    pub fn new(mut by_context: BTreeMap<String, BTreeMap<String, String>>) -> Self {
        match by_context.remove(".") {
            Some(default) if by_context.is_empty() => Self::One(default),
            None if by_context.is_empty() => Self::One(BTreeMap::new()),
            default => {
                by_context.extend(default.map(|ids| (".".to_owned(), ids)));
                Self::ByContext(by_context)
            }
        }
    }
}

/// One subject in the registry's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name, with its context (`:.ctx1:orders-value`) unless that is the default one.
    pub name: String,
    /// `AVRO`, `JSON`, `PROTOBUF`, of its latest version.
    pub schema_type: String,
    /// Its own compatibility level, where it has one.
    pub compatibility: Option<String>,
    /// Its versions, ascending.
    pub versions: Vec<SubjectVersion>,
}

/// One version in the registry's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectVersion {
    /// Its number.
    pub version: u32,
    /// Its schema id.
    pub id: u32,
    /// Whether it is soft-deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// Its file.
    pub schema_file: String,
}

/// A version whose reference is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dangling {
    /// The version.
    #[serde(flatten)]
    pub version: VersionKey,
    /// What it references.
    pub reference: VersionKey,
}

/// Names one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VersionKey {
    /// The subject, with its context.
    pub subject: String,
    /// The version.
    pub version: u32,
}

impl fmt::Display for VersionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} version {}", self.subject, self.version)
    }
}
