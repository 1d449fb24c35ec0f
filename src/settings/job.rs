//! `backup.yaml` and `restore.yaml`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use app::{Secret, SettingsError};
use serde::{Deserialize, Serialize};

use super::Servers;

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
}

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
    /// Which topics.
    #[serde(default)]
    pub topics: Topics,
}

/// The target cluster.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Some of its brokers.
    pub bootstrap_servers: Servers,
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
        }
    }
}

/// How to restore.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Restore {
    /// Partitions that are written at the same time.
    pub max_concurrent_partitions: NonZeroUsize,
    /// What one batch may grow to when it is decompressed, bytes.
    #[serde(rename = "max.decompressed.message.bytes")]
    pub max_decompressed_bytes: usize,
}

impl Default for Restore {
    fn default() -> Self {
        Self {
            max_concurrent_partitions: NonZeroUsize::new(4).expect("4 is not zero"),
            max_decompressed_bytes: 256 << 20,
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

/// The Schema Registry of the source or of the target.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaRegistry {
    /// `false` leaves the registry out.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Its address, or several that are tried in order.
    pub url: Urls,
    /// Who we are.
    pub auth: Option<Auth>,
    /// The most requests.
    #[serde(default)]
    pub rate_limit: RateLimit,
    /// How to restore schemas.
    #[serde(default)]
    pub restore: RegistryRestore,
}

/// One address or several.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Urls {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// Who we are to the registry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// How we show it.
    #[serde(rename = "type")]
    pub kind: AuthKind,
    /// The user.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// How we show who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthKind {
    /// HTTP basic.
    Basic,
}

/// The most requests to the registry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// In one second.
    pub requests_per_second: NonZeroU32,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { requests_per_second: NonZeroU32::new(25).expect("25 is not zero") }
    }
}

/// How to restore schemas.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryRestore {
    /// What to do where the target has schemas already.
    pub strategy: Strategy,
    /// Let the target give out ids, and translate those in the records.
    pub rewrite_ids: bool,
}

/// What to do where the target has schemas already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Add what is missing, touch nothing that is there.
    #[default]
    Preserve,
}

fn yes() -> bool {
    true
}

impl Job {
    /// Reads the file and makes sure that it is for this command.
    pub fn load(file: &Path, mode: Mode) -> Result<Self, SettingsError> {
        let job: Self = app::settings::load(file)?;
        if job.mode != mode {
            let why = format!("`mode: {:?}` is not what this command does", job.mode);
            return Err(SettingsError::new(file, why.to_lowercase()));
        }
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
        }
    }

    /// The registry's settings, unless it is left out.
    pub fn registry(&self) -> Option<&SchemaRegistry> {
        self.enterprise.schema_registry.as_ref().filter(|it| it.enabled)
    }
}
