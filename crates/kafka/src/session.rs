//! Our credentials, shown to a broker: when a connection opens, and again before the session that the
//! broker gave us ends (KIP-368).

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use crate::call::{self, Call};
use crate::security::Exchange;
use crate::{Address, Error, Result, Sasl};

/// A connection's session. It reads and writes nothing itself: whoever holds the connection sends what
/// [`Self::begin`] and [`Self::answer`] give, until that is nothing.
pub struct Session {
    sasl: Sasl,
    address: Address,
    /// Of SaslHandshake and SaslAuthenticate.
    versions: (i16, i16),
    exchange: Option<Exchange>,
    begun: Instant,
    renew_at: Option<Instant>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new(sasl: Sasl, address: Address, versions: (i16, i16)) -> Self {
        let begun = Instant::now();
        Self { sasl, address, versions, exchange: None, begun, renew_at: None }
    }

    /// Whether the broker is about to end it.
    pub fn is_due(&self) -> bool {
        self.renew_at.is_some_and(|it| Instant::now() >= it)
    }

    /// The first frame; no other request may be sent until the exchange is over.
    pub fn begin(&mut self, correlation_id: i32) -> Result<BytesMut> {
        (self.exchange, self.begun, self.renew_at) = (None, Instant::now(), None);
        let mechanism = StrBytes::from_static_str(self.sasl.mechanism());
        let handshake = SaslHandshakeRequest::default().with_mechanism(mechanism);
        self.frame(&handshake, self.versions.0, correlation_id)
    }

    /// The frame to send after an answer, or nothing when the broker knows us.
    pub async fn answer(&mut self, frame: &Bytes, correlation_id: i32) -> Result<Option<BytesMut>> {
        let said = match self.exchange.take() {
            None => {
                let answer = self.decode::<SaslHandshakeRequest>(frame, self.versions.0)?;
                if answer.error_code != 0 {
                    let offered: Vec<&str> = answer.mechanisms.iter().map(|it| &**it).collect();
                    return Err(
                        self.refused(&format!("the broker offers only {}", offered.join(", ")))
                    );
                }
                let mut exchange = self.sasl.begin().await.map_err(|why| self.refused(&why))?;
                let said = exchange.step(None);
                self.exchange = Some(exchange);
                said
            }
            Some(mut exchange) => {
                let answer = self.decode::<SaslAuthenticateRequest>(frame, self.versions.1)?;
                if answer.error_code != 0 {
                    let why = answer.error_message.map(|it| it.to_string()).unwrap_or_default();
                    return Err(self.refused(&why));
                }
                if answer.session_lifetime_ms > 0 {
                    // Kafka's own clients begin at a random point between 85 and 95 percent.
                    let life = Duration::from_millis(answer.session_lifetime_ms.unsigned_abs());
                    self.renew_at = Some(self.begun + life.mul_f64(0.85));
                }
                let said = exchange.step(Some(&answer.auth_bytes));
                self.exchange = Some(exchange);
                said
            }
        };
        let Some(said) = said.map_err(|why| self.refused(&why))? else {
            self.exchange = None;
            return Ok(None);
        };
        let request = SaslAuthenticateRequest::default().with_auth_bytes(said.into());
        self.frame(&request, self.versions.1, correlation_id).map(Some)
    }

    fn refused(&self, why: &str) -> Error {
        let (address, mechanism) = (self.address.clone(), self.sasl.mechanism());
        Error::Security { address, why: format!("{mechanism}: {why}") }
    }

    fn frame<R: Call>(&self, request: &R, version: i16, correlation_id: i32) -> Result<BytesMut> {
        call::frame_of(request, version, correlation_id).map_err(|why| self.malformed::<R>(why))
    }

    fn decode<R: Call>(&self, frame: &Bytes, version: i16) -> Result<R::Response> {
        call::body_of::<R>(frame, version)
            .and_then(|body| call::decode::<R>(frame, body, version))
            .map_err(|why| self.malformed::<R>(why))
    }

    fn malformed<R: Call>(&self, why: String) -> Error {
        Error::Malformed { address: self.address.clone(), api: R::SHAPE.name, why }
    }
}
