//! `enterprise.schema_registry`, by the names of the reference documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::PathBuf;

use app::Secret;
use app::settings::Span;
use serde::{Deserialize, Serialize};

/// The Schema Registry of the source or of the target.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaRegistry {
    /// `false` leaves the registry out.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Its address, or several that are tried in order.
    pub url: OneOrMany,
    /// Who we are.
    pub auth: Option<Auth>,
    /// Certificates.
    #[serde(default)]
    pub tls: Tls,
    /// Only schemas of these types.
    pub schema_types: Option<BTreeSet<SchemaType>>,
    /// What concerns Protobuf alone.
    #[serde(default)]
    pub protobuf: Protobuf,
    /// Which schemas to back up.
    #[serde(default)]
    pub backup: RegistryBackup,
    /// The most requests.
    #[serde(default)]
    pub rate_limit: RateLimit,
    /// When to ask again.
    #[serde(default)]
    pub retry: Retry,
    /// How to restore schemas.
    #[serde(default)]
    pub restore: RegistryRestore,
}

/// One string or several.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// All of them.
    pub fn to_vec(&self) -> Vec<String> {
        match self {
            Self::One(it) => vec![it.clone()],
            Self::Many(them) => them.clone(),
        }
    }
}

/// Who we are to the registry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// How we show it.
    #[serde(rename = "type")]
    pub kind: AuthKind,
    /// The user, for `basic`.
    pub username: Option<String>,
    /// The password, for `basic`.
    pub password: Option<Secret>,
    /// Where tokens come from, for `oauth`.
    pub token_url: Option<String>,
    /// Who asks for a token.
    pub client_id: Option<String>,
    /// And proves it with this.
    pub client_secret: Option<Secret>,
    /// What the token is for.
    pub scope: Option<String>,
}

/// How we show who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthKind {
    /// HTTP basic.
    Basic,
    /// The client certificate under `tls`.
    Mtls,
    /// OAuth 2.0 client credentials (RFC 6749, 4.4).
    Oauth,
}

/// Certificates, PEM.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Who may have signed the registry's certificate; without it, the system's authorities.
    pub ca_cert: Option<PathBuf>,
    /// Our certificate.
    pub client_cert: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
}

/// A schema's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SchemaType {
    /// Avro.
    Avro,
    /// JSON Schema.
    Json,
    /// Protocol Buffers.
    Protobuf,
}

impl SchemaType {
    /// As the API writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avro => "AVRO",
            Self::Json => "JSON",
            Self::Protobuf => "PROTOBUF",
        }
    }
}

/// What concerns Protobuf alone.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Protobuf {
    /// Pull imported subjects in although no pattern names them.
    pub include_dependencies: bool,
}

impl Default for Protobuf {
    fn default() -> Self {
        Self { include_dependencies: true }
    }
}

/// Which schemas to back up.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryBackup {
    /// These subjects.
    pub subjects: OneOrMany,
    /// But not these.
    pub exclude: Vec<String>,
    /// Soft-deleted versions too.
    pub include_soft_deleted: bool,
    /// Which versions of them.
    pub include_versions: IncludeVersions,
    /// Pull referenced subjects in although no pattern names them.
    pub include_references: bool,
    /// Read the records for ids that no captured version has; by default those of topics that have
    /// a subject by their name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_ids: Option<bool>,
}

impl Default for RegistryBackup {
    fn default() -> Self {
        Self {
            subjects: OneOrMany::One("*".to_owned()),
            exclude: Vec::new(),
            include_soft_deleted: false,
            include_versions: IncludeVersions::All,
            include_references: true,
            audit_ids: None,
        }
    }
}

/// Which versions of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncludeVersions {
    /// All of them.
    All,
    /// The latest one, and those that others reference.
    Latest,
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

/// When to ask again after a reset, a timeout, 429 or 5xx.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// How often to ask in all.
    pub max_attempts: usize,
    /// The first wait; each further one is twice as long.
    pub initial_backoff: Span,
    /// The longest wait.
    pub max_backoff: Span,
}

impl Default for Retry {
    fn default() -> Self {
        let registry::client::Retry { max_attempts, initial_backoff, max_backoff } =
            registry::client::Retry::default();
        Self {
            max_attempts,
            initial_backoff: Span(initial_backoff),
            max_backoff: Span(max_backoff),
        }
    }
}

/// How to restore schemas.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryRestore {
    /// What to do where the target has schemas already.
    pub strategy: Strategy,
    /// Keep ids and version numbers (IMPORT mode).
    pub force_ids: bool,
    /// Let the target give out ids, and translate those in the records.
    pub rewrite_ids: bool,
    /// A map from elsewhere, laid over what is learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_mapping_file: Option<PathBuf>,
    /// Write the id map beside the backup.
    #[serde(default = "yes")]
    pub id_mapping: bool,
    /// New names of subjects; one `*` on both sides makes a pattern.
    pub subject_mapping: BTreeMap<String, String>,
    /// New names of contexts.
    pub context_mapping: BTreeMap<String, String>,
    /// The subjects' compatibility: as in the backup, left alone, or a level.
    pub set_compatibility: SetCompatibility,
    /// Set NONE for each subject while it is registered, then back.
    pub force_register: bool,
    /// Only tell what would be done.
    pub dry_run: bool,
}

impl Default for RegistryRestore {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            force_ids: false,
            rewrite_ids: false,
            id_mapping_file: None,
            id_mapping: true,
            subject_mapping: BTreeMap::new(),
            context_mapping: BTreeMap::new(),
            set_compatibility: SetCompatibility::FromBackup(true),
            force_register: false,
            dry_run: false,
        }
    }
}

/// `true`, `false` or a level.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SetCompatibility {
    /// As in the backup, or as the target has it.
    FromBackup(bool),
    /// This level.
    Level(Level),
}

/// A compatibility level.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the registry's own names")]
pub enum Level {
    None,
    Backward,
    BackwardTransitive,
    Forward,
    ForwardTransitive,
    Full,
    FullTransitive,
}

impl Level {
    /// As the API writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }
}

/// What to do where the target has schemas already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Add what is missing, touch nothing that is there.
    #[default]
    Preserve,
    /// Make each subject as it is in the backup.
    Overwrite,
    /// Leave every subject alone that has versions.
    Skip,
}

fn yes() -> bool {
    true
}
