//! What topics are called that clients name by their ids.

use std::collections::BTreeSet;
use std::sync::Arc;

use dashmap::DashMap;
use wire::frame::{self, RequestStart};
use wire::message::{Message, Met, Role, Value};
use wire::shapes::METADATA_RESPONSE;
use wire::varint;

use crate::apis;

/// Names of topics by their ids (KIP-516), as Metadata responses told them.
#[derive(Debug, Default)]
pub(crate) struct TopicNames {
    by_id: DashMap<[u8; 16], Arc<str>>,
}

impl TopicNames {
    pub(crate) fn of(&self, id: &[u8]) -> Option<Arc<str>> {
        let id: [u8; 16] = id.try_into().ok()?;
        self.by_id.get(&id).map(|it| Arc::clone(&it))
    }

    /// Reads a Metadata response.
    pub(crate) fn learn(&self, response: &[u8], of: RequestStart) -> Result<(), wire::Error> {
        let flexible = METADATA_RESPONSE.is_flexible(of.api_version);
        let body = frame::response_body(response, flexible)?;
        let mut name = None;
        METADATA_RESPONSE.walk(response, body, of.api_version, &mut |met| match met {
            Met { role: Role::Topic, value, .. } => {
                name = match value {
                    Value::Bytes(range) => std::str::from_utf8(&response[range]).ok(),
                    _ => None,
                };
            }
            Met { role: Role::TopicId, value: Value::Bytes(range), .. } => {
                if let (Some(name), Ok(id)) = (name, response[range].try_into()) {
                    // A topic that is made anew has another id; the old one leads nowhere.
                    self.by_id.insert(id, name.into());
                }
            }
            _ => {}
        })
    }

    /// The topics in a request that it names by ids which are not known here.
    pub(crate) fn unknown(
        &self,
        request: &[u8],
        of: RequestStart,
        message: &Message,
    ) -> wire::Result<BTreeSet<[u8; 16]>> {
        let body = frame::request_body(request, message.is_flexible(of.api_version))?;
        let mut unknown = BTreeSet::new();
        message.walk(request, body, of.api_version, &mut |met| {
            if let Met { role: Role::TopicId, value: Value::Bytes(id), .. } = met
                && let Ok(named) = <[u8; 16]>::try_from(&request[id])
                && named != [0; 16]
                && !self.by_id.contains_key(&named)
            {
                unknown.insert(named);
            }
        })?;
        Ok(unknown)
    }
}

/// The first version of Metadata that takes ids (KIP-516).
const BY_ID: i16 = 12;

/// What asks a broker for the names of these topics.
pub(crate) fn question(ids: &BTreeSet<[u8; 16]>) -> (RequestStart, Vec<u8>) {
    let start = RequestStart { api_key: apis::METADATA, api_version: BY_ID, correlation_id: 0 };
    let mut out = vec![0; 4];
    out.extend(start.api_key.to_be_bytes());
    out.extend(start.api_version.to_be_bytes());
    out.extend(start.correlation_id.to_be_bytes());
    // No client id, no tags.
    out.extend([0xff, 0xff, 0]);
    varint::write_u32(&mut out, ids.len() as u32 + 1);
    for id in ids {
        out.extend(id);
        // No name, no tags.
        out.extend([0, 0]);
    }
    // Create no topics, leave out what may be done with them; no tags.
    out.extend([0, 0, 0]);
    (start, frame::resized(out))
}
