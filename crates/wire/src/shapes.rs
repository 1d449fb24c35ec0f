//! The tables of the messages that this project looks into, from Kafka's own JSON definitions
//! (`common/message/*.json` of kafka-clients 4.3). A test compares them with that source.

use crate::message::Kind::{Array, Bytes, Int, Ints, Struct, Text, Uuid};
use crate::message::{Field, Message, Role, Tagged};

/// Never flexible.
const NEVER: i16 = i16::MAX;

const fn other(kind: crate::message::Kind) -> Field {
    Field::other(kind)
}

const fn field(role: Role, kind: crate::message::Kind) -> Field {
    Field::new(role, kind)
}

/// The broker addresses that Produce, Fetch and share responses carry beside their data (KIP-951).
const NODE_ENDPOINTS: &[Field] =
    &[field(Role::NodeId, Int(4)), field(Role::Host, Text), field(Role::Port, Int(4)), other(Text)];

const LEADER: &[Field] = &[other(Int(4)), other(Int(4))];

/// Produce (0) request. Versions 0 to 2 carry message sets and are gone from Kafka 4.
pub static PRODUCE_REQUEST: Message = Message {
    name: "ProduceRequest",
    versions: (3, 13),
    flexible_from: 9,
    fields: &[
        other(Text),
        field(Role::Acks, Int(2)),
        other(Int(4)),
        other(Array(&[
            field(Role::Topic, Text).until(12),
            field(Role::TopicId, Uuid).since(13),
            other(Array(&[field(Role::Partition, Int(4)), field(Role::Records, Bytes)])),
        ])),
    ],
    tagged: &[],
};

/// Produce (0) response.
pub static PRODUCE_RESPONSE: Message = Message {
    name: "ProduceResponse",
    versions: (3, 13),
    flexible_from: 9,
    fields: &[
        other(Array(&[
            field(Role::Topic, Text).until(12),
            field(Role::TopicId, Uuid).since(13),
            other(Array(&[
                field(Role::Partition, Int(4)),
                field(Role::ErrorCode, Int(2)),
                other(Int(8)),
                other(Int(8)),
                other(Int(8)).since(5),
                other(Array(&[other(Int(4)), other(Text)])).since(8),
                field(Role::ErrorMessage, Text).since(8),
            ])),
        ])),
        other(Int(4)),
    ],
    tagged: &[Tagged { tag: 0, since: 10, kind: Array(NODE_ENDPOINTS) }],
};

/// Fetch (1) request.
pub static FETCH_REQUEST: Message = Message {
    name: "FetchRequest",
    versions: (4, 18),
    flexible_from: 12,
    fields: &[
        other(Int(4)).until(14),
        other(Int(4)),
        other(Int(4)),
        other(Int(4)),
        other(Int(1)),
        other(Int(4)).since(7),
        other(Int(4)).since(7),
        other(Array(&[
            field(Role::Topic, Text).until(12),
            field(Role::TopicId, Uuid).since(13),
            other(Array(&[
                other(Int(4)),
                other(Int(4)).since(9),
                other(Int(8)),
                other(Int(4)).since(12),
                other(Int(8)).since(5),
                other(Int(4)),
            ])),
        ])),
        other(Array(&[
            field(Role::Topic, Text).until(12),
            field(Role::TopicId, Uuid).since(13),
            other(Ints(4)),
        ]))
        .since(7),
        other(Text).since(11),
    ],
    tagged: &[],
};

/// ShareFetch (78) request (KIP-932).
pub static SHARE_FETCH_REQUEST: Message = Message {
    name: "ShareFetchRequest",
    versions: (1, 2),
    flexible_from: 0,
    fields: &[
        other(Text),
        other(Text),
        other(Int(4)),
        other(Int(4)),
        other(Int(4)),
        other(Int(4)),
        other(Int(4)),
        other(Int(4)),
        other(Int(1)).since(2),
        other(Int(1)).since(2),
        other(Array(&[
            field(Role::TopicId, Uuid),
            other(Array(&[
                other(Int(4)),
                other(Array(&[other(Int(8)), other(Int(8)), other(Ints(1))])),
            ])),
        ])),
        other(Array(&[field(Role::TopicId, Uuid), other(Ints(4))])),
    ],
    tagged: &[],
};

/// Fetch (1) response.
pub static FETCH_RESPONSE: Message = Message {
    name: "FetchResponse",
    versions: (4, 18),
    flexible_from: 12,
    fields: &[
        other(Int(4)),
        field(Role::ErrorCode, Int(2)).since(7),
        other(Int(4)).since(7),
        other(Array(&[
            field(Role::Topic, Text).until(12),
            field(Role::TopicId, Uuid).since(13),
            other(Array(&[
                field(Role::Partition, Int(4)),
                field(Role::ErrorCode, Int(2)),
                field(Role::HighWatermark, Int(8)),
                field(Role::LastStableOffset, Int(8)),
                field(Role::LogStartOffset, Int(8)).since(5),
                other(Array(&[
                    field(Role::AbortedProducer, Int(8)),
                    field(Role::AbortedFirstOffset, Int(8)),
                ])),
                other(Int(4)).since(11),
                field(Role::Records, Bytes),
            ])),
        ])),
    ],
    tagged: &[Tagged { tag: 0, since: 16, kind: Array(NODE_ENDPOINTS) }],
};

/// Metadata (3) response.
pub static METADATA_RESPONSE: Message = Message {
    name: "MetadataResponse",
    versions: (0, 13),
    flexible_from: 9,
    fields: &[
        other(Int(4)).since(3),
        other(Array(&[
            field(Role::NodeId, Int(4)),
            field(Role::Host, Text),
            field(Role::Port, Int(4)),
            other(Text).since(1),
        ])),
        other(Text).since(2),
        other(Int(4)).since(1),
        other(Array(&[
            other(Int(2)),
            field(Role::Topic, Text),
            field(Role::TopicId, Uuid).since(10),
            other(Int(1)).since(1),
            other(Array(&[
                other(Int(2)),
                other(Int(4)),
                other(Int(4)),
                other(Int(4)).since(7),
                other(Ints(4)),
                other(Ints(4)),
                other(Ints(4)).since(5),
            ])),
            other(Int(4)).since(8),
        ])),
        other(Int(4)).since(8).until(10),
        field(Role::ErrorCode, Int(2)).since(13),
    ],
    tagged: &[],
};

/// FindCoordinator (10) response; version 4 answers for several keys at once (KIP-699).
pub static FIND_COORDINATOR_RESPONSE: Message = Message {
    name: "FindCoordinatorResponse",
    versions: (0, 6),
    flexible_from: 3,
    fields: &[
        other(Int(4)).since(1),
        field(Role::ErrorCode, Int(2)).until(3),
        other(Text).since(1).until(3),
        field(Role::NodeId, Int(4)).until(3),
        field(Role::Host, Text).until(3),
        field(Role::Port, Int(4)).until(3),
        other(Array(&[
            other(Text),
            field(Role::NodeId, Int(4)),
            field(Role::Host, Text),
            field(Role::Port, Int(4)),
            other(Int(2)),
            other(Text),
        ]))
        .since(4),
    ],
    tagged: &[],
};

/// DescribeCluster (60) response.
pub static DESCRIBE_CLUSTER_RESPONSE: Message = Message {
    name: "DescribeClusterResponse",
    versions: (0, 2),
    flexible_from: 0,
    fields: &[
        other(Int(4)),
        field(Role::ErrorCode, Int(2)),
        other(Text),
        field(Role::EndpointType, Int(1)).since(1),
        other(Text),
        other(Int(4)),
        other(Array(&[
            field(Role::NodeId, Int(4)),
            field(Role::Host, Text),
            field(Role::Port, Int(4)),
            other(Text),
            other(Int(1)).since(2),
        ])),
        other(Int(4)),
    ],
    tagged: &[],
};

/// ShareFetch (78) response (KIP-932); its endpoints are a plain field behind the records.
pub static SHARE_FETCH_RESPONSE: Message = Message {
    name: "ShareFetchResponse",
    versions: (1, 2),
    flexible_from: 0,
    fields: &[
        other(Int(4)),
        field(Role::ErrorCode, Int(2)),
        other(Text),
        other(Int(4)),
        other(Array(&[
            field(Role::TopicId, Uuid),
            other(Array(&[
                field(Role::Partition, Int(4)),
                field(Role::ErrorCode, Int(2)),
                other(Text),
                other(Int(2)),
                other(Text),
                other(Struct(LEADER)),
                field(Role::Records, Bytes),
                other(Array(&[other(Int(8)), other(Int(8)), other(Int(2))])),
            ])),
        ])),
        other(Array(NODE_ENDPOINTS)),
    ],
    tagged: &[],
};

/// ShareAcknowledge (79) response (KIP-932).
pub static SHARE_ACKNOWLEDGE_RESPONSE: Message = Message {
    name: "ShareAcknowledgeResponse",
    versions: (1, 2),
    flexible_from: 0,
    fields: &[
        other(Int(4)),
        field(Role::ErrorCode, Int(2)),
        other(Text),
        other(Int(4)).since(2),
        other(Array(&[
            field(Role::TopicId, Uuid),
            other(Array(&[
                field(Role::Partition, Int(4)),
                field(Role::ErrorCode, Int(2)),
                other(Text),
                other(Struct(LEADER)),
            ])),
        ])),
        other(Array(NODE_ENDPOINTS)),
    ],
    tagged: &[],
};

/// ApiVersions (18) response.
pub static API_VERSIONS_RESPONSE: Message = Message {
    name: "ApiVersionsResponse",
    versions: (0, 4),
    flexible_from: 3,
    fields: &[
        field(Role::ErrorCode, Int(2)),
        other(Array(&[other(Int(2)), other(Int(2)), other(Int(2))])),
        other(Int(4)).since(1),
    ],
    tagged: &[
        Tagged { tag: 0, since: 3, kind: Array(&[other(Text), other(Int(2)), other(Int(2))]) },
        Tagged { tag: 2, since: 3, kind: Array(&[other(Text), other(Int(2)), other(Int(2))]) },
    ],
};

/// ListOffsets (2) response.
pub static LIST_OFFSETS_RESPONSE: Message = Message {
    name: "ListOffsetsResponse",
    versions: (1, 11),
    flexible_from: 6,
    fields: &[
        other(Int(4)).since(2),
        other(Array(&[
            field(Role::Topic, Text),
            other(Array(&[
                field(Role::Partition, Int(4)),
                field(Role::ErrorCode, Int(2)),
                other(Int(8)),
                other(Int(8)),
                other(Int(4)).since(4),
            ])),
        ])),
    ],
    tagged: &[],
};

/// CreateTopics (19) response.
pub static CREATE_TOPICS_RESPONSE: Message = Message {
    name: "CreateTopicsResponse",
    versions: (2, 7),
    flexible_from: 5,
    fields: &[
        other(Int(4)),
        other(Array(&[
            field(Role::Topic, Text),
            field(Role::TopicId, Uuid).since(7),
            field(Role::ErrorCode, Int(2)),
            other(Text),
            other(Int(4)).since(5),
            other(Int(2)).since(5),
            other(Array(&[other(Text), other(Text), other(Int(1)), other(Int(1)), other(Int(1))]))
                .since(5),
        ])),
    ],
    tagged: &[],
};

/// DescribeConfigs (32) response.
pub static DESCRIBE_CONFIGS_RESPONSE: Message = Message {
    name: "DescribeConfigsResponse",
    versions: (1, 4),
    flexible_from: 4,
    fields: &[
        other(Int(4)),
        other(Array(&[
            field(Role::ErrorCode, Int(2)),
            other(Text),
            other(Int(1)),
            other(Text),
            other(Array(&[
                other(Text),
                other(Text),
                other(Int(1)),
                other(Int(1)),
                other(Int(1)),
                other(Array(&[other(Text), other(Text), other(Int(1))])),
                other(Int(1)).since(3),
                other(Text).since(3),
            ])),
        ])),
    ],
    tagged: &[],
};

/// IncrementalAlterConfigs (44) response (KIP-339).
pub static INCREMENTAL_ALTER_CONFIGS_RESPONSE: Message = Message {
    name: "IncrementalAlterConfigsResponse",
    versions: (0, 1),
    flexible_from: 1,
    fields: &[
        other(Int(4)),
        other(Array(&[field(Role::ErrorCode, Int(2)), other(Text), other(Int(1)), other(Text)])),
    ],
    tagged: &[],
};

/// SaslHandshake (17) response; never flexible.
pub static SASL_HANDSHAKE_RESPONSE: Message = Message {
    name: "SaslHandshakeResponse",
    versions: (0, 1),
    flexible_from: NEVER,
    fields: &[field(Role::ErrorCode, Int(2)), other(crate::message::Kind::Texts)],
    tagged: &[],
};

/// SaslAuthenticate (36) response.
pub static SASL_AUTHENTICATE_RESPONSE: Message = Message {
    name: "SaslAuthenticateResponse",
    versions: (0, 2),
    flexible_from: 2,
    fields: &[field(Role::ErrorCode, Int(2)), other(Text), other(Bytes), other(Int(8)).since(1)],
    tagged: &[],
};

/// InitProducerId (22) response.
pub static INIT_PRODUCER_ID_RESPONSE: Message = Message {
    name: "InitProducerIdResponse",
    versions: (0, 5),
    flexible_from: 2,
    fields: &[other(Int(4)), field(Role::ErrorCode, Int(2)), other(Int(8)), other(Int(2))],
    tagged: &[],
};

/// ListGroups (16) response.
pub static LIST_GROUPS_RESPONSE: Message = Message {
    name: "ListGroupsResponse",
    versions: (0, 5),
    flexible_from: 3,
    fields: &[
        other(Int(4)).since(1),
        field(Role::ErrorCode, Int(2)),
        other(Array(&[other(Text), other(Text), other(Text).since(4), other(Text).since(5)])),
    ],
    tagged: &[],
};

/// OffsetFetch (9) response; up to version 7 it is of one group.
pub static OFFSET_FETCH_RESPONSE: Message = Message {
    name: "OffsetFetchResponse",
    versions: (2, 7),
    flexible_from: 6,
    fields: &[
        other(Int(4)).since(3),
        other(Array(&[
            field(Role::Topic, Text),
            other(Array(&[
                field(Role::Partition, Int(4)),
                other(Int(8)),
                other(Int(4)).since(5),
                other(Text),
                field(Role::ErrorCode, Int(2)),
            ])),
        ])),
        field(Role::ErrorCode, Int(2)),
    ],
    tagged: &[],
};

const OFFSET_ERRORS: &[Field] = &[
    field(Role::Topic, Text),
    other(Array(&[field(Role::Partition, Int(4)), field(Role::ErrorCode, Int(2))])),
];

/// OffsetCommit (8) response.
pub static OFFSET_COMMIT_RESPONSE: Message = Message {
    name: "OffsetCommitResponse",
    versions: (2, 9),
    flexible_from: 8,
    fields: &[other(Int(4)).since(3), other(Array(OFFSET_ERRORS))],
    tagged: &[],
};

/// OffsetDelete (47) response (KIP-496); never flexible.
pub static OFFSET_DELETE_RESPONSE: Message = Message {
    name: "OffsetDeleteResponse",
    versions: (0, 0),
    flexible_from: NEVER,
    fields: &[field(Role::ErrorCode, Int(2)), other(Int(4)), other(Array(OFFSET_ERRORS))],
    tagged: &[],
};

/// Every table, for the tests that compare them with Kafka's definitions.
pub static ALL: &[&Message] = &[
    &PRODUCE_REQUEST,
    &PRODUCE_RESPONSE,
    &FETCH_REQUEST,
    &SHARE_FETCH_REQUEST,
    &FETCH_RESPONSE,
    &METADATA_RESPONSE,
    &FIND_COORDINATOR_RESPONSE,
    &DESCRIBE_CLUSTER_RESPONSE,
    &SHARE_FETCH_RESPONSE,
    &SHARE_ACKNOWLEDGE_RESPONSE,
    &API_VERSIONS_RESPONSE,
    &LIST_OFFSETS_RESPONSE,
    &CREATE_TOPICS_RESPONSE,
    &DESCRIBE_CONFIGS_RESPONSE,
    &INCREMENTAL_ALTER_CONFIGS_RESPONSE,
    &SASL_HANDSHAKE_RESPONSE,
    &SASL_AUTHENTICATE_RESPONSE,
    &INIT_PRODUCER_ID_RESPONSE,
    &LIST_GROUPS_RESPONSE,
    &OFFSET_FETCH_RESPONSE,
    &OFFSET_COMMIT_RESPONSE,
    &OFFSET_DELETE_RESPONSE,
];
