//! Talking to a Kafka cluster: connections, metadata, raw fetch and produce, admin calls.
