//! ApiVersions: what both the broker and the proxy can do.

use bytes::Bytes;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::{ApiVersion, SupportedFeatureKey};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use wire::frame::{self, RequestStart};
use wire::id_map::{READ_FEATURE, WRITTEN_FEATURE};
use wire::shapes::{API_VERSIONS_RESPONSE, PRODUCE_REQUEST};

use crate::apis;
use crate::connection::End;
use crate::{Fetch, Shared};

/// UNSUPPORTED_VERSION
const UNSUPPORTED_VERSION: i16 = 35;

/// Whether the response to this version of ApiVersions can be read.
pub(crate) fn knows(version: i16) -> bool {
    API_VERSIONS_RESPONSE.knows(version)
}

/// The answer to an ApiVersions request of the future, as KIP-511 wants it: version 0, error 35 and
/// the versions that can be asked for.
pub(crate) fn too_new(start: RequestStart) -> Vec<u8> {
    let (min_version, max_version) = API_VERSIONS_RESPONSE.versions;
    let range = ApiVersion::default()
        .with_api_key(apis::API_VERSIONS)
        .with_min_version(min_version)
        .with_max_version(max_version);
    let response = ApiVersionsResponse::default()
        .with_error_code(UNSUPPORTED_VERSION)
        .with_api_keys(vec![range]);
    sized(start, &response, 0).expect("version 0 of a message of our own can be written")
}

/// Features are written from this version on.
const FEATURES_SINCE: i16 = 3;

/// Shows the proxy beside the broker's features; an error where another proxy does the same.
fn show(response: &mut ApiVersionsResponse, shared: &Shared) -> Result<(), End> {
    let rewrite = &shared.settings.rewrite;
    let fingerprint = shared.maps.current().fingerprint;
    for (name, is_on) in
        [(WRITTEN_FEATURE, rewrite.produce), (READ_FEATURE, rewrite.fetch != Fetch::Off)]
    {
        if !is_on {
            continue;
        }
        if response.supported_features.iter().any(|it| it.name.starts_with(name)) {
            return Err(End::TwoProxies);
        }
        let name = StrBytes::from_string(format!("{name}{fingerprint:08x}"));
        let feature = SupportedFeatureKey::default();
        response
            .supported_features
            .push(feature.with_name(name).with_min_version(1).with_max_version(1));
    }
    Ok(())
}

/// The broker's answer, less what the proxy can't read, and with the proxy's own features.
pub(crate) fn cap(
    sized_response: &[u8],
    of: RequestStart,
    shared: &Shared,
) -> Result<Vec<u8>, End> {
    // This response's header has no tags in any version (KIP-511), so the body is the fifth byte.
    let body = sized_response.get(8..).unwrap_or_default();
    let refused = body.first_chunk() == Some(&UNSUPPORTED_VERSION.to_be_bytes());
    // A broker that does not know the version answers in version 0.
    let version = if refused { 0 } else { of.api_version };
    let malformed = |why: String| End::Response { of, why };
    API_VERSIONS_RESPONSE.check(body, 0, version).map_err(|why| malformed(why.to_string()))?;
    let mut response = ApiVersionsResponse::decode(&mut Bytes::copy_from_slice(body), version)
        .map_err(|why| malformed(why.to_string()))?;
    response.api_keys.retain_mut(|api| {
        if let Some(highest) = highest(api.api_key) {
            api.max_version = api.max_version.min(highest);
        }
        // The lowest version stays what the broker says, even where the proxy refuses it: some
        // librdkafka versions take a higher one for a broker without compression (KAFKA-18659).
        api.api_key <= apis::HIGHEST_KNOWN && api.min_version <= api.max_version
    });
    if version >= FEATURES_SINCE {
        show(&mut response, shared)?;
    }
    sized(of, &response, version).map_err(malformed)
}

/// The highest version that can be offered of an API that is read.
fn highest(api_key: i16) -> Option<i16> {
    let response = apis::response(api_key).map(|it| it.versions.1);
    match api_key {
        apis::PRODUCE => response.map(|it| it.min(PRODUCE_REQUEST.versions.1)),
        apis::API_VERSIONS => Some(API_VERSIONS_RESPONSE.versions.1),
        _ => response,
    }
}

fn sized(
    of: RequestStart,
    response: &ApiVersionsResponse,
    version: i16,
) -> Result<Vec<u8>, String> {
    let mut out = vec![0; 4];
    out.extend_from_slice(&of.correlation_id.to_be_bytes());
    response.encode(&mut out, version).map_err(|why| why.to_string())?;
    Ok(frame::resized(out))
}
