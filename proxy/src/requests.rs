//! From the client to the broker.

use std::io;
use std::time::Instant;

use bytes::Bytes;
use kafka::Session;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use wire::frame::{self, REQUEST_START, RequestStart};
use wire::message::{Message, Met, Role, Value};
use wire::shapes::{FETCH_REQUEST, PRODUCE_REQUEST, SHARE_FETCH_REQUEST};

use crate::connection::{End, Stop};
use crate::pending::{Due, Pending, Rejection};
use crate::reader::{FrameReader, write};
use crate::rewriter::{Direction, Fields, Rebuilt, Rewriter};
use crate::{Fetch, Shared, apis, login, old_produce, topics, versions};

/// Frames up to this size are gathered and written at once; larger ones pass as they come.
const SMALL_FRAME: usize = 64 * 1024;

/// First versions that name topics by ids.
const TOPIC_IDS_IN_PRODUCE: i16 = 13;
const TOPIC_IDS_IN_FETCH: i16 = 13;

/// The way to the broker.
pub(crate) struct Broker<'a, W> {
    pub(crate) write: &'a mut W,
    /// Ours, where we have credentials.
    pub(crate) session: Option<Session>,
}

impl<W: AsyncWrite + Unpin> Broker<'_, W> {
    /// Asks the broker something of our own, between two requests of the client. A broker takes requests
    /// one by one, so those before this one may still be on their way.
    async fn ask(&mut self, frame: &[u8], pending: &Pending) -> Result<Bytes, End> {
        let (teller, told) = oneshot::channel();
        pending.push(Due::Own(teller));
        write(self.write, frame).await.map_err(End::Broker)?;
        told.await.map_err(|_| End::Broker(io::ErrorKind::UnexpectedEof.into()))
    }

    /// Shows our credentials again where the session is about to end (KIP-368).
    async fn renew(&mut self, pending: &Pending) -> Result<(), End> {
        /// An answer is told from others by its place in the order.
        const ID: i32 = 0;
        let Some(mut session) = self.session.take_if(|it| it.is_due()) else { return Ok(()) };
        let mut said = Some(session.begin(ID)?);
        while let Some(frame) = said {
            let answer = self.ask(&frame, pending).await?;
            said = session.answer(&answer, ID).await?;
        }
        self.session = Some(session);
        Ok(())
    }

    /// Learns the names of topics that a request names by ids: rules go by names, and the client may
    /// have its metadata from another proxy. It is asked with the client's own rights.
    async fn learn_topics(
        &mut self,
        request: &[u8],
        start: RequestStart,
        message: &Message,
        pending: &Pending,
        shared: &Shared,
    ) -> Result<(), End> {
        let unknown = shared.topics.unknown(request, start, message).map_err(End::Request)?;
        if unknown.is_empty() {
            return Ok(());
        }
        let (of, question) = topics::question(&unknown);
        let answer = self.ask(&question, pending).await?;
        let malformed = |why: wire::Error| End::Response { of, why: why.to_string() };
        shared.topics.learn(&answer, of).map_err(malformed)
    }
}

pub(crate) async fn forward<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    from: &mut FrameReader<'_, R>,
    broker: &mut Broker<'_, W>,
    pending: &Pending,
    shared: &Shared,
) -> Result<Stop, End> {
    let mut rewriter = Rewriter::new(shared, Direction::Written);
    let mut draining = shared.draining.subscribe();
    let mut tokens = Tokens::NotDue;
    loop {
        let head = tokio::select! {
            biased;
            // The sender lives in `shared`.
            _ = draining.wait_for(|it| *it) => return Ok(Stop::Draining),
            head = from.head(REQUEST_START) => head.map_err(End::from_client)?,
        };
        let Some(head) = head else {
            return Ok(Stop::ClientEnded);
        };
        shared.metrics.from_client.count(head.size);
        broker.renew(pending).await?;

        if tokens.expects_one(from.front()) {
            pending.push(Due::Token);
            from.pass(head, broker.write).await.map_err(End::Broker)?;
            continue;
        }
        let start = RequestStart::parse(from.front()).map_err(End::Request)?;
        tokens.note(start, knows_the_client(shared));
        match start.api_key {
            apis::PRODUCE if old_produce::VERSIONS.contains(&start.api_version) => {
                let _room = shared.room.take(head.size).await;
                let request = from.whole(head).await.map_err(End::Client)?;
                let refusal = old_produce::refusal(&request[4..], start).map_err(End::Request)?;
                pending.push(Due::Local(refusal.ok_or(End::NotOffered(start))?));
            }
            apis::PRODUCE => {
                let _room = shared.room.take(head.size).await;
                let request = from.whole(head).await.map_err(End::Client)?;
                if shared.settings.rewrite.produce && start.api_version >= TOPIC_IDS_IN_PRODUCE {
                    let message = &PRODUCE_REQUEST;
                    broker.learn_topics(&request[4..], start, message, pending, shared).await?;
                }
                let whole = Instant::now();
                let mut produced = produce(request, start, &mut rewriter, shared).await?;
                let added = &shared.metrics.added_to_requests;
                added.observe(whole.elapsed().as_secs_f64());
                match produced.rejected {
                    _ if !produced.answered => {}
                    rejected if rejected.is_empty() => pending.push(Due::Answer(start)),
                    rejected => pending.push(Due::Rejected(start, rejected)),
                }
                let bytes = produced.rebuilt.frame().unwrap_or(request);
                write(broker.write, bytes).await.map_err(End::Broker)?;
            }
            // The client is in, or needs no credentials because ours are shown.
            apis::SASL_HANDSHAKE if knows_the_client(shared) => {
                from.whole(head).await.map_err(End::Client)?;
                pending.push(Due::Local(login::out_of_place(start)));
            }
            apis::API_VERSIONS if !versions::knows(start.api_version) => {
                from.whole(head).await.map_err(End::Client)?;
                pending.push(Due::Local(versions::too_new(start)));
            }
            _ => {
                // Its response could not be read, so it was not offered.
                if apis::response(start.api_key).is_some_and(|it| !it.knows(start.api_version)) {
                    return Err(End::NotOffered(start));
                }
                let named_by_id = match start.api_key {
                    _ if shared.settings.rewrite.fetch == Fetch::Off => None,
                    apis::FETCH if start.api_version >= TOPIC_IDS_IN_FETCH => Some(&FETCH_REQUEST),
                    apis::SHARE_FETCH => Some(&SHARE_FETCH_REQUEST),
                    _ => None,
                };
                if head.size <= SMALL_FRAME || named_by_id.is_some() {
                    let _room = match head.size {
                        ..=SMALL_FRAME => None,
                        size => shared.room.take(size).await,
                    };
                    let request = from.whole(head).await.map_err(End::Client)?;
                    if let Some(message) = named_by_id {
                        broker.learn_topics(&request[4..], start, message, pending, shared).await?;
                    }
                    pending.push(Due::Answer(start));
                    write(broker.write, request).await.map_err(End::Broker)?;
                } else {
                    pending.push(Due::Answer(start));
                    from.pass(head, broker.write).await.map_err(End::Broker)?;
                }
            }
        }
    }
}

/// Whether clients have nothing to show to the broker.
fn knows_the_client(shared: &Shared) -> bool {
    shared.settings.users.is_some() || shared.settings.security.sasl().is_some()
}

/// What became of a Produce request.
struct Produced {
    /// Whether the broker answers: not with acks=0.
    answered: bool,
    /// The frame anew, where a part of it changed size.
    rebuilt: Rebuilt,
    rejected: Vec<Rejection>,
}

async fn produce(
    request: &mut [u8],
    start: RequestStart,
    rewriter: &mut Rewriter<'_>,
    shared: &Shared,
) -> Result<Produced, End> {
    let version = start.api_version;
    // Nothing that may hold ids passes unseen.
    if !PRODUCE_REQUEST.knows(version) {
        return Err(End::NotOffered(start));
    }
    let flexible = PRODUCE_REQUEST.is_flexible(version);
    let frame = &request[4..];
    let body = frame::request_body(frame, flexible).map_err(End::Request)?;
    let mut acks = 1;
    let mut fields = Fields::default();
    let walked = PRODUCE_REQUEST.walk(frame, body, version, &mut |met| match met {
        Met { role: Role::Acks, value: Value::Int(value), .. } => acks = value,
        met => fields.meet(met),
    });
    walked.map_err(End::Request)?;
    let answered = acks != 0;
    if !shared.settings.rewrite.produce {
        return Ok(Produced { answered, rebuilt: Rebuilt::default(), rejected: Vec::new() });
    }
    let rewritten = rewriter.rewrite(request, &fields, flexible).await?;
    if let (false, Some((topic, partition, id))) = (answered, rewritten.first_rejected) {
        return Err(End::RejectedUnheard { topic, partition, id });
    }
    Ok(Produced { answered, rebuilt: rewritten.rebuilt, rejected: rewritten.rejected })
}

/// SASL before Kafka 1.0: after SaslHandshake 0 come bare tokens, without a request header.
enum Tokens {
    NotDue,
    Due,
}

impl Tokens {
    fn note(&mut self, start: RequestStart, knows_the_client: bool) {
        let begins = start.api_key == apis::SASL_HANDSHAKE && start.api_version == 0;
        if begins && !knows_the_client {
            *self = Self::Due;
        }
    }

    /// Whether the frame is a token. The first one that reads like a request header ends them:
    /// PLAIN's tokens start with an authorization id or NUL and a user name, SCRAM's with `n,` and
    /// `c=`, Kerberos's with an ASN.1 tag, none of which reads as a known API in a version below 32.
    fn expects_one(&mut self, front: &[u8]) -> bool {
        if matches!(self, Self::NotDue) {
            return false;
        }
        let known = 0..=apis::HIGHEST_KNOWN;
        let is_request = RequestStart::parse(front)
            .is_ok_and(|it| known.contains(&it.api_key) && (0..32).contains(&it.api_version));
        if is_request {
            *self = Self::NotDue;
        }
        !is_request
    }
}
