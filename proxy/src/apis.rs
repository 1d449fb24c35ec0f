//! What each API is to the proxy.

use wire::message::Message;
use wire::shapes;

pub(crate) const PRODUCE: i16 = 0;
pub(crate) const FETCH: i16 = 1;
pub(crate) const METADATA: i16 = 3;
pub(crate) const FIND_COORDINATOR: i16 = 10;
pub(crate) const SASL_HANDSHAKE: i16 = 17;
pub(crate) const API_VERSIONS: i16 = 18;
pub(crate) const SASL_AUTHENTICATE: i16 = 36;
pub(crate) const DESCRIBE_CLUSTER: i16 = 60;
pub(crate) const SHARE_FETCH: i16 = 78;
pub(crate) const SHARE_ACKNOWLEDGE: i16 = 79;

/// The highest key of Kafka 4.3. A later one may carry addresses or records, so it is left out of
/// what ApiVersions offers.
pub(crate) const HIGHEST_KNOWN: i16 = 92;

/// The table of a response that carries broker addresses or records; others pass unread.
pub(crate) fn response(api_key: i16) -> Option<&'static Message> {
    Some(match api_key {
        PRODUCE => &shapes::PRODUCE_RESPONSE,
        FETCH => &shapes::FETCH_RESPONSE,
        METADATA => &shapes::METADATA_RESPONSE,
        FIND_COORDINATOR => &shapes::FIND_COORDINATOR_RESPONSE,
        DESCRIBE_CLUSTER => &shapes::DESCRIBE_CLUSTER_RESPONSE,
        SHARE_FETCH => &shapes::SHARE_FETCH_RESPONSE,
        SHARE_ACKNOWLEDGE => &shapes::SHARE_ACKNOWLEDGE_RESPONSE,
        _ => return None,
    })
}

/// First version whose response carries addresses (KIP-951), where earlier ones do not.
pub(crate) fn addresses_since(api_key: i16) -> i16 {
    match api_key {
        PRODUCE => 10,
        FETCH => 16,
        _ => 0,
    }
}
