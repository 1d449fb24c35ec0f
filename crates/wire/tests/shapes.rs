//! The tables against messages that the `kafka-protocol` crate encodes, in every version of both.

use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, NodeEndpoint, PartitionData,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, FetchResponse, FindCoordinatorResponse, MetadataResponse, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use proptest::prelude::*;
use wire::message::{Message, Met, Role, Value};
use wire::shapes;

fn met(message: &Message, bytes: &[u8], version: i16) -> Vec<(Role, String)> {
    let mut all = Vec::new();
    message
        .walk(bytes, 0, version, &mut |Met { role, value, .. }| {
            all.push(match value {
                Value::Int(int) => (role, int.to_string()),
                Value::Bytes(range) => (role, String::from_utf8_lossy(&bytes[range]).into_owned()),
                Value::Null => (role, "null".to_owned()),
            });
        })
        .unwrap_or_else(|error| panic!("{} {version}: {error}", message.name));
    all
}

fn encoded(message: &impl Encodable, version: i16) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out, version).unwrap();
    out
}

fn text(all: &[(Role, String)], role: Role) -> Vec<&str> {
    all.iter().filter(|(it, _)| *it == role).map(|(_, text)| text.as_str()).collect()
}

#[test]
fn produce_requests() {
    for version in 3..=13 {
        let mut topic = TopicProduceData::default().with_partition_data(vec![
            PartitionProduceData::default().with_index(7).with_records(Some("batch".into())),
            PartitionProduceData::default().with_index(8).with_records(None),
        ]);
        if version < 13 {
            topic = topic.with_name(TopicName(StrBytes::from_static_str("orders")));
        }
        let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic]);
        let all = met(&shapes::PRODUCE_REQUEST, &encoded(&request, version), version);
        assert_eq!(text(&all, Role::Acks), ["-1"]);
        assert_eq!(text(&all, Role::Partition), ["7", "8"]);
        assert_eq!(text(&all, Role::Records), ["batch", "null"]);
        assert_eq!(text(&all, Role::Topic).len(), usize::from(version < 13));
    }
}

#[test]
fn fetch_responses() {
    for version in 4..=18 {
        let mut topic = FetchableTopicResponse::default().with_partitions(vec![
            PartitionData::default()
                .with_partition_index(3)
                .with_high_watermark(40)
                .with_aborted_transactions(Some(vec![
                    AbortedTransaction::default().with_producer_id(9.into()).with_first_offset(11),
                ]))
                .with_records(Some("batch".into())),
        ]);
        if version < 13 {
            topic = topic.with_topic(TopicName(StrBytes::from_static_str("orders")));
        }
        let mut response = FetchResponse::default().with_responses(vec![topic]);
        if version >= 16 {
            response.node_endpoints = vec![
                NodeEndpoint::default()
                    .with_node_id(BrokerId(2))
                    .with_host(StrBytes::from_static_str("kafka-2"))
                    .with_port(9092),
            ];
        }
        let all = met(&shapes::FETCH_RESPONSE, &encoded(&response, version), version);
        assert_eq!(text(&all, Role::HighWatermark), ["40"]);
        assert_eq!(text(&all, Role::AbortedFirstOffset), ["11"]);
        assert_eq!(text(&all, Role::Records), ["batch"]);
        let hosts: &[&str] = if version >= 16 { &["kafka-2"] } else { &[] };
        assert_eq!(text(&all, Role::Host), hosts);
    }
}

#[test]
fn metadata_and_coordinator_responses() {
    for version in 0..=13 {
        let broker = MetadataResponseBroker::default()
            .with_node_id(BrokerId(5))
            .with_host(StrBytes::from_static_str("kafka-5"))
            .with_port(9095);
        let partition = MetadataResponsePartition::default()
            .with_replica_nodes(vec![BrokerId(5), BrokerId(6)])
            .with_isr_nodes(vec![BrokerId(5)]);
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str("orders"))))
            .with_partitions(vec![partition]);
        let response =
            MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]);
        let all = met(&shapes::METADATA_RESPONSE, &encoded(&response, version), version);
        assert_eq!(text(&all, Role::NodeId), ["5"]);
        assert_eq!(text(&all, Role::Host), ["kafka-5"]);
        assert_eq!(text(&all, Role::Port), ["9095"]);
        assert_eq!(text(&all, Role::Topic), ["orders"]);
    }
    for version in 0..=3 {
        let response = FindCoordinatorResponse::default()
            .with_node_id(BrokerId(5))
            .with_host(StrBytes::from_static_str("kafka-5"))
            .with_port(9095);
        let all = met(&shapes::FIND_COORDINATOR_RESPONSE, &encoded(&response, version), version);
        assert_eq!(text(&all, Role::Host), ["kafka-5"], "version {version}");
    }
}

/// kafka-protocol 0.18 aborts the process on each of these; see docs/dependencies.md.
#[test]
fn huge_counts_in_tiny_messages_are_errors() {
    let huge = [0x7f, 0xff, 0xff, 0xff];
    assert!(shapes::METADATA_RESPONSE.check(&huge, 0, 1).is_err());
    let mut produce = vec![0xff, 0xff, 0, 1, 0, 0, 0, 0];
    produce.extend(huge);
    assert!(shapes::PRODUCE_REQUEST.check(&produce, 0, 3).is_err());
    let compact = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(shapes::METADATA_RESPONSE.check(&compact, 0, 9).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..4], 0..300),
        version in 0_i16..20,
    ) {
        for message in shapes::ALL {
            let _ = message.check(&bytes, 0, version);
        }
    }
}
