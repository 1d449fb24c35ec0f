//! `backup.yaml` and `restore.yaml`.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU16, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use app::{Secret, SettingsError};
use serde::{Deserialize, Serialize};

use super::Servers;
use super::peer::Accepted;
use super::registry::SchemaRegistry;

/// The whole file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// `backup` or `restore`.
    pub mode: Mode,
    /// Names the backup in its store.
    pub backup_id: String,
    /// Where records come from.
    pub source: Option<Source>,
    /// Where records go.
    pub target: Option<Target>,
    /// Where the artefact lies.
    pub storage: Storage,
    /// How to back up.
    #[serde(default)]
    pub backup: Backup,
    /// How to restore.
    #[serde(default)]
    pub restore: Restore,
    /// The Schema Registry.
    #[serde(default)]
    pub enterprise: Enterprise,
    /// Of OSO kafka-backup; see `settings::peer`.
    #[serde(default, skip_serializing_if = "Accepted::is_absent")]
    pub offset_storage: Accepted,
    /// Of OSO kafka-backup; see `settings::peer`.
    #[serde(default, skip_serializing_if = "Accepted::is_absent")]
    pub metrics: Accepted,
}

/// Less would make every answer of a broker a single batch.
const LEAST_MEMORY: u64 = 16 << 20;

/// What the file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// `kafka-backup backup`
    Backup,
    /// `kafka-backup restore`
    Restore,
}

/// The source cluster.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Some of its brokers.
    pub bootstrap_servers: Servers,
    /// TLS and SASL.
    #[serde(default)]
    pub security: Security,
    /// Which topics.
    #[serde(default)]
    pub topics: Topics,
    /// Of OSO kafka-backup; see `settings::peer`.
    #[serde(default, skip_serializing_if = "Accepted::is_absent")]
    pub connection: Accepted,
}

/// The target cluster.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Some of its brokers.
    pub bootstrap_servers: Servers,
    /// TLS and SASL.
    #[serde(default)]
    pub security: Security,
    /// Which topics of the backup.
    #[serde(default)]
    pub topics: Topics,
    /// Of OSO kafka-backup; see `settings::peer`.
    #[serde(default, skip_serializing_if = "Accepted::is_absent")]
    pub connection: Accepted,
}

/// TLS and SASL to a cluster, by the names that Kafka's clients use.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// PLAINTEXT unless it is given.
    pub security_protocol: Protocol,
    /// How we show who we are.
    pub sasl_mechanism: Option<Mechanism>,
    /// The user.
    pub sasl_username: Option<String>,
    /// The password.
    pub sasl_password: Option<Secret>,
    /// Where OAUTHBEARER tokens come from, by client credentials.
    pub sasl_oauthbearer_token_endpoint_url: Option<String>,
    /// Who asks for a token.
    pub sasl_oauthbearer_client_id: Option<String>,
    /// And proves it with this.
    pub sasl_oauthbearer_client_secret: Option<Secret>,
    /// What the token is for.
    pub sasl_oauthbearer_scope: Option<String>,
    /// Who may have signed the brokers' certificates; without it, the system's authorities.
    pub ssl_ca_location: Option<PathBuf>,
    /// Our certificate.
    pub ssl_certificate_location: Option<PathBuf>,
    /// Its key.
    pub ssl_key_location: Option<PathBuf>,
}

/// Kafka's `security.protocol`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "Kafka's own names")]
pub enum Protocol {
    #[default]
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

/// Kafka's `sasl.mechanism`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Kafka's own names")]
pub enum Mechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
}

/// Which topics: globs, or regular expressions after a `~`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// These.
    pub include: Vec<String>,
    /// But not these.
    pub exclude: Vec<String>,
}

impl Default for Topics {
    fn default() -> Self {
        Self { include: vec!["*".to_owned()], exclude: Vec::new() }
    }
}

/// Where the artefact lies.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// What kind of store.
    pub backend: Backend,
    /// The folder, for `filesystem`.
    pub path: Option<PathBuf>,
    /// The bucket, for `s3`.
    pub bucket: Option<String>,
    /// In front of every key, for `s3`.
    pub prefix: Option<String>,
    /// The bucket's region.
    pub region: Option<String>,
    /// Another S3-compatible service.
    pub endpoint: Option<String>,
    /// `endpoint/bucket` rather than `bucket.endpoint`.
    #[serde(default)]
    pub path_style: bool,
    /// Instead of AWS's credential chain.
    pub access_key_id: Option<String>,
    /// Instead of AWS's credential chain.
    pub secret_access_key: Option<Secret>,
}

/// What kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// A folder.
    Filesystem,
    /// An S3 bucket.
    S3,
    /// Not there yet.
    Azure,
    /// Not there yet.
    Gcs,
}

/// How to back up.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backup {
    /// A segment ends after the batch that reaches this size, bytes.
    pub segment_max_bytes: u64,
    /// What one Fetch may bring, bytes.
    pub fetch_max_bytes: i32,
    /// Partitions that are copied at the same time.
    pub max_concurrent_partitions: NonZeroUsize,
    /// Which records of transactions.
    pub isolation: Isolation,
    /// A segment ends after the batch that reaches this many records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_max_records: Option<NonZeroU64>,
    /// Go on after the end that the partitions had, until told to stop.
    pub continuous: bool,
    /// In a continuous backup, the seconds until what is new is captured: what may be lost at most.
    pub segment_max_age_secs: u64,
    /// What all copies together may hold in memory, bytes.
    pub max_memory_bytes: NonZeroU64,
    /// Stop at the end that the partitions had: what a snapshot does.
    pub stop_at_current_offsets: bool,
    /// Of OSO kafka-backup; see `settings::peer`.
    #[serde(default, skip_serializing_if = "Accepted::is_absent")]
    pub compression: Accepted,
    /// Of OSO kafka-backup; see `settings::peer`.
    #[serde(default, skip_serializing_if = "Accepted::is_absent")]
    pub include_offset_headers: Accepted,
    /// Of OSO kafka-backup; see `settings::peer`.
    #[serde(default, skip_serializing_if = "Accepted::is_absent")]
    pub source_cluster_id: Accepted,
    /// Of OSO kafka-backup; see `settings::peer`.
    #[serde(default, skip_serializing_if = "Accepted::is_absent")]
    pub poll_interval_ms: Accepted,
    /// Of OSO kafka-backup; see `settings::peer`.
    #[serde(default, skip_serializing_if = "Accepted::is_absent")]
    pub checkpoint_interval_secs: Accepted,
}

/// Which records of transactions are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Those of committed ones.
    ReadCommitted,
    /// All of them.
    ReadUncommitted,
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            segment_max_bytes: 100 << 20,
            fetch_max_bytes: 4 << 20,
            max_concurrent_partitions: NonZeroUsize::new(8).expect("8 is not zero"),
            isolation: Isolation::ReadCommitted,
            segment_max_records: None,
            continuous: false,
            segment_max_age_secs: 60,
            max_memory_bytes: NonZeroU64::new(128 << 20).expect("128 MiB is not zero"),
            stop_at_current_offsets: true,
            compression: Accepted::default(),
            include_offset_headers: Accepted::default(),
            source_cluster_id: Accepted::default(),
            poll_interval_ms: Accepted::default(),
            checkpoint_interval_secs: Accepted::default(),
        }
    }
}

/// How to restore.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Restore {
    /// Only tell what would be done.
    pub dry_run: bool,
    /// New names of topics; one `*` on both sides makes a pattern.
    pub topic_mapping: BTreeMap<String, String>,
    /// New numbers of partitions, in every topic.
    pub partition_mapping: BTreeMap<i32, i32>,
    /// Only these partitions of the backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_partitions: Option<BTreeSet<i32>>,
    /// Only records from this time on: ms since 1970, or RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_window_start: Option<Time>,
    /// Only records before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_window_end: Option<Time>,
    /// Only these offsets, by topic and partition of the backup.
    pub offset_ranges: BTreeMap<String, BTreeMap<i32, OffsetRange>>,
    /// Which partition a record goes to where the target has another number of them.
    pub partitioning: Partitioning,
    /// How many partitions new topics get, by their names in the backup; as many as there without.
    pub topic_partitions: BTreeMap<String, NonZeroU16>,
    /// Create topics that are missing.
    pub create_topics: bool,
    /// How many replicas new topics get; as in the backup where it is not given, or -1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_replication_factor: Option<i16>,
    /// What to do with topics that hold records already.
    pub into_non_empty: IntoNonEmpty,
    /// The most bytes in one second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<NonZeroU64>,
    /// Partitions that are written at the same time.
    pub max_concurrent_partitions: NonZeroUsize,
    /// What all copies together may hold in memory, bytes.
    pub max_memory_bytes: NonZeroU64,
    /// What one batch may grow to when it is decompressed, bytes.
    #[serde(rename = "max.decompressed.message.bytes")]
    pub max_decompressed_bytes: usize,
    /// A header with the source's offset: not there yet.
    pub include_original_offset_header: bool,
    /// How OSO kafka-backup finds offsets; here the offset map tells them, and only `skip` counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_group_strategy: Option<GroupStrategy>,
    /// Which groups, as globs or regular expressions after a `~`; all where none is named.
    pub consumer_groups: Vec<String>,
    /// Set consumer groups to where they were, once the records are there.
    pub reset_consumer_offsets: bool,
    /// All groups, whatever `consumer_groups` names.
    pub auto_consumer_groups: bool,
    /// Of OSO kafka-backup; see `settings::peer`.
    #[serde(default, skip_serializing_if = "Accepted::is_absent")]
    pub offset_report: Accepted,
    /// Of OSO kafka-backup; see `settings::peer`.
    #[serde(default, skip_serializing_if = "Accepted::is_absent")]
    pub produce_batch_size: Accepted,
    /// Of OSO kafka-backup; see `settings::peer`.
    #[serde(default, skip_serializing_if = "Accepted::is_absent")]
    pub rate_limit_records_per_sec: Accepted,
    /// Of OSO kafka-backup; see `settings::peer`.
    #[serde(default, skip_serializing_if = "Accepted::is_absent")]
    pub checkpoint_state: Accepted,
    /// Of OSO kafka-backup; see `settings::peer`.
    #[serde(default, skip_serializing_if = "Accepted::is_absent")]
    pub checkpoint_interval_secs: Accepted,
}

impl Default for Restore {
    fn default() -> Self {
        Self {
            dry_run: false,
            topic_mapping: BTreeMap::new(),
            partition_mapping: BTreeMap::new(),
            source_partitions: None,
            time_window_start: None,
            time_window_end: None,
            offset_ranges: BTreeMap::new(),
            partitioning: Partitioning::Keep,
            topic_partitions: BTreeMap::new(),
            create_topics: true,
            default_replication_factor: None,
            into_non_empty: IntoNonEmpty::Refuse,
            rate_limit: None,
            max_concurrent_partitions: NonZeroUsize::new(4).expect("4 is not zero"),
            max_memory_bytes: NonZeroU64::new(128 << 20).expect("128 MiB is not zero"),
            max_decompressed_bytes: wire::codec::DECOMPRESSED_LIMIT,
            include_original_offset_header: false,
            consumer_group_strategy: None,
            consumer_groups: Vec::new(),
            reset_consumer_offsets: false,
            auto_consumer_groups: false,
            offset_report: Accepted::default(),
            produce_batch_size: Accepted::default(),
            rate_limit_records_per_sec: Accepted::default(),
            checkpoint_state: Accepted::default(),
            checkpoint_interval_secs: Accepted::default(),
        }
    }
}

impl Restore {
    /// Whether consumer groups are to be set.
    pub fn resets_groups(&self) -> bool {
        self.reset_consumer_offsets && self.consumer_group_strategy != Some(GroupStrategy::Skip)
    }
}

/// Offsets from the first to the last but one.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OffsetRange {
    /// The first that is restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<i64>,
    /// The first that is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<i64>,
}

/// Which partition a record goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partitioning {
    /// The one it was in, or that one's new number.
    Keep,
    /// Where the number of partitions differs, the one that its key belongs to (murmur2).
    ByKey,
}

/// The strategies of OSO kafka-backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "OSO kafka-backup's own names")]
pub enum GroupStrategy {
    Skip,
    HeaderBased,
    TimestampBased,
    ClusterScan,
    Manual,
}

/// What to do with topics that hold records already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IntoNonEmpty {
    /// Restore nothing.
    Refuse,
    /// Write behind them.
    Append,
}

/// A moment: ms since 1970, or RFC 3339.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Time {
    /// `1767225600000`
    Millis(i64),
    /// `2026-01-01T00:00:00Z`
    Text(String),
}

impl Time {
    /// Milliseconds since 1970.
    pub fn millis(&self) -> Result<i64, String> {
        match self {
            Self::Millis(millis) => Ok(*millis),
            Self::Text(text) => match text.parse::<jiff::Timestamp>() {
                Ok(time) => Ok(time.as_millisecond()),
                Err(_) => Err(format!(
                    "`{text}` is neither milliseconds since 1970 nor RFC 3339, such as \
                     2026-01-01T00:00:00Z"
                )),
            },
        }
    }
}

/// Keys of the reference documentation stand under this name.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Enterprise {
    /// The Schema Registry.
    pub schema_registry: Option<SchemaRegistry>,
}

impl Job {
    /// Reads the file and makes sure that it is for this command.
    pub fn load(file: &Path, mode: Mode) -> Result<Self, SettingsError> {
        let job = Self::load_any(file)?;
        if job.mode != mode {
            let why = format!("`mode: {:?}` is not what this command does", job.mode);
            return Err(SettingsError::new(file, why.to_lowercase()));
        }
        Ok(job)
    }

    /// Reads the file, whatever it is for.
    pub fn load_any(file: &Path) -> Result<Self, SettingsError> {
        let job: Self = app::settings::load(file)?;
        job.check(file)?;
        Ok(job)
    }

    /// What the shape of the file alone can't say.
    pub fn check(&self, file: &Path) -> Result<(), SettingsError> {
        let registry = self.registry().is_some();
        let fail = |why: &str| Err(SettingsError::new(file, why));
        if self.backup_id.is_empty()
            || self.backup_id.contains(['/', '\\'])
            || self.backup_id.starts_with('.')
        {
            return fail("`backup_id` must be a plain name: no slashes, no leading dot");
        }
        match self.mode {
            Mode::Backup if self.source.is_none() && !registry => {
                fail("there is neither a `source` nor an `enterprise.schema_registry` to back up")
            }
            Mode::Restore if self.target.is_none() && !registry => fail(
                "there is neither a `target` nor an `enterprise.schema_registry` to restore to",
            ),
            _ => Ok(()),
        }?;
        if let Some(key) = self.not_there_yet() {
            return fail(&format!(
                "`{key}` asks for what kafka-backup does not do yet; leave it out"
            ));
        }
        if matches!(self.storage.backend, Backend::Azure | Backend::Gcs) {
            return fail("storage: there are filesystem and s3; azure and gcs are not there yet");
        }
        let restore = &self.restore;
        if restore.partitioning == Partitioning::ByKey && !restore.partition_mapping.is_empty() {
            return fail(
                "restore: `partition_mapping` names partitions and `partitioning: by_key` looks for \
                 them; choose one",
            );
        }
        if self.mode == Mode::Restore && restore.resets_groups() && self.target.is_none() {
            return fail("restore.reset_consumer_offsets needs a `target`");
        }
        let memory = self.backup.max_memory_bytes.min(restore.max_memory_bytes).get();
        if memory < LEAST_MEMORY {
            return fail("`max_memory_bytes` must be 16 MiB (16777216) at least");
        }
        for (key, why) in self.without_meaning() {
            tracing::warn!("`{key}` has no meaning here: {why}");
        }
        let Some(restore) = self.registry().map(|it| &it.restore) else { return Ok(()) };
        if restore.force_ids && restore.rewrite_ids {
            return fail(
                "schema_registry.restore: `force_ids` keeps the ids and `rewrite_ids` changes them; \
                 choose one",
            );
        }
        if restore.rewrite_ids && !restore.id_mapping {
            return fail(
                "schema_registry.restore: `rewrite_ids` needs the id map, so `id_mapping` can't be \
                 false",
            );
        }
        Ok(())
    }

    /// The registry's settings, unless it is left out.
    pub fn registry(&self) -> Option<&SchemaRegistry> {
        self.enterprise.schema_registry.as_ref().filter(|it| it.enabled)
    }
}
