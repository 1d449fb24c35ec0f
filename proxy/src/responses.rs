//! From the broker to the client.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use wire::Translator;
use wire::frame::{self, RequestStart};
use wire::message::{Message, Met, Role, Value};

use crate::connection::End;
use crate::pending::{Due, Pending};
use crate::reader::{FrameReader, Head, write};
use crate::requests::translate;
use crate::{Shared, addresses, apis, versions};

/// The correlation id, the first field of every response.
const RESPONSE_START: usize = 4;

pub(crate) async fn forward<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    from: &mut FrameReader<R>,
    to: &mut W,
    pending: &Pending,
    shared: &Arc<Shared>,
) -> Result<(), End> {
    let rewrite = shared.settings.rewrite;
    let mut translator = Translator::new(rewrite.parts, shared.settings.max_decompressed_bytes);
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
        shared.metrics.frames.with_label_values(&["broker"]).inc();
        shared.metrics.bytes.with_label_values(&["broker"]).inc_by(4 + head.size as u64);
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
                respond(of, head, from, to, &mut translator, shared).await?;
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
    head: Head,
    from: &mut FrameReader<R>,
    to: &mut W,
    translator: &mut Translator,
    shared: &Arc<Shared>,
) -> Result<(), End> {
    if of.api_key == apis::API_VERSIONS {
        let response = from.whole(head).await.map_err(End::Broker)?;
        let offered = versions::cap(&response, of)?;
        return write(to, &offered).await.map_err(End::Client);
    }
    let translates = of.api_key == apis::FETCH && shared.settings.rewrite.fetch;
    let addresses = of.api_version >= apis::addresses_since(of.api_key);
    let message = apis::response(of.api_key).filter(|_| translates || addresses);
    let Some(message) = message else {
        return from.pass(head, to).await.map_err(End::Client);
    };
    let mut response = from.whole(head).await.map_err(End::Broker)?;
    if translates
        && let Some(rebuilt) = translate_fetch(&mut response, of, message, translator, shared)?
    {
        response = BytesMut::from(&rebuilt[..]);
    }
    let rewritten = addresses::rewrite(&response, of, message, shared)?;
    write(to, rewritten.as_deref().unwrap_or(&response)).await.map_err(End::Client)
}

fn translate_fetch(
    response: &mut BytesMut,
    of: RequestStart,
    message: &Message,
    translator: &mut Translator,
    shared: &Shared,
) -> Result<Option<Vec<u8>>, End> {
    let flexible = message.is_flexible(of.api_version);
    let malformed = |why: wire::Error| End::Response { of, why: why.to_string() };
    let body = frame::response_body(&response[4..], flexible).map_err(malformed)?;
    let mut fields = Vec::new();
    let walked = message.walk(&response[4..], body, of.api_version, &mut |met| {
        if let Met { role: Role::Records, field, value: Value::Bytes(content) } = met {
            fields.push((field, content));
        }
    });
    walked.map_err(malformed)?;
    Ok(translate(response, &fields, flexible, translator, shared))
}
