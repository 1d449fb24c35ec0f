//! From the client to the broker.

use std::ops::Range;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use wire::frame::{self, Edit, REQUEST_START, RequestStart};
use wire::message::{Met, Role, Value};
use wire::shapes::PRODUCE_REQUEST;
use wire::{Tally, Translator};

use crate::connection::{End, Stop};
use crate::pending::{Due, Pending};
use crate::reader::{FrameReader, write};
use crate::{Shared, apis, versions};

/// Frames up to this size are gathered and written at once; larger ones pass as they come.
const SMALL_FRAME: usize = 64 * 1024;

pub(crate) async fn forward<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    from: &mut FrameReader<R>,
    to: &mut W,
    pending: &Pending,
    shared: &Shared,
) -> Result<Stop, End> {
    let rewrite = shared.settings.rewrite;
    let mut translator = Translator::new(rewrite.parts, shared.settings.max_decompressed_bytes);
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
        shared.metrics.frames.with_label_values(&["client"]).inc();
        shared.metrics.bytes.with_label_values(&["client"]).inc_by(4 + head.size as u64);

        if tokens.expects_one(from.front()) {
            pending.push(Due::Token);
            from.pass(head, to).await.map_err(End::Broker)?;
            continue;
        }
        let start = RequestStart::parse(from.front()).map_err(End::Request)?;
        tokens.note(start);
        match start.api_key {
            apis::PRODUCE => {
                let mut request = from.whole(head).await.map_err(End::Client)?;
                let produced = produce(&mut request, start, &mut translator, shared)?;
                if produced.answered {
                    pending.push(Due::Answer(start));
                }
                let bytes = produced.rebuilt.as_deref().unwrap_or(&request);
                write(to, bytes).await.map_err(End::Broker)?;
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
                pending.push(Due::Answer(start));
                if head.size <= SMALL_FRAME {
                    let request = from.whole(head).await.map_err(End::Client)?;
                    write(to, &request).await.map_err(End::Broker)?;
                } else {
                    from.pass(head, to).await.map_err(End::Broker)?;
                }
            }
        }
    }
}

/// What became of a Produce request.
struct Produced {
    /// Whether the broker answers: not with acks=0.
    answered: bool,
    /// The frame anew, where a part of it changed size.
    rebuilt: Option<Vec<u8>>,
}

fn produce(
    request: &mut BytesMut,
    start: RequestStart,
    translator: &mut Translator,
    shared: &Shared,
) -> Result<Produced, End> {
    let version = start.api_version;
    // Versions 0 to 2 carry message sets. Nothing that may hold ids passes unseen.
    if !PRODUCE_REQUEST.knows(version) {
        return Err(End::NotOffered(start));
    }
    let flexible = PRODUCE_REQUEST.is_flexible(version);
    let frame = &request[4..];
    let body = frame::request_body(frame, flexible).map_err(End::Request)?;
    let (mut acks, mut fields) = (1, Vec::new());
    let walked = PRODUCE_REQUEST.walk(frame, body, version, &mut |met| match met {
        Met { role: Role::Acks, value: Value::Int(value), .. } => acks = value,
        Met { role: Role::Records, field, value: Value::Bytes(content) } => {
            fields.push((field, content));
        }
        _ => {}
    });
    walked.map_err(End::Request)?;
    let rebuilt = if shared.settings.rewrite.produce {
        translate(request, &fields, flexible, translator, shared)
    } else {
        None
    };
    Ok(Produced { answered: acks != 0, rebuilt })
}

/// Translates the RECORDS fields of a frame whose size stands in front. Gives the frame anew where
/// one of them changed size, otherwise it was patched in place.
pub(crate) fn translate(
    sized: &mut BytesMut,
    fields: &[(Range<usize>, Range<usize>)],
    flexible: bool,
    translator: &mut Translator,
    shared: &Shared,
) -> Option<Vec<u8>> {
    // One map from the frame's start to its end, even if it is replaced meanwhile.
    let map = shared.maps.current();
    let mut tally = Tally::default();
    let mut edits = Vec::new();
    for (field, content) in fields {
        let records = &mut sized[4 + content.start..4 + content.end];
        if let Some(changed) = translator.records(records, &map, &mut tally) {
            let bytes = frame::bytes_field(&changed, flexible);
            edits.push(Edit { range: 4 + field.start..4 + field.end, bytes });
        }
    }
    count(&tally, shared);
    (!edits.is_empty()).then(|| resize(frame::splice(sized, &edits)))
}

/// Writes the frame's size anew.
pub(crate) fn resize(mut sized: Vec<u8>) -> Vec<u8> {
    let size = (sized.len() - 4) as i32;
    sized[..4].copy_from_slice(&size.to_be_bytes());
    sized
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
        tracing::warn!("a record batch passes as it is: {why}");
    }
}

/// SASL before Kafka 1.0: after SaslHandshake 0 come bare tokens, without a request header.
enum Tokens {
    NotDue,
    Due,
}

impl Tokens {
    fn note(&mut self, start: RequestStart) {
        if start.api_key == apis::SASL_HANDSHAKE && start.api_version == 0 {
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
