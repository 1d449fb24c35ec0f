//! Broker addresses in responses, replaced by the ports here.

use std::ops::Range;
use std::sync::Arc;

use kafka::Address;
use wire::frame::{self, Edit, RequestStart};
use wire::message::{Message, Met, Role, Value};
use wire::varint;

use crate::connection::End;
use crate::{Shared, brokers};

/// DescribeCluster lists controllers on request (KIP-919); those are not on our ports.
const CONTROLLERS: i64 = 2;

/// The frame with our addresses in it, or `None` where it has none.
pub(crate) fn rewrite(
    sized: &[u8],
    of: RequestStart,
    message: &Message,
    shared: &Arc<Shared>,
) -> Result<Option<Vec<u8>>, End> {
    let found =
        find(&sized[4..], of, message).map_err(|why| End::Response { of, why: why.to_string() })?;
    let flexible = message.is_flexible(of.api_version);
    let mut edits = Vec::new();
    for endpoint in found.endpoints {
        let address = endpoint.address;
        let Some(here) = brokers::local(shared, endpoint.node, &address) else {
            // The broker's own address would lead around the proxy.
            let why = format!("there is no way here to broker {}", endpoint.node);
            return Err(End::Response { of, why });
        };
        let host = frame::text_field(&here.host, flexible);
        edits.push(Edit { range: endpoint.host, bytes: host });
        let port = i32::from(here.port).to_be_bytes().to_vec();
        edits.push(Edit { range: endpoint.port, bytes: port });
    }
    // A tagged field tells its size, which has grown with the hosts in it.
    for tag in found.tags {
        let inside = edits.iter().filter(|it| tag.content.contains(&it.range.start));
        let growth: isize = inside.map(Edit::growth).sum();
        if growth != 0 {
            let mut bytes = Vec::new();
            let size = tag.content.len().saturating_add_signed(growth);
            varint::write_u32(&mut bytes, size as u32);
            edits.push(Edit { range: tag.size, bytes });
        }
    }
    if edits.is_empty() {
        return Ok(None);
    }
    edits.sort_by_key(|it| it.range.start);
    for edit in &mut edits {
        edit.range = edit.range.start + 4..edit.range.end + 4;
    }
    Ok(Some(frame::resized(frame::splice(sized, &edits))))
}

#[derive(Default)]
struct Found {
    endpoints: Vec<Endpoint>,
    tags: Vec<Tag>,
}

struct Endpoint {
    node: i32,
    address: Address,
    /// The whole host field and the whole port field.
    host: Range<usize>,
    port: Range<usize>,
}

struct Tag {
    size: Range<usize>,
    content: Range<usize>,
}

fn find(frame: &[u8], of: RequestStart, message: &Message) -> wire::Result<Found> {
    let flexible = message.is_flexible(of.api_version);
    let body = frame::response_body(frame, flexible)?;
    let mut found = Found::default();
    let (mut node, mut host, mut brokers) = (-1, None, true);
    message.walk(frame, body, of.api_version, &mut |met| match met {
        Met { role: Role::EndpointType, value: Value::Int(kind), .. } => {
            brokers = kind != CONTROLLERS;
        }
        Met { role: Role::NodeId, value: Value::Int(id), .. } => node = id,
        Met { role: Role::Host, field, value: Value::Bytes(text) } => host = Some((field, text)),
        Met { role: Role::Port, field, value: Value::Int(port) } => {
            // Node -1 with an empty host is how a coordinator that is not found looks.
            let node = i32::try_from(node).ok().filter(|&node| node >= 0 && brokers);
            let port = u16::try_from(port).ok().map(|port| (field, port));
            if let (Some(node), Some((host, text)), Some((port_field, port))) =
                (node, host.take().filter(|(_, text)| !text.is_empty()), port)
            {
                let text = String::from_utf8_lossy(&frame[text]).into_owned();
                let address = Address { host: text, port };
                found.endpoints.push(Endpoint { node, address, host, port: port_field });
            }
        }
        Met { role: Role::TagSize, field, value: Value::Bytes(content) } => {
            found.tags.push(Tag { size: field, content });
        }
        _ => {}
    })?;
    Ok(found)
}
