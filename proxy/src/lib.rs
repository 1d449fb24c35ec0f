//! The Kafka proxy: clients connect to it instead of the brokers, and schema ids are right on the
//! other side.
//!
//! One client connection has one upstream connection, so order, pipelining, fetch sessions and
//! authentication stay what they are. Frames pass untouched but for four things: ids in Produce
//! requests (or Fetch responses), broker addresses, and the versions that ApiVersions offers.

mod addresses;
mod apis;
mod brokers;
mod connection;
mod login;
mod map;
mod metrics;
mod old_produce;
mod open;
mod pending;
mod pool;
mod reach;
mod reader;
mod redirected;
mod requests;
mod resolver;
mod responses;
mod rewriter;
mod room;
mod rules;
mod tls;
mod topics;
mod unmapped;
mod versions;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use app::admin::Admin;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use kafka::login::Users;
use kafka::{Address, Security};
use prometheus::Registry;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use brokers::Brokers;
use map::Maps;
pub use map::{MapSettings, MapSource};
use metrics::Metrics;
use open::OpenConnections;
pub use reach::{BrokerNames, Reach};
use redirected::OwnPorts;
pub use resolver::Registries;
use resolver::Resolver;
use room::Room;
pub use rules::{Rules, Treatment, Unmapped as OnUnmapped};
pub use tls::Certificates;
use topics::TopicNames;
use unmapped::Unmapped;

/// What the proxy does.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients bootstrap; port 0 takes a free one.
    pub bootstrap: SocketAddr,
    /// How clients come to each broker.
    pub reach: Reach,
    /// TLS towards clients, where it is wanted.
    pub tls: Option<Certificates>,
    /// Who has to show credentials to come in; `None` for everybody.
    pub users: Option<Users>,
    /// The target cluster.
    pub target: Vec<Address>,
    /// TLS to it, and our own SASL credentials; without those, clients show theirs.
    pub security: Security,
    /// What is translated.
    pub rewrite: Rewrite,
    /// Where ids are looked up that the map lacks, if a rule says so.
    pub registries: Option<Registries>,
    /// Frames above this size end their connection.
    pub max_frame_bytes: usize,
    /// What one batch may grow to when it is decompressed.
    pub max_decompressed_bytes: usize,
    /// Client connections at the same time.
    pub max_connections: usize,
    /// What all frames that are held whole may take together.
    pub max_inflight_bytes: usize,
    /// After so long without a byte and without a request under way a connection is closed.
    pub idle_timeout: Duration,
    /// How long connections may take to finish when the proxy stops.
    pub drain_timeout: Duration,
}

/// What is translated.
#[derive(Debug, Clone)]
pub struct Rewrite {
    /// Produce requests.
    pub produce: bool,
    /// Fetch and share fetch responses.
    pub fetch: Fetch,
    /// Only records before these offsets are translated in what is read, by topic and partition; in
    /// a partition that is not named, none.
    pub until: Option<Arc<EndOffsets>>,
    /// In which topics, and what in them.
    pub rules: Arc<Rules>,
}

/// Topic to partition to offset.
pub type EndOffsets = HashMap<String, HashMap<i32, i64>>;

/// How what consumers read is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    /// Not at all.
    Off,
    /// By the map: old records, read with the new registry.
    Forward,
    /// By the map's inverse: new records, read with the old registry.
    Reverse,
}

/// Why the proxy can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port is taken, or the address is not this machine's.
    #[error("can't listen on {address}: {why}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The operating system's word.
        why: std::io::Error,
    },
    /// The id map can't be read.
    #[error("id map: {0}")]
    Map(String),
    /// The certificate towards clients can't be used.
    #[error("listen.tls: {0}")]
    Tls(String),
    /// The metrics could not be set up.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    maps: Maps,
    resolver: Option<Resolver>,
    /// Replaced when its files change.
    tls: Option<ArcSwap<ServerConfig>>,
    brokers: Brokers,
    metrics: Metrics,
    unmapped: Unmapped,
    topics: TopicNames,
    room: Room,
    open: OpenConnections,
    own_ports: OwnPorts,
    draining: watch::Sender<bool>,
    ready: watch::Sender<Result<(), String>>,
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    bootstrap: SocketAddr,
    tasks: JoinSet<()>,
}

impl Proxy {
    /// Opens the bootstrap port and looks for the target's brokers in the background.
    pub async fn start(settings: Settings, map: MapSettings) -> Result<Self, Error> {
        let contexts = map.contexts.clone();
        let maps = Maps::new(map).map_err(Error::Map)?;
        let address = settings.bootstrap;
        let listener =
            TcpListener::bind(address).await.map_err(|why| Error::Listen { address, why })?;
        let bootstrap = listener.local_addr().map_err(|why| Error::Listen { address, why })?;
        let metrics = Metrics::new()?;
        let tls = match &settings.tls {
            Some(files) => Some(ArcSwap::new(files.load().map_err(Error::Tls)?)),
            None => None,
        };
        metrics.id_map_ids.set(maps.current().len() as i64);
        metrics.id_map_version.set(1);
        let registries = settings.registries.clone();
        let shared = Arc::new(Shared {
            maps,
            resolver: registries.map(|it| Resolver::new(it, contexts)),
            tls,
            brokers: Brokers::new(bootstrap.port()),
            metrics,
            unmapped: Unmapped::default(),
            topics: TopicNames::default(),
            room: Room::new(settings.max_inflight_bytes),
            open: OpenConnections::default(),
            own_ports: OwnPorts::default(),
            draining: watch::Sender::new(false),
            ready: watch::Sender::new(Err("the target has not answered yet".to_owned())),
            settings,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(brokers::accept(listener, None, Arc::clone(&shared)));
        tasks.spawn(brokers::watch(Arc::clone(&shared)));
        tasks.spawn(tls::watch(Arc::clone(&shared)));
        tasks.spawn(map::watch(Arc::clone(&shared)));
        Ok(Self { shared, bootstrap, tasks })
    }

    /// Where clients bootstrap.
    pub fn bootstrap(&self) -> SocketAddr {
        self.bootstrap
    }

    /// How many ids the map has.
    pub fn ids(&self) -> usize {
        self.shared.maps.current().len()
    }

    /// Reads the id map again, now.
    pub async fn reload_map(&self) {
        // What it says was logged.
        let _ = self.shared.reload_map().await;
    }

    /// What the admin port tells.
    pub fn admin(&self) -> Arc<dyn Admin> {
        Arc::clone(&self.shared) as Arc<dyn Admin>
    }

    /// Waits until the target has answered and every broker has its port.
    pub async fn ready(&self) {
        let mut ready = self.shared.ready.subscribe();
        // The sender lives as long as `self` does.
        let _ = ready.wait_for(Result::is_ok).await;
    }

    /// Waits until someone asks the admin port to stop the proxy.
    pub async fn asked_to_drain(&self) {
        let mut draining = self.shared.draining.subscribe();
        // The sender lives as long as `self` does.
        let _ = draining.wait_for(|it| *it).await;
    }

    /// Closes the ports, lets requests that are under way be answered, then ends every connection.
    pub async fn drain(mut self) {
        self.shared.draining.send_replace(true);
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        self.shared.brokers.close();
        let connections = &self.shared.metrics.connections;
        let finished = async {
            while connections.get() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(self.shared.settings.drain_timeout, finished).await.is_err() {
            tracing::warn!("{} connections did not finish in time", connections.get());
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.draining.send_replace(true);
        self.shared.brokers.close();
    }
}

#[async_trait]
impl Admin for Shared {
    fn metrics(&self) -> &Registry {
        self.metrics.inflight_bytes.set(self.room.taken() as i64);
        &self.metrics.registry
    }

    fn ready(&self) -> Result<String, String> {
        if *self.draining.borrow() {
            return Err("the proxy is stopping".to_owned());
        }
        self.ready.borrow().clone()?;
        Ok(match self.maps.refused() {
            None => "ready".to_owned(),
            Some(why) => format!("ready, but {why}"),
        })
    }

    async fn answer(&self, method: &str, path: &str) -> Option<Result<String, String>> {
        match (method, path) {
            ("GET", "/id-map") => Some(Ok(self.maps.json().await)),
            ("POST", "/id-map/reload") => Some(self.reload_map().await),
            ("GET", "/connections") => Some(Ok(self.open.json())),
            ("POST", "/drain") => {
                self.draining.send_replace(true);
                Some(Ok("no new connections; requests under way are answered".to_owned()))
            }
            _ => None,
        }
    }
}
