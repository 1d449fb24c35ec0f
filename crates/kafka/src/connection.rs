use std::collections::HashMap;
use std::fmt;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::call::{self, CLIENT, Call};
use crate::security::Stream;
use crate::session::Session;
use crate::{Address, Error, Result, Security};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Kafka's default `request.timeout.ms`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read: a Fetch of our own never asks for more than a tenth of it.
const FRAME_LIMIT: i32 = 512 << 20;
/// The most that is made room for at once.
const READ: usize = 8 << 20;

/// One connection to one broker, whose API versions are known.
pub struct Connection {
    address: Address,
    stream: Box<dyn Stream>,
    versions: HashMap<i16, (i16, i16)>,
    features: Vec<String>,
    correlation_id: i32,
    held: BytesMut,
    /// Requests on their way.
    unanswered: u32,
    /// Where we have credentials.
    session: Option<Session>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, with TLS and SASL where the security says so, and asks for the broker's API
    /// versions.
    pub async fn open(address: &Address, security: &Security) -> Result<Self> {
        let connect = TcpStream::connect((address.host.as_str(), address.port));
        let fail = |why: String| Error::Connection { address: address.clone(), why };
        let stream = match timeout(CONNECT_TIMEOUT, connect).await {
            Err(_) => return Err(fail("connecting took longer than 10 s".to_owned())),
            Ok(Err(why)) => return Err(fail(why.to_string())),
            Ok(Ok(stream)) => stream,
        };
        stream.set_nodelay(true).map_err(|why| fail(why.to_string()))?;
        Self::over(stream, address, security).await
    }

    /// The same with a TCP connection to the address that is open already.
    pub async fn over(stream: TcpStream, address: &Address, security: &Security) -> Result<Self> {
        let fail = |why: String| Error::Connection { address: address.clone(), why };
        let stream = match timeout(CONNECT_TIMEOUT, security.wrap(stream, address)).await {
            Err(_) => return Err(fail("the TLS handshake took longer than 10 s".to_owned())),
            // What rustls says of certificates is final; a broken socket is not.
            Ok(Err(why)) if why.kind() == io::ErrorKind::InvalidData => {
                let address = address.clone();
                return Err(Error::Security { address, why: why.to_string() });
            }
            Ok(Err(why)) => return Err(fail(format!("the TLS handshake failed: {why}"))),
            Ok(Ok(stream)) => stream,
        };
        let mut connection = Self {
            address: address.clone(),
            stream,
            versions: HashMap::new(),
            features: Vec::new(),
            correlation_id: 0,
            held: BytesMut::new(),
            unanswered: 0,
            session: None,
        };
        connection.negotiate().await?;
        if let Some(sasl) = security.sasl() {
            let handshake = connection.version::<SaslHandshakeRequest>(i16::MAX)?;
            let authenticate = connection.version::<SaslAuthenticateRequest>(i16::MAX)?;
            let versions = (handshake, authenticate);
            connection.session = Some(Session::new(sasl.clone(), address.clone(), versions));
        }
        connection.authenticate().await?;
        Ok(connection)
    }

    /// The stream, with TLS and SASL done, for someone who speaks on it from here on, and our session
    /// where we have one.
    pub fn into_parts(self) -> (Box<dyn Stream>, Option<Session>) {
        (self.stream, self.session)
    }

    /// The broker.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The names of the features that the broker says it supports (KIP-584).
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// Whether the broker has an API at all.
    pub fn offers(&self, api_key: i16) -> bool {
        self.versions.contains_key(&api_key)
    }

    /// The highest version that the broker and we know, at most `highest`.
    pub fn version<R: Call>(&self, highest: i16) -> Result<i16> {
        let (known, crates) = (R::SHAPE.versions, R::VERSIONS);
        let min = known.0.max(crates.min);
        let max = known.1.min(crates.max).min(highest);
        let (theirs_min, theirs_max) = self.versions.get(&R::KEY).copied().unwrap_or((0, -1));
        let version = max.min(theirs_max);
        if version < min || version < theirs_min {
            let (address, api) = (self.address.clone(), R::SHAPE.name);
            return Err(Error::Version { address, api, min, max });
        }
        Ok(version)
    }

    /// Asks in the highest common version and decodes the answer.
    pub async fn call<R: Call>(&mut self, request: &R) -> Result<R::Response> {
        let version = self.version::<R>(i16::MAX)?;
        self.call_at(request, version).await
    }

    /// Asks in one version and decodes the answer.
    pub async fn call_at<R: Call>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        let (frame, body) = self.exchange(request, version).await?;
        self.decode::<R>(&frame, body, version)
    }

    /// Asks and gives the answer's bytes and where its body begins. The caller must check them.
    pub async fn exchange<R: Call>(&mut self, request: &R, version: i16) -> Result<(Bytes, usize)> {
        let correlation_id = self.ask(request, version).await?;
        self.frame_of::<R>(correlation_id, version).await
    }

    /// Whether the broker is about to end the session (KIP-368).
    pub(crate) fn wants_authentication(&self) -> bool {
        self.session.as_ref().is_some_and(Session::is_due)
    }

    /// Sends a request whose answer is taken later, in the order of the requests.
    pub(crate) async fn ask<R: Call>(&mut self, request: &R, version: i16) -> Result<i32> {
        // No answer may be on its way while credentials are shown again.
        if self.unanswered == 0 && self.wants_authentication() {
            Box::pin(self.authenticate()).await?;
        }
        self.unanswered += 1;
        self.send(request, version).await
    }

    /// The answer to a request that was asked before.
    pub(crate) async fn answer<R: Call>(
        &mut self,
        correlation_id: i32,
        version: i16,
    ) -> Result<R::Response> {
        let (frame, body) = self.frame_of::<R>(correlation_id, version).await?;
        self.decode::<R>(&frame, body, version)
    }

    async fn frame_of<R: Call>(
        &mut self,
        correlation_id: i32,
        version: i16,
    ) -> Result<(Bytes, usize)> {
        let frame = self.receive(correlation_id).await?;
        self.unanswered -= 1;
        let body = call::body_of::<R>(&frame, version).map_err(|why| self.malformed::<R>(why))?;
        Ok((frame, body))
    }

    pub(crate) fn malformed<R: Call>(&self, why: String) -> Error {
        Error::Malformed { address: self.address.clone(), api: R::SHAPE.name, why }
    }

    fn decode<R: Call>(&self, frame: &Bytes, body: usize, version: i16) -> Result<R::Response> {
        call::decode::<R>(frame, body, version).map_err(|why| self.malformed::<R>(why))
    }

    async fn send<R: Call>(&mut self, request: &R, version: i16) -> Result<i32> {
        let correlation_id = self.next_id();
        let frame = call::frame_of(request, version, correlation_id);
        self.write(&frame.map_err(|why| self.malformed::<R>(why))?).await?;
        Ok(correlation_id)
    }

    fn next_id(&mut self) -> i32 {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        self.correlation_id
    }

    async fn write(&mut self, frame: &[u8]) -> Result<()> {
        let written = timeout(REQUEST_TIMEOUT, async {
            self.stream.write_all(frame).await?;
            // TLS may hold the end of it back.
            self.stream.flush().await
        });
        let written = written.await;
        self.io(written)
    }

    async fn receive(&mut self, correlation_id: i32) -> Result<Bytes> {
        let read = timeout(REQUEST_TIMEOUT, self.read_frame()).await;
        let frame = self.io(read)?;
        let theirs = frame.first_chunk().map(|it| i32::from_be_bytes(*it));
        if theirs != Some(correlation_id) {
            let why = format!("answer {theirs:?} came where {correlation_id} was due");
            return Err(Error::Connection { address: self.address.clone(), why });
        }
        Ok(frame)
    }

    async fn read_frame(&mut self) -> io::Result<Bytes> {
        let size = self.stream.read_i32().await?;
        if !(4..=FRAME_LIMIT).contains(&size) {
            let why = format!("a frame of {size} bytes: is this a Kafka port without TLS?");
            return Err(io::Error::other(why));
        }
        // The memory of the last answer serves again once that is dropped. It grows with what arrives,
        // not with what was announced.
        let mut limited = (&mut self.stream).take(size as u64);
        while self.held.len() < size as usize {
            self.held.reserve((size as usize - self.held.len()).min(READ));
            if limited.read_buf(&mut self.held).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.held.split().freeze())
    }

    fn io<T>(&self, result: std::result::Result<io::Result<T>, Elapsed>) -> Result<T> {
        let why = match result {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(why)) if why.kind() == io::ErrorKind::UnexpectedEof => {
                "the connection was closed".to_owned()
            }
            Ok(Err(why)) => why.to_string(),
            Err(_) => "no answer within 30 s".to_owned(),
        };
        Err(Error::Connection { address: self.address.clone(), why })
    }

    /// Shows our credentials, where we have any: at the start, and again before the session ends.
    async fn authenticate(&mut self) -> Result<()> {
        let Some(mut session) = self.session.take() else { return Ok(()) };
        let mut said = Some(session.begin(self.next_id())?);
        while let Some(frame) = said {
            self.write(&frame).await?;
            let answer = self.receive(self.correlation_id).await?;
            said = session.answer(&answer, self.next_id()).await?;
        }
        self.session = Some(session);
        Ok(())
    }

    /// A broker that does not know our version of ApiVersions answers in version 0 (KIP-511).
    async fn negotiate(&mut self) -> Result<()> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(CLIENT))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let mut version = 3;
        loop {
            let correlation_id = self.send(&request, version).await?;
            let frame = self.receive(correlation_id).await?;
            // This response's header is version 0 whatever the body is.
            let refused = frame.get(4..6) == Some(&UNSUPPORTED_VERSION.to_be_bytes());
            if refused && version > 0 {
                version = 0;
                continue;
            }
            let answer = self.decode::<ApiVersionsRequest>(&frame, 4, version)?;
            if let Some(code) = kafka_protocol::ResponseError::try_from_code(answer.error_code) {
                let (api, what) = ("ApiVersions", self.address.to_string());
                return Err(Error::Broker { api, what, code });
            }
            let features = answer.supported_features.iter();
            self.features = features.map(|it| it.name.to_string()).collect();
            self.versions = answer
                .api_keys
                .iter()
                .map(|api| (api.api_key, (api.min_version, api.max_version)))
                .collect();
            return Ok(());
        }
    }
}

const UNSUPPORTED_VERSION: i16 = 35;
