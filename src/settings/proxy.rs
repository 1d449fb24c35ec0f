//! `proxy.yaml`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use app::Secret;
use app::settings::Span;
use serde::{Deserialize, Serialize};

use super::Servers;
use super::job::{Mechanism, Security};
use super::registry::SchemaRegistry;

/// The whole file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyFile {
    /// Where clients connect.
    pub listen: Listen,
    /// The cluster behind the proxy.
    pub target: Target,
    /// The id map.
    pub id_map: IdMapFile,
    /// What is translated.
    #[serde(default)]
    pub rewrite: Rewrite,
    /// Both registries, for `unmapped: resolve`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registries: Option<Registries>,
    /// The admin port.
    #[serde(default)]
    pub admin: Admin,
    /// Bounds.
    #[serde(default)]
    pub limits: Limits,
}

/// Where clients connect.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Where clients bootstrap.
    pub bootstrap: SocketAddr,
    /// How clients come to each broker.
    #[serde(default)]
    pub brokers: Brokers,
    /// The host that clients are told for every broker; with `sni` it has `{node}` where the broker's
    /// id goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertised_host: Option<String>,
    /// With `port_per_broker`: broker n listens on this port + n; 0 takes free ports, which change at
    /// every start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_port_base: Option<u16>,
    /// With `port_per_broker`: clients are told this port + n, where something before us changes ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertised_port_base: Option<u16>,
    /// With `sni`: the port that clients are told, if not the one of `bootstrap`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertised_port: Option<u16>,
    /// TLS towards clients.
    pub tls: Option<Tls>,
    /// Whom the proxy itself lets in; without it, it asks nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
}

/// Whom the proxy lets in.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// How clients may show who they are.
    pub mechanisms: Vec<Mechanism>,
    /// Passwords by user.
    pub users: BTreeMap<String, Secret>,
}

/// How clients come to each broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Brokers {
    /// By a port of its own.
    #[default]
    PortPerBroker,
    /// By a TLS server name of its own, all on one port.
    Sni,
    /// By its own address, from where connections are redirected here.
    Transparent,
}

/// TLS towards clients, PEM files that are loaded again when they change.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Our certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who must have signed the certificates of clients; without it they need none.
    pub client_ca: Option<PathBuf>,
}

/// The cluster behind the proxy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Some of its brokers.
    pub bootstrap_servers: Servers,
    /// TLS to them, and the proxy's own SASL credentials; without those clients show theirs.
    #[serde(default)]
    pub security: Security,
}

/// The id map.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdMapFile {
    /// A path, `s3://bucket/key`, or an `http://` or `https://` address.
    pub file: String,
    /// The `Authorization` header for an address, such as `Bearer …`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Secret>,
    /// The context of the ids in the records.
    #[serde(default = "default_context")]
    pub context: String,
    /// How often it is read again.
    #[serde(default = "reload_period")]
    pub reload_every: Span,
}

fn default_context() -> String {
    wire::id_map::DEFAULT_CONTEXT.to_owned()
}

fn reload_period() -> Span {
    Span(Duration::from_secs(5))
}

/// What is translated.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rewrite {
    /// Produce requests.
    pub produce: bool,
    /// Fetch and share fetch responses.
    pub fetch: Fetch,
    /// Of what is read, only records before the end offsets in this file, which `kafka-backup offsets
    /// snapshot` wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_offsets: Option<PathBuf>,
    /// Record keys, where no rule says otherwise.
    pub keys: bool,
    /// Record values.
    pub values: bool,
    /// Ids that the map lacks.
    pub unmapped: Unmapped,
    /// With `unmapped: resolve`, those that can't be resolved.
    pub unresolved: Unresolved,
    /// Topics that pass untouched; Kafka's own unless it is given.
    pub exclude: Vec<String>,
    /// Topics where something else is done; the first rule that names one counts.
    pub rules: Vec<Rule>,
}

/// What is done in some topics.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Names, globs, or `~` and a regular expression.
    pub topics: Vec<String>,
    /// Record keys.
    pub keys: Option<bool>,
    /// Record values.
    pub values: Option<bool>,
    /// Ids that the map lacks.
    pub unmapped: Option<Unmapped>,
    /// The context of the ids in the records.
    pub context: Option<String>,
}

impl Default for Rewrite {
    fn default() -> Self {
        Self {
            produce: true,
            fetch: Fetch::Switch(false),
            until_offsets: None,
            keys: true,
            values: true,
            unmapped: Unmapped::Pass,
            unresolved: Unresolved::Pass,
            exclude: ["__*", "_schemas"].map(str::to_owned).to_vec(),
            rules: Vec::new(),
        }
    }
}

/// How what consumers read is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Fetch {
    /// `false`: not at all; `true`: as `forward`.
    Switch(bool),
    /// Which way.
    Way(Way),
}

/// Which way ids are translated in what consumers read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// By the map: old records, read with the new registry.
    Forward,
    /// By its inverse: new records, read with the old registry.
    Reverse,
}

/// What happens to ids that the map lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unmapped {
    /// They pass as they are and are counted.
    Pass,
    /// The partition's batch is answered with INVALID_RECORD and not written.
    Reject,
    /// They are looked up in the source registry and registered in the target.
    Resolve,
}

/// What happens to ids that can't be resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unresolved {
    /// As `unmapped: pass`.
    Pass,
    /// As `unmapped: reject`.
    Reject,
}

/// The registries on both sides of the map, for `unmapped: resolve`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registries {
    /// Where the ids come from.
    pub source: SchemaRegistry,
    /// Where they are to be known.
    pub target: SchemaRegistry,
}

/// The admin port.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What whoever asks for more than health has to show as a bearer token; needed where the port is
    /// not on loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9090)), token: None }
    }
}

/// Bounds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Larger frames end their connection, bytes.
    pub max_frame_bytes: usize,
    /// What one batch may grow to when it is decompressed, bytes.
    #[serde(rename = "max.decompressed.message.bytes")]
    pub max_decompressed_bytes: usize,
    /// Client connections at the same time.
    pub max_connections: usize,
    /// What all frames that are held whole may take together, bytes; who sends more waits.
    pub max_inflight_bytes: usize,
    /// After so many seconds without a byte and without a request under way a connection is closed;
    /// 0 for never. Kafka's brokers do the same after `connections.max.idle.ms`, 600 s.
    pub idle_timeout_secs: u64,
    /// How long requests under way may take when the proxy stops, seconds.
    pub drain_timeout_secs: u64,
}

impl Default for Limits {
    fn default() -> Self {
        // Kafka's `socket.request.max.bytes` is 100 MiB; its own overhead comes on top.
        Self {
            max_frame_bytes: (100 << 20) + (64 << 10),
            max_decompressed_bytes: wire::codec::DECOMPRESSED_LIMIT,
            max_connections: 10_000,
            max_inflight_bytes: 256 << 20,
            idle_timeout_secs: 660,
            drain_timeout_secs: 10,
        }
    }
}
