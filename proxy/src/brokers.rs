//! Each broker of the target and how clients come to it through here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kafka::{Address, Cluster, Connection, Security};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::connection::{self, Upstream};
use crate::{Reach, Shared};

/// The brokers that have been seen, by node id.
#[derive(Debug)]
pub(crate) struct Brokers {
    nodes: Mutex<BTreeMap<i32, Node>>,
    /// Where clients bootstrap.
    port: u16,
}

#[derive(Debug)]
struct Node {
    /// What clients are told.
    here: Address,
    /// Where the broker is; connections to where it was end when this changes.
    upstream: watch::Sender<Address>,
    /// Takes the connections that come to a port of the broker's own.
    task: Option<AbortHandle>,
}

/// Before the target is asked again for its brokers: while it can't be reached, and after it was.
const RETRY: Duration = Duration::from_secs(2);
const REFRESH: Duration = Duration::from_secs(30);

impl Brokers {
    pub(crate) fn new(port: u16) -> Self {
        Self { nodes: Mutex::default(), port }
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<i32, Node>> {
        self.nodes.lock().expect("nothing panics while it holds the brokers")
    }

    /// Closes every broker's port.
    pub(crate) fn close(&self) {
        self.nodes().values().filter_map(|it| it.task.as_ref()).for_each(AbortHandle::abort);
    }

    /// Where a broker is, now and later.
    fn upstream(&self, node: i32) -> Option<watch::Receiver<Address>> {
        self.nodes().get(&node).map(|it| it.upstream.subscribe())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Keeps up with the brokers, so that each can be reached here before a client has seen it in a
/// response: some remember only brokers, and the proxy may be one of several.
pub(crate) async fn watch(shared: Arc<Shared>) {
    loop {
        let pause = match find(&shared).await {
            Ok(()) => {
                _ = shared.ready.send_replace(Ok(()));
                REFRESH
            }
            Err(why) => {
                tracing::warn!("the target can't be asked for its brokers: {why}");
                // Once it was ready clients may hold connections that work.
                shared.ready.send_if_modified(|ready| {
                    let never = ready.is_err();
                    if never {
                        *ready = Err(why);
                    }
                    never
                });
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn find(shared: &Arc<Shared>) -> Result<(), String> {
    let (target, security) = (&shared.settings.target, &shared.settings.security);
    let cluster = Cluster::new(target.clone(), security.clone());
    let metadata = match cluster.metadata(Some(&[])).await {
        Ok(metadata) => metadata,
        // Brokers that want credentials tell strangers their versions and nothing else. Clients show
        // theirs, and the brokers become known by what they ask.
        Err(_) if security.sasl().is_none() && greets_strangers(target, security).await => {
            return Ok(());
        }
        Err(why) => return Err(why.to_string()),
    };
    for (node, address) in metadata.brokers {
        local(shared, node, &address);
    }
    Ok(())
}

async fn greets_strangers(target: &[Address], security: &Security) -> bool {
    for address in target {
        if Connection::open(address, security).await.is_ok() {
            return true;
        }
    }
    false
}

/// Whether this is where one of the target's brokers is.
pub(crate) async fn is_one(shared: &Shared, wanted: SocketAddr) -> bool {
    let mut all = shared.settings.target.clone();
    all.extend(shared.brokers.nodes().values().map(|it| it.upstream.borrow().clone()));
    for Address { host, port } in all.into_iter().filter(|it| it.port == wanted.port()) {
        let found = tokio::net::lookup_host((host.as_str(), port)).await;
        if found.is_ok_and(|mut found| found.any(|it| it == wanted)) {
            return true;
        }
    }
    false
}

/// Where a broker is that a client names; one that is not known yet is looked for.
pub(crate) async fn named(shared: &Arc<Shared>, node: i32) -> Option<watch::Receiver<Address>> {
    if let Some(known) = shared.brokers.upstream(node) {
        return Some(known);
    }
    if let Err(why) = find(shared).await {
        tracing::warn!("the target can't be asked for its brokers: {why}");
    }
    shared.brokers.upstream(node)
}

/// What clients are told of a broker that was seen in a response; its port is opened now if it is
/// new.
///
/// `None` where that can't be done.
pub(crate) fn local(shared: &Arc<Shared>, node: i32, address: &Address) -> Option<Address> {
    let mut nodes = shared.brokers.nodes();
    if let Some(known) = nodes.get(&node) {
        // A client that keeps its connection would talk to the wrong broker (KAFKA-20393), so
        // connections to the old address end rather than being pointed elsewhere.
        known.upstream.send_if_modified(|upstream| {
            let moved = upstream != address;
            if moved {
                tracing::info!("broker {node} moved from {upstream} to {address}");
                upstream.clone_from(address);
            }
            moved
        });
        return Some(known.here.clone());
    }
    match open(shared, node, address) {
        Ok(opened) => {
            let here = opened.here.clone();
            tracing::info!("broker {node} at {address} is here as {here}");
            nodes.insert(node, opened);
            Some(here)
        }
        Err(error) => {
            tracing::error!("no way to broker {node} at {address}: {error}");
            None
        }
    }
}

fn open(shared: &Arc<Shared>, node: i32, address: &Address) -> std::io::Result<Node> {
    let (upstream, watch) = watch::channel(address.clone());
    match &shared.settings.reach {
        Reach::Ports { host, base, advertised_base } => {
            let port = port_of(*base, node)?;
            let listener =
                std::net::TcpListener::bind(SocketAddr::new(shared.settings.bootstrap.ip(), port))?;
            listener.set_nonblocking(true)?;
            let port = match advertised_base {
                Some(base) => port_of(*base, node)?,
                None => listener.local_addr()?.port(),
            };
            let listener = TcpListener::from_std(listener)?;
            let task = tokio::spawn(accept(listener, Some(watch), Arc::clone(shared)));
            let here = Address { host: host.clone(), port };
            Ok(Node { here, upstream, task: Some(task.abort_handle()) })
        }
        Reach::Names { names, advertised_port } => {
            let port = advertised_port.unwrap_or(shared.brokers.port);
            let here = Address { host: names.of(node), port };
            Ok(Node { here, upstream, task: None })
        }
        Reach::Redirected => Ok(Node { here: address.clone(), upstream, task: None }),
    }
}

/// The port of a broker; 0, for any that is free, stays 0.
fn port_of(base: u16, node: i32) -> std::io::Result<u16> {
    match (base, u16::try_from(node).ok().and_then(|node| base.checked_add(node))) {
        (0, _) => Ok(0),
        (_, Some(port)) => Ok(port),
        (_, None) => Err(std::io::Error::other(format!("{base} + {node} is not a port"))),
    }
}

/// Takes connections for one broker, or those of which it has to be found out.
pub(crate) async fn accept(
    listener: TcpListener,
    upstream: Option<watch::Receiver<Address>>,
    shared: Arc<Shared>,
) {
    loop {
        match listener.accept().await {
            Ok((client, peer)) => {
                let upstream = upstream.clone().map_or(Upstream::Unknown, Upstream::Broker);
                let shared = Arc::clone(&shared);
                tokio::spawn(connection::serve(client, peer, upstream, shared));
            }
            Err(error) => {
                // Out of file descriptors, most likely; connections end and free some.
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
