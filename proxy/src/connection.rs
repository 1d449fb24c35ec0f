//! One client connection and the upstream connection that belongs to it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kafka::security::Stream;
use kafka::{Address, Connection, Session};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use wire::frame::RequestStart;

use crate::login::Login;
use crate::pending::Pending;
use crate::reader::{Activity, FrameReader, ReadError};
use crate::redirected::{self, OwnPort};
use crate::{Reach, Shared, brokers, requests, responses};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection ended other than by its client's wish.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("no broker can be reached: {0}")]
    Unreachable(String),
    #[error("the client's side broke: {0}")]
    Client(io::Error),
    #[error("the broker's side broke: {0}")]
    Broker(io::Error),
    #[error("the client's TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("the client sent no Kafka frame: {0}")]
    ClientFrame(String),
    #[error("the broker sent no Kafka frame: {0}")]
    BrokerFrame(String),
    #[error("the client sent a malformed request: {0}")]
    Request(wire::Error),
    #[error("the broker sent a malformed response to API {} version {}: {why}", of.api_key, of.api_version)]
    Response { of: RequestStart, why: String },
    #[error("the client asked for API {} in version {}, which was not offered", .0.api_key, .0.api_version)]
    NotOffered(RequestStart),
    #[error("the broker answered {found} where {expected} was due")]
    OutOfOrder { expected: i32, found: i32 },
    #[error("the broker answered without having been asked")]
    Unasked,
    #[error("the client names a topic by an id that no Metadata response has told here")]
    UnknownTopic,
    #[error(
        "a record of {topic}-{partition} has schema id {id}, which the id map lacks, and acks=0 leaves no other way to say so"
    )]
    RejectedUnheard { topic: Arc<str>, partition: i32, id: u32 },
    #[error(
        "the target is a schema-proxy too, so ids would be translated twice: point this one at the brokers"
    )]
    TwoProxies,
    #[error("the client did not come in within 10 s")]
    Slow,
    #[error("the client asked for API {} before it showed who it is", .0.api_key)]
    NotLoggedIn(RequestStart),
    #[error(
        "the client wants to show its credentials by {0:?}, which listen.sasl.mechanisms lacks"
    )]
    Mechanism(String),
    #[error("the client's credentials are not those of a user in listen.sasl")]
    Refused,
    #[error("the broker does not renew our session: {0}")]
    Session(#[from] kafka::Error),
    #[error("there is no broker {0}, which the client names by its TLS server name")]
    NoSuchBroker(i32),
    #[error(
        "the proxy's own connection was redirected to it: exempt the user that it runs as from the rule"
    )]
    Circle,
    #[error(
        "the client wants to go to {0}, which is no broker of the target, and must not see our credentials"
    )]
    Stranger(SocketAddr),
    #[error("{0} connections are open, which is limits.max_connections")]
    TooMany(usize),
    #[error("the broker moved to another address")]
    Moved,
    #[error("nothing came for limits.idle_timeout_secs")]
    Idle,
    #[error("the proxy is stopping")]
    Drained,
}

impl End {
    pub(crate) fn from_client(error: ReadError) -> Self {
        match error {
            ReadError::Io(why) => Self::Client(why),
            ReadError::NoFrame(why) => Self::ClientFrame(why),
        }
    }

    pub(crate) fn from_broker(error: ReadError) -> Self {
        match error {
            ReadError::Io(why) => Self::Broker(why),
            ReadError::NoFrame(why) => Self::BrokerFrame(why),
        }
    }

    /// A label for metrics.
    fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Client(_) => "client_io",
            Self::Handshake(_) => "tls_handshake",
            Self::Broker(_) => "broker_io",
            Self::ClientFrame(_) | Self::Request(_) => "malformed_request",
            Self::BrokerFrame(_) | Self::Response { .. } => "malformed_response",
            Self::NotOffered(_) => "not_offered",
            Self::OutOfOrder { .. } | Self::Unasked => "out_of_order",
            Self::UnknownTopic => "unknown_topic",
            Self::RejectedUnheard { .. } => "rejected",
            Self::TwoProxies => "two_proxies",
            Self::Slow | Self::NotLoggedIn(_) | Self::Mechanism(_) | Self::Refused => "sasl",
            Self::Session(_) => "session",
            Self::NoSuchBroker(_) => "no_such_broker",
            Self::Circle => "circle",
            Self::Stranger(_) => "stranger",
            Self::TooMany(_) => "too_many",
            Self::Moved => "broker_moved",
            Self::Idle => "idle",
            Self::Drained => "drained",
        }
    }
}

/// Where a connection goes on.
#[derive(Debug, Clone)]
pub(crate) enum Upstream {
    /// It came to where clients bootstrap; what it says decides, or whichever server answers.
    Unknown,
    /// It came to this broker's port or by its name.
    Broker(watch::Receiver<Address>),
    /// It was on its way there.
    Redirected(Address),
}

/// Serves one client until either side ends. Whatever happens here ends this connection only.
pub(crate) async fn serve(
    client: TcpStream,
    peer: SocketAddr,
    upstream: Upstream,
    shared: Arc<Shared>,
) {
    shared.metrics.connections_total.inc();
    shared.metrics.connections.inc();
    let open = Open { number: shared.open.add(peer), shared: Arc::clone(&shared) };
    match run(client, upstream, open.number, &shared).await {
        Ok(()) => tracing::debug!(%peer, "closed"),
        Err(end) => {
            shared.metrics.failures.with_label_values(&[end.reason()]).inc();
            match end {
                // Clients come and go, and we know that we stop.
                End::Client(_) | End::Idle | End::Drained => tracing::debug!(%peer, "{end}"),
                _ => tracing::warn!(%peer, "{end}"),
            }
        }
    }
    drop(open);
}

/// Counts the connection down even if serving it panics.
struct Open {
    number: u64,
    shared: Arc<Shared>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.open.remove(self.number);
        self.shared.metrics.connections.dec();
    }
}

async fn run(
    client: TcpStream,
    mut upstream: Upstream,
    number: u64,
    shared: &Arc<Shared>,
) -> Result<(), End> {
    let most = shared.settings.max_connections;
    if shared.metrics.connections.get() > most as i64 {
        return Err(End::TooMany(most));
    }
    client.set_nodelay(true).map_err(End::Client)?;
    let destination = match &shared.settings.reach {
        Reach::Redirected if client.peer_addr().is_ok_and(|it| shared.own_ports.has(it)) => {
            return Err(End::Circle);
        }
        Reach::Redirected => redirected::destination(&client),
        _ => None,
    };
    // Before a broker is bothered.
    let (client, name) = match &shared.tls {
        None => (Side::Plain(client), None),
        Some(config) => {
            let handshake = TlsAcceptor::from(config.load_full()).accept(client);
            match timeout(HANDSHAKE_TIMEOUT, handshake).await {
                Ok(accepted) => {
                    let accepted = accepted.map_err(End::Handshake)?;
                    let name = accepted.get_ref().1.server_name().map(str::to_owned);
                    (Side::Wrapped(Box::new(accepted)), name)
                }
                Err(_) => return Err(End::Handshake(io::ErrorKind::TimedOut.into())),
            }
        }
    };
    if let (Upstream::Unknown, Reach::Names { names, .. }) = (&upstream, &shared.settings.reach)
        && let Some(node) = name.as_deref().and_then(|it| names.node(it))
    {
        let broker = brokers::named(shared, node).await;
        upstream = Upstream::Broker(broker.ok_or(End::NoSuchBroker(node))?);
    }
    if let Some(wanted) = destination {
        if shared.settings.security.sasl().is_some() && !brokers::is_one(shared, wanted).await {
            return Err(End::Stranger(wanted));
        }
        // The broker's certificate may be for its name alone.
        let host = name.unwrap_or_else(|| wanted.ip().to_string());
        upstream = Upstream::Redirected(Address { host, port: wanted.port() });
    }
    let addresses = match &mut upstream {
        // A move while we dial counts: `moved` sees every change from here on.
        Upstream::Broker(watch) => vec![watch.borrow_and_update().clone()],
        Upstream::Redirected(address) => vec![address.clone()],
        Upstream::Unknown => shared.settings.target.clone(),
    };
    if !matches!(upstream, Upstream::Unknown) {
        shared.open.set_broker(number, &addresses[0]);
    }
    let (broker, session, _own_port) = dial(&addresses, shared).await?;
    let this = This { number, upstream, session };
    match (client, broker) {
        (Side::Plain(client), Side::Plain(broker)) => {
            relay(client.into_split(), broker.into_split(), this, shared).await
        }
        (Side::Plain(client), Side::Wrapped(broker)) => {
            relay(client.into_split(), split(broker), this, shared).await
        }
        (Side::Wrapped(client), Side::Plain(broker)) => {
            relay(split(client), broker.into_split(), this, shared).await
        }
        (Side::Wrapped(client), Side::Wrapped(broker)) => {
            relay(split(client), split(broker), this, shared).await
        }
    }
}

/// What is known of a connection beside its two sides.
struct This {
    number: u64,
    upstream: Upstream,
    /// Ours with the broker, where we have credentials.
    session: Option<Session>,
}

/// One side of the proxy. Without TLS its halves are the socket's own, and cost nothing.
enum Side {
    Plain(TcpStream),
    Wrapped(Box<dyn Stream>),
}

async fn relay<CR, CW, BR, BW>(
    (client_read, mut client_write): (CR, CW),
    (broker_read, mut broker_write): (BR, BW),
    this: This,
    shared: &Arc<Shared>,
) -> Result<(), End>
where
    CR: AsyncRead + Unpin,
    CW: AsyncWrite + Unpin,
    BR: AsyncRead + Unpin,
    BW: AsyncWrite + Unpin,
{
    let limit = shared.settings.max_frame_bytes;
    let activity = Activity::default();
    let mut from_client = FrameReader::new(client_read, limit, &activity);
    let mut from_broker = FrameReader::new(broker_read, limit, &activity);
    let pending = Pending::default();
    let This { number, upstream, session } = this;

    let requests = async {
        if let Some(users) = &shared.settings.users {
            let mut login = Login::new(users);
            let user = login.run(&mut from_client, &mut broker_write, &pending).await?;
            let Some(user) = user else { return Ok(()) };
            shared.open.set_user(number, user);
        }
        let mut to = requests::Broker { write: &mut broker_write, session };
        match requests::forward(&mut from_client, &mut to, &pending, shared).await? {
            // The client has sent all it will; the broker may still have answers.
            Stop::ClientEnded => broker_write.shutdown().await.map_err(End::Broker)?,
            Stop::Draining => {
                pending.answered().await;
                return Err(End::Drained);
            }
        }
        // The broker's end decides, below.
        std::future::pending().await
    };
    let responses = async {
        responses::forward(&mut from_broker, &mut client_write, &pending, shared).await?;
        client_write.shutdown().await.map_err(End::Client)
    };
    // Both directions run in this one task: no hop between them, and they end together.
    tokio::select! {
        result = requests => result,
        result = responses => result,
        () = moved(upstream) => Err(End::Moved),
        () = idle(&activity, &pending, shared.settings.idle_timeout) => Err(End::Idle),
    }
}

/// Returns when nothing came for a whole period and no request is under way.
async fn idle(activity: &Activity, pending: &Pending, period: Duration) {
    loop {
        let before = activity.count();
        sleep(period).await;
        if activity.count() == before && pending.is_empty() {
            return;
        }
    }
}

/// Why no more requests are read.
pub(crate) enum Stop {
    /// The client closed its side.
    ClientEnded,
    /// The proxy stops.
    Draining,
}

/// The first server that takes a connection, and us where we have credentials.
async fn dial<'a>(
    addresses: &[Address],
    shared: &'a Shared,
) -> Result<(Side, Option<Session>, Option<OwnPort<'a>>), End> {
    let security = &shared.settings.security;
    let mut reasons = Vec::new();
    for address in addresses {
        let (stream, own_port) = match timeout(CONNECT_TIMEOUT, connect(address, shared)).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(why)) => {
                reasons.push(format!("{address}: {why}"));
                continue;
            }
            Err(_) => {
                reasons.push(format!("{address}: no answer within 10 s"));
                continue;
            }
        };
        stream.set_nodelay(true).map_err(End::Broker)?;
        if security.is_plain() {
            return Ok((Side::Plain(stream), None, own_port));
        }
        match Connection::over(stream, address, security).await {
            Ok(connection) => {
                let (stream, session) = connection.into_parts();
                return Ok((Side::Wrapped(stream), session, own_port));
            }
            Err(why) => reasons.push(why.to_string()),
        }
    }
    Err(End::Unreachable(reasons.join("; ")))
}

async fn connect<'a>(
    address: &Address,
    shared: &'a Shared,
) -> io::Result<(TcpStream, Option<OwnPort<'a>>)> {
    if matches!(shared.settings.reach, Reach::Redirected) {
        let (stream, own_port) = shared.own_ports.connect(address).await?;
        return Ok((stream, Some(own_port)));
    }
    Ok((TcpStream::connect((address.host.as_str(), address.port)).await?, None))
}

/// Returns when the broker's address is no longer the one that was dialled.
async fn moved(upstream: Upstream) {
    if let Upstream::Broker(mut watch) = upstream
        && watch.changed().await.is_ok()
    {
        return;
    }
    // Nobody follows it; or its port was closed, and connections to it may finish.
    std::future::pending::<()>().await;
}
