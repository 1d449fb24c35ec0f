//! From the client to the broker.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kafka::Session;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use wire::Tally;
use wire::frame::{self, REQUEST_START, RequestStart};
use wire::message::{Message, Met, Role, Value};
use wire::shapes::{FETCH_REQUEST, PRODUCE_REQUEST, SHARE_FETCH_REQUEST};
use wire::translate::Id;

use crate::connection::{End, Stop};
use crate::pending::{Due, Pending, Rejection};
use crate::pool::{self, Pooled};
use crate::reader::{FrameReader, write};
use crate::rules::{Known, Treatments};
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

/// The RECORDS fields of a message, and which partition each belongs to.
#[derive(Default)]
pub(crate) struct Fields {
    topic: Option<(Role, Range<usize>)>,
    partition: i32,
    records: Vec<RecordsField>,
}

struct RecordsField {
    topic: Option<(Role, Range<usize>)>,
    partition: i32,
    /// With its length in front.
    field: Range<usize>,
    content: Range<usize>,
}

impl Fields {
    /// One field of the walk, in its order.
    pub(crate) fn meet(&mut self, met: Met) {
        match met {
            Met { role: role @ (Role::Topic | Role::TopicId), value: Value::Bytes(at), .. } => {
                self.topic = Some((role, at));
            }
            Met { role: Role::Partition, value: Value::Int(number), .. } => {
                self.partition = number as i32;
            }
            Met { role: Role::Records, field, value: Value::Bytes(content) } => {
                let (topic, partition) = (self.topic.clone(), self.partition);
                self.records.push(RecordsField { topic, partition, field, content });
            }
            _ => {}
        }
    }
}

/// Which way records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the broker.
    Written,
    /// To the client.
    Read,
}

/// Translates one direction of one connection.
pub(crate) struct Rewriter<'a> {
    shared: &'a Shared,
    direction: Direction,
    treatments: Treatments<'a>,
}

/// What became of a frame.
#[derive(Default)]
pub(crate) struct Rewritten {
    /// The frame anew, where a part of it changed size; otherwise it was patched in place.
    pub(crate) rebuilt: Rebuilt,
    rejected: Vec<Rejection>,
    first_rejected: Option<(Arc<str>, i32, u32)>,
}

impl<'a> Rewriter<'a> {
    pub(crate) fn new(shared: &'a Shared, direction: Direction) -> Self {
        let settings = &shared.settings;
        Self {
            shared,
            direction,
            treatments: Treatments::new(&settings.rewrite.rules, &shared.topics, &shared.metrics),
        }
    }

    /// Translates the RECORDS fields of a frame whose size stands in front. Where a rule says so, a
    /// partition with an id that the map lacks is emptied: the broker refuses it with
    /// INVALID_RECORD, as it refuses any Produce without a batch, and takes the others.
    pub(crate) async fn rewrite(
        &mut self,
        sized: &mut [u8],
        fields: &Fields,
        flexible: bool,
    ) -> Result<Rewritten, End> {
        // One map from the frame's start to its end, even if it is replaced meanwhile.
        let mut loaded = Arc::clone(&self.shared.maps.current());
        let limit = self.shared.settings.max_decompressed_bytes;
        let settings = &self.shared.settings.rewrite;
        let reads = self.direction == Direction::Read;
        let goes_back = reads && settings.fetch == Fetch::Reverse;
        let mut rewritten = Rewritten::default();
        for field in &fields.records {
            let Some((role, topic)) = &field.topic else { continue };
            let topic = 4 + topic.start..4 + topic.end;
            let Known { name, treatment, counters } =
                self.treatments.of(*role, &sized[topic.clone()])?;
            if !treatment.parts.keys && !treatment.parts.values {
                continue;
            }
            let end = match &settings.until {
                Some(until) if reads => {
                    until.get(&*name).and_then(|it| it.get(&field.partition)).copied().unwrap_or(0)
                }
                _ => i64::MAX,
            };
            let records = 4 + field.content.start..4 + field.content.end;
            let context = treatment.context;
            if treatment.resolves() && !goes_back {
                let missing = pool::with_translator(limit, |translator| {
                    translator.look_at(treatment.parts);
                    translator.look_before(end);
                    translator.missing(&sized[records.clone()], &loaded.contexts[context].ids)
                });
                if !missing.is_empty() {
                    self.shared.resolve(context, &missing).await;
                    loaded = Arc::clone(&self.shared.maps.current());
                }
            }
            let both = &loaded.contexts[context];
            let map = if goes_back { &both.back } else { &both.ids };
            let range = 4 + field.field.start..4 + field.field.end;
            let rejects = !reads && treatment.rejects();
            let mut tally = Tally::default();
            pool::with_translator(limit, |translator| {
                translator.look_at(treatment.parts);
                translator.look_before(end);
                let (before, rest) = sized.split_at_mut(records.start);
                let changed = translator.records(&mut rest[..records.len()], map, &mut tally);
                let is_rejected = rejects && tally.first_unmapped.is_some();
                match changed {
                    _ if is_rejected => rewritten.rebuilt.replace(before, range, &[], flexible),
                    Some(changed) => rewritten.rebuilt.replace(before, range, changed, flexible),
                    None => {}
                }
            });
            if let (true, Some(unmapped)) = (rejects, tally.first_unmapped) {
                let message = rejection(unmapped, &name, field.partition);
                tracing::warn!("rejected: {message}");
                self.shared.metrics.rejected.inc();
                let topic = sized[topic].to_vec();
                rewritten.rejected.push(Rejection { topic, partition: field.partition, message });
                let first = (name, field.partition, unmapped.id);
                rewritten.first_rejected.get_or_insert(first);
                continue;
            }
            counters.count(&tally);
            count(&tally, self.shared);
        }
        rewritten.rebuilt.finish(sized);
        Ok(rewritten)
    }
}

/// A frame in which RECORDS fields were replaced.
#[derive(Default)]
pub(crate) struct Rebuilt {
    frame: Pooled,
    /// Up to here the old frame is in the new one; 0 where nothing was replaced.
    copied: usize,
}

impl Rebuilt {
    /// Puts new content in the place of the field in `range`; `before` is the frame up to its content,
    /// at least.
    fn replace(&mut self, before: &[u8], range: Range<usize>, content: &[u8], flexible: bool) {
        let out = if self.copied == 0 { self.frame.take() } else { self.frame.more() };
        out.extend_from_slice(&before[self.copied..range.start]);
        frame::write_bytes(content, flexible, out);
        self.copied = range.end;
    }

    fn finish(&mut self, sized: &[u8]) {
        if self.copied > 0 {
            let out = self.frame.more();
            out.extend_from_slice(&sized[self.copied..]);
            set_size(out);
        }
    }

    /// The new frame, where something was replaced.
    pub(crate) fn frame(&mut self) -> Option<&mut [u8]> {
        (self.copied > 0).then(|| &mut self.frame.more()[..])
    }
}

/// What the producer is told.
fn rejection(unmapped: Id, topic: &str, partition: i32) -> String {
    let Id { part, id, offset_delta, .. } = unmapped;
    format!(
        "schema id {id} in the {part:?} of record {offset_delta} of the batch for \
         {topic}-{partition} is not in the id map of schema-proxy"
    )
}

/// Writes the frame's size anew.
pub(crate) fn resize(mut sized: Vec<u8>) -> Vec<u8> {
    set_size(&mut sized);
    sized
}

fn set_size(sized: &mut [u8]) {
    let size = (sized.len() - 4) as i32;
    sized[..4].copy_from_slice(&size.to_be_bytes());
}

fn count(tally: &Tally, shared: &Shared) {
    let metrics = &shared.metrics;
    metrics.records.inc_by(tally.records);
    metrics.translated.inc_by(tally.translated);
    metrics.unmapped.inc_by(tally.unmapped);
    metrics.undecodable.inc_by(tally.undecodable);
    if let Some(unmapped) = tally.first_unmapped
        && shared.unmapped.first_time(unmapped.id)
    {
        let (id, part) = (unmapped.id, unmapped.part);
        tracing::warn!("schema id {id} in a {part:?} is not in the id map and passes as it is");
    }
    if let Some(why) = &tally.first_error {
        metrics.decode_errors.with_label_values(&[why.kind()]).inc();
        tracing::warn!("a record batch passes as it is: {why}");
    }
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
