//! Talking to a Kafka cluster: connections, versions, metadata, raw fetch and produce, admin calls.
//!
//! Requests are encoded and small answers decoded by `kafka-protocol`; every answer is first checked
//! by [`wire::message`], because a generated decoder reserves memory by the counts it reads.
//! Record batches are never decoded: they come and go as bytes.

mod address;
mod appender;
mod call;
mod cluster;
mod connection;
mod error;
mod groups;
pub mod login;
mod partition;
mod patience;
pub mod security;
mod session;

pub use address::Address;
pub use appender::Appender;
pub use call::Call;
pub use cluster::{Cluster, Created, Metadata, NewTopic, TopicMetadata};
pub use connection::Connection;
pub use error::{Error, Result};
pub use groups::{Committed, Group, Offsets};
pub use kafka_protocol::ResponseError;
pub use partition::{Aborted, FetchLimits, Fetched, Isolation, PartitionClient};
pub use security::{Sasl, Security};
pub use session::Session;
