//! Clients that show their credentials to the proxy, before anything of theirs goes to a broker.

use std::time::Duration;

use kafka::login::{self, Turn, Users};
use kafka_protocol::messages::{SaslAuthenticateResponse, SaslHandshakeResponse};
use kafka_protocol::protocol::{Encodable, StrBytes};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout_at};
use wire::cursor::Cursor;
use wire::frame::{self, RequestStart};

use crate::connection::End;
use crate::pending::{Due, Pending};
use crate::reader::{FrameReader, write};
use crate::{apis, versions};

/// How long a client may take to come in.
const PATIENCE: Duration = Duration::from_secs(10);
/// Whoever guesses waits for each guess, as with Kafka's `connection.failed.authentication.delay.ms`.
const REFUSAL_DELAY: Duration = Duration::from_millis(100);
/// The largest frame of a client that nobody knows, as Kafka's `sasl.server.max.receive.size`.
const MOST_BYTES: usize = 512 << 10;

/// UNSUPPORTED_SASL_MECHANISM, ILLEGAL_SASL_STATE, SASL_AUTHENTICATION_FAILED
const UNSUPPORTED_MECHANISM: i16 = 33;
const ILLEGAL_STATE: i16 = 34;
const FAILED: i16 = 58;
/// First version of SaslAuthenticate with compact lengths and tags.
const FLEXIBLE: i16 = 2;

/// A client on its way in.
pub(crate) struct Login<'a> {
    users: &'a Users,
    exchange: Option<Exchange>,
    /// When it has to be in.
    deadline: Instant,
}

struct Exchange {
    login: login::Login,
    /// After SaslHandshake 0 come bare tokens, and their answers are bare too.
    bare: bool,
}

/// What follows from a frame.
enum Heard {
    /// It is for the broker: any client may ask what versions there are.
    Pass,
    /// It has this answer, and the client is not in yet.
    Answer(Vec<u8>),
    /// The client is in.
    In { answer: Vec<u8>, user: String },
    /// It is not let in, and is told so.
    Refused { answer: Vec<u8>, end: End },
}

impl<'a> Login<'a> {
    pub(crate) fn new(users: &'a Users) -> Self {
        Self { users, exchange: None, deadline: Instant::now() + PATIENCE }
    }

    /// Hears a frame, given without its size.
    fn hear(&mut self, frame: &[u8]) -> Result<Heard, End> {
        if let Some(exchange) = self.exchange.as_mut().filter(|it| it.bare) {
            let turn = exchange.login.hear(frame);
            return Ok(turned(turn, |told, refused| {
                // Nothing but the end of the connection says so.
                if refused { Vec::new() } else { frame::resized([&[0; 4], told].concat()) }
            }));
        }
        let start = RequestStart::parse(frame).map_err(End::Request)?;
        match (start.api_key, &mut self.exchange) {
            (apis::API_VERSIONS, _) => Ok(Heard::Pass),
            (apis::SASL_HANDSHAKE, None) if (0..=1).contains(&start.api_version) => {
                self.handshake(start, frame)
            }
            (apis::SASL_AUTHENTICATE, Some(exchange))
                if (0..=FLEXIBLE).contains(&start.api_version) =>
            {
                let said = auth_bytes(frame, start.api_version).map_err(End::Request)?;
                let turn = exchange.login.hear(said);
                Ok(turned(turn, |told, refused| authenticated(start, told, refused)))
            }
            _ => Err(End::NotLoggedIn(start)),
        }
    }

    /// Lets the client in; gives its name, or nothing where it went away.
    pub(crate) async fn run<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        from: &mut FrameReader<'_, R>,
        to: &mut W,
        pending: &Pending,
    ) -> Result<Option<String>, End> {
        loop {
            let head = timeout_at(self.deadline, from.head(0)).await.map_err(|_| End::Slow)?;
            let Some(head) = head.map_err(End::from_client)? else { return Ok(None) };
            if head.size > MOST_BYTES {
                return Err(End::ClientFrame(format!("{} bytes before it came in", head.size)));
            }
            let frame = timeout_at(self.deadline, from.whole(head)).await.map_err(|_| End::Slow)?;
            let frame = frame.map_err(End::Client)?;
            match self.hear(&frame[4..])? {
                Heard::Pass => {
                    let start = RequestStart::parse(&frame[4..]).map_err(End::Request)?;
                    if versions::knows(start.api_version) {
                        pending.push(Due::Answer(start));
                        write(to, frame).await.map_err(End::Broker)?;
                    } else {
                        pending.push(Due::Local(versions::too_new(start)));
                    }
                }
                Heard::Answer(answer) => pending.push(Due::Local(answer)),
                Heard::In { answer, user } => {
                    pending.push(Due::Local(answer));
                    return Ok(Some(user));
                }
                Heard::Refused { answer, end } => {
                    sleep(REFUSAL_DELAY).await;
                    pending.push(Due::Local(answer));
                    pending.answered().await;
                    return Err(end);
                }
            }
        }
    }

    fn handshake(&mut self, start: RequestStart, frame: &[u8]) -> Result<Heard, End> {
        let name = mechanism(frame).map_err(End::Request)?;
        let name = String::from_utf8_lossy(name);
        let Some(login) = self.users.begin(&name) else {
            let offered: Vec<_> = self.users.mechanisms().collect();
            let answer = shaken(start, UNSUPPORTED_MECHANISM, &offered);
            return Ok(Heard::Refused { answer, end: End::Mechanism(name.into_owned()) });
        };
        self.exchange = Some(Exchange { login, bare: start.api_version == 0 });
        Ok(Heard::Answer(shaken(start, 0, &self.users.mechanisms().collect::<Vec<_>>())))
    }
}

fn turned(turn: Turn, answer: impl FnOnce(&[u8], bool) -> Vec<u8>) -> Heard {
    match turn {
        Turn::More(told) => Heard::Answer(answer(&told, false)),
        Turn::In { user, told } => Heard::In { answer: answer(&told, false), user },
        Turn::Refused => Heard::Refused { answer: answer(&[], true), end: End::Refused },
    }
}

/// The answer to a SaslHandshake of a client that needs none: the proxy shows its own credentials, or
/// the client is in already.
pub(crate) fn out_of_place(start: RequestStart) -> Vec<u8> {
    shaken(start, ILLEGAL_STATE, &[])
}

fn mechanism(frame: &[u8]) -> wire::Result<&[u8]> {
    let mut cursor = Cursor::starting_at(frame, frame::request_body(frame, false)?);
    let length = cursor.i16("the length of a mechanism's name")?;
    let name = cursor.skip(usize::try_from(length).unwrap_or(0), "a mechanism's name")?;
    Ok(&frame[name])
}

fn auth_bytes(frame: &[u8], version: i16) -> wire::Result<&[u8]> {
    let flexible = version >= FLEXIBLE;
    let mut cursor = Cursor::starting_at(frame, frame::request_body(frame, flexible)?);
    let length = if flexible {
        i64::from(cursor.uvarint()?) - 1
    } else {
        i64::from(cursor.i32("the length of a token")?)
    };
    let token = cursor.skip(usize::try_from(length).unwrap_or(0), "a token")?;
    Ok(&frame[token])
}

fn shaken(start: RequestStart, error_code: i16, mechanisms: &[&'static str]) -> Vec<u8> {
    let mechanisms = mechanisms.iter().map(|it| StrBytes::from_static_str(it)).collect();
    let response =
        SaslHandshakeResponse::default().with_error_code(error_code).with_mechanisms(mechanisms);
    sized(start, &response, start.api_version.clamp(0, 1), false)
}

fn authenticated(start: RequestStart, told: &[u8], refused: bool) -> Vec<u8> {
    let mut response = SaslAuthenticateResponse::default().with_auth_bytes(told.to_vec().into());
    if refused {
        let why = StrBytes::from_static_str(
            "schema-proxy does not know this user with these credentials",
        );
        response = response.with_error_code(FAILED).with_error_message(Some(why));
    }
    sized(start, &response, start.api_version, start.api_version >= FLEXIBLE)
}

fn sized(start: RequestStart, body: &impl Encodable, version: i16, flexible: bool) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend(start.correlation_id.to_be_bytes());
    if flexible {
        // No tags in the header.
        out.push(0);
    }
    body.encode(&mut out, version).expect("a message of our own can be written");
    frame::resized(out)
}
