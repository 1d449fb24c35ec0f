//! Each broker of the target and the port that stands for it here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kafka::Address;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::{Shared, connection};

/// The brokers that have been seen, by node id.
#[derive(Debug, Default)]
pub(crate) struct Brokers {
    nodes: Mutex<BTreeMap<i32, Node>>,
}

#[derive(Debug)]
struct Node {
    port: u16,
    /// Where the broker is; connections to where it was end when this changes.
    upstream: watch::Sender<Address>,
    task: AbortHandle,
}

impl Brokers {
    fn nodes(&self) -> MutexGuard<'_, BTreeMap<i32, Node>> {
        self.nodes.lock().expect("nothing panics while it holds the brokers")
    }

    /// Closes every broker's port.
    pub(crate) fn close(&self) {
        self.nodes().values().for_each(|it| it.task.abort());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The port here for a broker that was seen in a response, opened now if it is new.
///
/// `None` where its port can't be opened; then the client keeps the broker's own address.
pub(crate) fn local(shared: &Arc<Shared>, node: i32, address: &Address) -> Option<u16> {
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
        return Some(known.port);
    }
    match open(shared, node, address) {
        Ok(opened) => {
            let port = opened.port;
            tracing::info!("broker {node} at {address} is here on port {port}");
            nodes.insert(node, opened);
            Some(port)
        }
        Err(error) => {
            tracing::error!("no port for broker {node} at {address}: {error}");
            None
        }
    }
}

fn open(shared: &Arc<Shared>, node: i32, address: &Address) -> std::io::Result<Node> {
    let base = shared.settings.broker_port_base;
    let port = match (base, u16::try_from(node).ok().and_then(|node| base.checked_add(node))) {
        (0, _) => 0,
        (_, Some(port)) => port,
        (_, None) => {
            let why = format!("{base} + {node} is not a port");
            return Err(std::io::Error::other(why));
        }
    };
    let listener =
        std::net::TcpListener::bind(SocketAddr::new(shared.settings.bootstrap.ip(), port))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let listener = TcpListener::from_std(listener)?;
    let (upstream, watch) = watch::channel(address.clone());
    let task = tokio::spawn(accept(listener, Some(watch), Arc::clone(shared))).abort_handle();
    Ok(Node { port, upstream, task })
}

/// Takes connections for one broker, or for whichever bootstrap server answers.
pub(crate) async fn accept(
    listener: TcpListener,
    upstream: Option<watch::Receiver<Address>>,
    shared: Arc<Shared>,
) {
    loop {
        match listener.accept().await {
            Ok((client, peer)) => {
                let (upstream, shared) = (upstream.clone(), Arc::clone(&shared));
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
