use kafka_protocol::ResponseError;

use crate::Address;

/// Why a cluster did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A broker could not be reached, or the connection broke.
    #[error("broker {address}: {why}")]
    Connection {
        /// The broker.
        address: Address,
        /// The operating system's or our own word.
        why: String,
    },
    /// A broker refused our credentials, or we its certificate.
    #[error("broker {address} and we do not trust each other: {why}")]
    Security {
        /// The broker.
        address: Address,
        /// Whose word it is, and which.
        why: String,
    },
    /// None of the bootstrap servers could be reached.
    #[error("no bootstrap server can be reached: {}", reasons.join("; "))]
    Bootstrap {
        /// One reason for each.
        reasons: Vec<String>,
    },
    /// A broker answered with an error code.
    #[error("{what}: {code} ({api})")]
    Broker {
        /// The API.
        api: &'static str,
        /// Topic, partition or other object.
        what: String,
        /// The code.
        code: ResponseError,
    },
    /// A broker and this program share no version of an API.
    #[error("broker {address} does not offer {api} in a version known here ({min} to {max})")]
    Version {
        /// The broker.
        address: Address,
        /// The API.
        api: &'static str,
        /// Lowest version known here.
        min: i16,
        /// Highest version known here.
        max: i16,
    },
    /// A broker sent bytes that are no answer.
    #[error("broker {address} sent a malformed {api} response: {why}")]
    Malformed {
        /// The broker.
        address: Address,
        /// The API.
        api: &'static str,
        /// What does not fit.
        why: String,
    },
    /// Someone else writes to the partition.
    #[error(
        "{topic}-{partition} ends at offset {found} where {expected} was due: \
         something else writes to it. Stop it, delete the topic and restore again"
    )]
    NotAlone {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where it ends.
        found: i64,
        /// Where it would end if only we wrote.
        expected: i64,
    },
    /// A batch of our own can't be sent.
    #[error("{topic}-{partition}: a record batch can't be sent: {why}")]
    Unreadable {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What does not fit.
        why: String,
    },
    /// A partition has no leader, or the topic is gone.
    #[error("{topic}-{partition} has no leader")]
    NoLeader {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
}

impl Error {
    /// Whether another broker, or the same one a little later, may do it.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::Bootstrap { .. } | Self::NoLeader { .. } => true,
            Self::Broker { code, .. } => code.is_retriable(),
            Self::Version { .. }
            | Self::Malformed { .. }
            | Self::Security { .. }
            | Self::NotAlone { .. }
            | Self::Unreadable { .. } => false,
        }
    }
}

/// The result of asking a cluster.
pub type Result<T> = std::result::Result<T, Error>;
