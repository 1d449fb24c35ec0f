//! From the broker to the client.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use wire::frame::{self, Edit, RequestStart};
use wire::message::{Message, Met, Role, Value};

use crate::connection::End;
use crate::pending::{Due, Pending, Rejection};
use crate::reader::{FrameReader, Head, write};
use crate::rewriter::{Direction, Fields, Rebuilt, Rewriter};
use crate::{Fetch, Reach, Shared, addresses, apis, versions};

/// The correlation id, the first field of every response.
const RESPONSE_START: usize = 4;

pub(crate) async fn forward<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    from: &mut FrameReader<'_, R>,
    to: &mut W,
    pending: &Pending,
    shared: &Arc<Shared>,
) -> Result<(), End> {
    let mut rewriter = Rewriter::new(shared, Direction::Read);
    loop {
        while let Some(answer) = pending.pop_local() {
            write(to, &answer).await.map_err(End::Client)?;
        }
        let head = tokio::select! {
            head = from.head(RESPONSE_START) => head.map_err(End::from_broker)?,
            // It may stand at the front now.
            () = pending.local() => continue,
        };
        let Some(head) = head else { return Ok(()) };
        shared.metrics.from_broker.count(head.size);
        let due = loop {
            match pending.pop() {
                // It was pushed while we waited for the broker, and was due before this answer.
                Some(Due::Local(answer)) => write(to, &answer).await.map_err(End::Client)?,
                Some(due) => break due,
                None => return Err(End::Unasked),
            }
        };
        match due {
            Due::Answer(of) => {
                check_order(of, from.front())?;
                respond(of, &[], head, from, to, &mut rewriter, shared).await?;
            }
            Due::Rejected(of, rejected) => {
                check_order(of, from.front())?;
                respond(of, &rejected, head, from, to, &mut rewriter, shared).await?;
            }
            Due::Own(teller) => {
                let answer = from.whole(head).await.map_err(End::Broker)?;
                // Whoever waits for it lives as long as this connection.
                let _ = teller.send(Bytes::copy_from_slice(&answer[4..]));
            }
            _ => from.pass(head, to).await.map_err(End::Client)?,
        }
    }
}

fn check_order(of: RequestStart, front: &[u8]) -> Result<(), End> {
    let found = front.first_chunk().map(|it| i32::from_be_bytes(*it));
    let (expected, found) = (of.correlation_id, found.unwrap_or_default());
    if found == expected { Ok(()) } else { Err(End::OutOfOrder { expected, found }) }
}

async fn respond<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    of: RequestStart,
    rejected: &[Rejection],
    head: Head,
    from: &mut FrameReader<'_, R>,
    to: &mut W,
    rewriter: &mut Rewriter<'_>,
    shared: &Arc<Shared>,
) -> Result<(), End> {
    if of.api_key == apis::API_VERSIONS {
        let response = from.whole(head).await.map_err(End::Broker)?;
        let offered = versions::cap(response, of, shared)?;
        return write(to, &offered).await.map_err(End::Client);
    }
    let carries_records = matches!(of.api_key, apis::FETCH | apis::SHARE_FETCH);
    let translates = carries_records && shared.settings.rewrite.fetch != Fetch::Off;
    // Redirected clients go to the brokers' own addresses.
    let addresses = of.api_version >= apis::addresses_since(of.api_key)
        && !matches!(shared.settings.reach, Reach::Redirected);
    let tells_topics = of.api_key == apis::METADATA;
    let reads = translates || addresses || tells_topics || !rejected.is_empty();
    let message = apis::response(of.api_key).filter(|_| reads);
    let Some(message) = message else {
        return from.pass(head, to).await.map_err(End::Client);
    };
    let _room = shared.room.take(head.size).await;
    let mut response = from.whole(head).await.map_err(End::Broker)?;
    let whole = Instant::now();
    let mut rebuilt;
    if translates {
        rebuilt = translate_fetch(response, of, message, rewriter).await?;
        response = rebuilt.frame().unwrap_or(response);
    }
    let told;
    let mut response = &*response;
    if !rejected.is_empty() {
        told = tell(response, of, message, rejected).map_err(|why| malformed(of, &why))?;
        response = &told;
    }
    if tells_topics {
        shared.topics.learn(&response[4..], of).map_err(|why| malformed(of, &why))?;
    }
    let rewritten =
        if addresses { addresses::rewrite(response, of, message, shared)? } else { None };
    shared.metrics.added_to_responses.observe(whole.elapsed().as_secs_f64());
    write(to, rewritten.as_deref().unwrap_or(response)).await.map_err(End::Client)
}

fn malformed(of: RequestStart, why: &wire::Error) -> End {
    End::Response { of, why: why.to_string() }
}

async fn translate_fetch(
    response: &mut [u8],
    of: RequestStart,
    message: &Message,
    rewriter: &mut Rewriter<'_>,
) -> Result<Rebuilt, End> {
    let flexible = message.is_flexible(of.api_version);
    let body = frame::response_body(&response[4..], flexible).map_err(|why| malformed(of, &why))?;
    let mut fields = Fields::default();
    let walked = message.walk(&response[4..], body, of.api_version, &mut |met| fields.meet(met));
    walked.map_err(|why| malformed(of, &why))?;
    Ok(rewriter.rewrite(response, &fields, flexible).await?.rebuilt)
}

/// INVALID_RECORD
const INVALID_RECORD: i16 = 87;

/// Says that we kept partitions back, and why, in the broker's error message for them (KIP-467). Before
/// version 8 there is none, and the client has the error code alone. Kafka gives that code itself to a
/// partition without a batch; other brokers may not.
fn tell(
    sized: &[u8],
    of: RequestStart,
    message: &Message,
    rejected: &[Rejection],
) -> wire::Result<Vec<u8>> {
    let flexible = message.is_flexible(of.api_version);
    let response = &sized[4..];
    let body = frame::response_body(response, flexible)?;
    let (mut topic, mut partition) = (0..0, 0);
    let mut edits = Vec::new();
    message.walk(response, body, of.api_version, &mut |met| match met {
        Met { role: Role::Topic | Role::TopicId, value: Value::Bytes(at), .. } => topic = at,
        Met { role: Role::Partition, value: Value::Int(number), .. } => partition = number as i32,
        Met { role: role @ (Role::ErrorCode | Role::ErrorMessage), field, .. } => {
            let ours = rejected
                .iter()
                .find(|it| it.partition == partition && it.topic == response[topic.clone()]);
            edits.extend(ours.map(|it| Edit {
                range: 4 + field.start..4 + field.end,
                bytes: match role {
                    Role::ErrorCode => INVALID_RECORD.to_be_bytes().to_vec(),
                    _ => frame::text_field(&it.message, flexible),
                },
            }));
        }
        _ => {}
    })?;
    Ok(frame::resized(frame::splice(sized, &edits)))
}
