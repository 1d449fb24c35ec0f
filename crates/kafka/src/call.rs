//! Requests and answers as bytes.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DescribeConfigsRequest, FetchRequest,
    FindCoordinatorRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest,
    ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, ProduceRequest, RequestHeader,
    SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use wire::frame;
use wire::message::Message;
use wire::shapes;

/// A request whose answer can be checked before it is decoded.
pub trait Call: Request {
    /// The answer's table.
    const SHAPE: &'static Message;
}

macro_rules! calls {
    ($($request:ty => $shape:ident),+ $(,)?) => {
        $(impl Call for $request {
            const SHAPE: &'static Message = &shapes::$shape;
        })+
    };
}

calls! {
    ApiVersionsRequest => API_VERSIONS_RESPONSE,
    MetadataRequest => METADATA_RESPONSE,
    ListOffsetsRequest => LIST_OFFSETS_RESPONSE,
    CreateTopicsRequest => CREATE_TOPICS_RESPONSE,
    DescribeConfigsRequest => DESCRIBE_CONFIGS_RESPONSE,
    IncrementalAlterConfigsRequest => INCREMENTAL_ALTER_CONFIGS_RESPONSE,
    FetchRequest => FETCH_RESPONSE,
    ProduceRequest => PRODUCE_RESPONSE,
    InitProducerIdRequest => INIT_PRODUCER_ID_RESPONSE,
    SaslHandshakeRequest => SASL_HANDSHAKE_RESPONSE,
    SaslAuthenticateRequest => SASL_AUTHENTICATE_RESPONSE,
    FindCoordinatorRequest => FIND_COORDINATOR_RESPONSE,
    ListGroupsRequest => LIST_GROUPS_RESPONSE,
    OffsetFetchRequest => OFFSET_FETCH_RESPONSE,
    OffsetCommitRequest => OFFSET_COMMIT_RESPONSE,
    OffsetDeleteRequest => OFFSET_DELETE_RESPONSE,
}

/// How we name ourselves (KIP-511, and `client.id`).
pub(crate) const CLIENT: &str = "kafka-backup";

/// A request's frame, its size included; an error where a value has no place in this version.
pub(crate) fn frame_of<R: Call>(
    request: &R,
    version: i16,
    correlation_id: i32,
) -> Result<BytesMut, String> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT)));
    let mut out = BytesMut::from(&[0; 4][..]);
    header
        .encode(&mut out, R::header_version(version))
        .and_then(|()| request.encode(&mut out, version))
        .map_err(|why| format!("the request can't be written: {why}"))?;
    let size = (out.len() - 4) as i32;
    out[..4].copy_from_slice(&size.to_be_bytes());
    Ok(out)
}

/// Where the body of an answer begins.
pub(crate) fn body_of<R: Call>(frame: &[u8], version: i16) -> Result<usize, String> {
    let flexible = R::Response::header_version(version) > 0;
    frame::response_body(frame, flexible).map_err(|why| why.to_string())
}

/// The answer whose body begins at `body`, once its counts are known to be true.
pub(crate) fn decode<R: Call>(
    frame: &Bytes,
    body: usize,
    version: i16,
) -> Result<R::Response, String> {
    R::SHAPE.check(frame, body, version).map_err(|why| why.to_string())?;
    R::Response::decode(&mut frame.slice(body..), version).map_err(|why| why.to_string())
}
