//! The JSON documents of an artefact.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wire::rebatch::Window;

use crate::escape;

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
    /// When it was complete, RFC 3339; of several runs the last.
    pub finished_at: String,
    /// How many runs have added to it.
    #[serde(default = "one")]
    pub runs: u32,
    /// `cluster.id` of the source cluster, where it has one.
    pub cluster_id: Option<String>,
    /// The topics, by name.
    pub topics: Vec<Topic>,
    /// `groups.json`, where the cluster lists its groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<ObjectSum>,
    /// The registry, where one was captured.
    pub schema_registry: Option<RegistryPart>,
}

impl Manifest {
    /// Records of all topics.
    pub fn records(&self) -> u64 {
        self.topics.iter().map(Topic::records).sum()
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.topics.iter().map(Topic::bytes).sum()
    }
}

fn one() -> u32 {
    1
}

/// `parts/{index}-of-{count}.json`: what one of several machines has captured. Joined into
/// `manifest.json`, and gone then.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Part {
    /// Counts the machines from zero.
    pub index: u32,
    /// How many machines.
    pub count: u32,
    /// Which run of the backup it belongs to, from 1.
    pub run: u32,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// `cluster.id` of the source cluster, where it has one.
    pub cluster_id: Option<String>,
    /// The topics, each with the partitions of this machine.
    pub topics: Vec<Topic>,
    /// Their facts, by name.
    pub facts: BTreeMap<String, TopicFacts>,
    /// The schema ids in the records that were captured, by topic.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ids: BTreeMap<String, SeenIds>,
}

impl SeenIds {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.values.is_empty()
    }

    /// Adds those of another.
    pub fn extend(&mut self, other: &Self) {
        self.keys.extend(&other.keys);
        self.values.extend(&other.values);
    }
}

/// Schema ids in a topic's records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenIds {
    /// In keys.
    pub keys: BTreeSet<u32>,
    /// In values.
    pub values: BTreeSet<u32>,
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

    /// Offsets of all partitions that were left out for this reason.
    pub fn skipped(&self, why: Why) -> u64 {
        let all = self.partitions.iter().flat_map(|it| &it.skipped);
        all.filter(|it| it.why == why).map(|it| (it.to + 1 - it.from) as u64).sum()
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
    /// What below the end offset was left out, by offset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
}

impl Partition {
    /// What retention or DeleteRecords took before it could be captured.
    pub fn gaps(&self) -> impl Iterator<Item = &Skipped> {
        self.skipped.iter().filter(|it| it.why == Why::Deleted)
    }
}

/// Offsets that are in no segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The first.
    pub from: i64,
    /// The last.
    pub to: i64,
    /// Why they were left out.
    pub why: Why,
}

/// Why offsets are in no segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Retention or DeleteRecords took them before they could be read: a gap.
    Deleted,
    /// They are of aborted transactions (`isolation: read_committed`).
    Aborted,
}

impl Skipped {
    /// Adds a range, as one with the last where they touch.
    pub fn add(self, to: &mut Vec<Self>) {
        match to.last_mut() {
            Some(last) if last.why == self.why && self.from <= last.to + 1 => {
                last.to = last.to.max(self.to);
            }
            _ => to.push(self),
        }
    }
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

/// The `.json` beside a segment, written after it: where a run that was stopped goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentFacts {
    /// The segment.
    #[serde(flatten)]
    pub segment: Segment,
    /// What was left out since the segment before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// Schema ids in its records that no captured version had, where they were looked for.
    #[serde(default, skip_serializing_if = "SeenIds::is_empty")]
    pub ids: SeenIds,
}

/// `groups.json`: where the consumer groups were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// Their committed offsets in the captured topics, by group.
    pub groups: BTreeMap<String, GroupOffsets>,
}

/// Topic to partition to committed offset.
pub type GroupOffsets = BTreeMap<String, BTreeMap<i32, Committed>>;

/// An offset that a consumer group has committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The next offset that the group reads.
    pub offset: i64,
    /// What the consumer wrote beside it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
}

/// `offset-map.json`: which offsets of a target the source's offsets became.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetMap {
    /// `cluster.id` of the target.
    pub cluster_id: String,
    /// The partitions, by topic and number in the source.
    pub partitions: Vec<MappedPartition>,
}

/// One partition and what it became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedPartition {
    /// The topic in the source.
    pub topic: String,
    /// The partition in the source.
    pub partition: i32,
    /// The topic in the target.
    pub target_topic: String,
    /// The partition in the target.
    pub target_partition: i32,
    /// The offset behind its last record in the target.
    pub target_end: i64,
    /// Which records were restored.
    #[serde(default, skip_serializing_if = "Window::is_everything")]
    pub window: Window,
    /// Where each segment begins, by base offset.
    pub segments: Vec<MappedSegment>,
}

/// A segment's base offset, and the target's offset of its first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedSegment {
    /// In the source.
    pub source: i64,
    /// In the target.
    pub target: i64,
}

/// `_topic.json`: what is needed to create the topic again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicFacts {
    /// The topic's name.
    pub name: String,
    /// Its id (KIP-516), which another topic of this name would not have; `None` before Kafka 2.8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
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
    /// Where it lies, unless in the usual place: a later run changes nothing that the manifest of an
    /// earlier one lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
}

impl ObjectSum {
    /// Of these bytes, in the usual place.
    pub fn of(bytes: &[u8]) -> Self {
        let sha256 = escape::hex(&Sha256::digest(bytes));
        Self { bytes: bytes.len() as u64, sha256, object: None }
    }

    /// The object's place in the backup, where `usual` is the one that [`crate::layout`] gives.
    pub fn place<'a>(&'a self, usual: &'a str) -> &'a str {
        self.object.as_deref().unwrap_or(usual)
    }
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
