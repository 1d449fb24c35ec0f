//! Connections that were on their way to a broker and were redirected here.

use std::net::{SocketAddr, UdpSocket};

use dashmap::DashSet;
use kafka::Address;
use tokio::net::{TcpSocket, TcpStream};

/// Where the client wanted to go, before a rule of the kernel's NAT changed it; `None` where it came
/// here by itself.
#[cfg(target_os = "linux")]
pub(crate) fn destination(client: &TcpStream) -> Option<SocketAddr> {
    let socket = socket2::SockRef::from(client);
    let wanted =
        socket.original_dst_v4().or_else(|_| socket.original_dst_v6()).ok()?.as_socket()?;
    (client.local_addr().ok() != Some(wanted)).then_some(wanted)
}

/// Linux alone tells; the settings of the mode are refused elsewhere.
#[cfg(not(target_os = "linux"))]
pub(crate) fn destination(_: &TcpStream) -> Option<SocketAddr> {
    None
}

/// Ports that our own connections to brokers come from. A rule that redirects those too would make
/// the proxy its own client, without end.
#[derive(Debug, Default)]
pub(crate) struct OwnPorts {
    ports: DashSet<u16>,
}

/// A port of ours, until it is dropped.
#[derive(Debug)]
pub(crate) struct OwnPort<'a> {
    port: u16,
    all: &'a OwnPorts,
}

impl Drop for OwnPort<'_> {
    fn drop(&mut self) {
        self.all.ports.remove(&self.port);
    }
}

impl OwnPorts {
    /// Whether a client that was accepted is ourselves.
    pub(crate) fn has(&self, client: SocketAddr) -> bool {
        // Another machine's port may have the same number; only our own addresses can be bound.
        self.ports.contains(&client.port()) && UdpSocket::bind((client.ip(), 0)).is_ok()
    }

    /// Connects from a port that is known as ours before the connection can come back here.
    pub(crate) async fn connect(
        &self,
        address: &Address,
    ) -> std::io::Result<(TcpStream, OwnPort<'_>)> {
        let mut last = None;
        for to in tokio::net::lookup_host((address.host.as_str(), address.port)).await? {
            let (socket, any) = match to {
                SocketAddr::V4(_) => (TcpSocket::new_v4()?, "0.0.0.0:0"),
                SocketAddr::V6(_) => (TcpSocket::new_v6()?, "[::]:0"),
            };
            socket.bind(any.parse().expect("it is an address"))?;
            let port = socket.local_addr()?.port();
            self.ports.insert(port);
            let own = OwnPort { port, all: self };
            match socket.connect(to).await {
                Ok(stream) => return Ok((stream, own)),
                Err(why) => last = Some(why),
            }
        }
        Err(last.unwrap_or_else(|| std::io::Error::other("its name has no address")))
    }
}
