/// Why bytes from a peer could not be read. Each variant is something that the peer can cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A field reaches past the end of what was received.
    #[error("{what} needs {needed} bytes where {left} are left")]
    Truncated {
        /// The field or part that was being read.
        what: &'static str,
        /// Bytes that it announced or needs.
        needed: u64,
        /// Bytes that are there.
        left: u64,
    },
    /// A variable-length integer is longer than its type allows.
    #[error("a variable-length integer does not end within {0} bytes")]
    Varint(usize),
    /// A length or count is negative or otherwise outside its range.
    #[error("{what} is {value}, which is out of range")]
    OutOfRange {
        /// The field that was being read.
        what: &'static str,
        /// What it held.
        value: i64,
    },
    /// A record batch of a magic number that Kafka never had.
    #[error("record batch with magic {0}; 0, 1 and 2 exist")]
    Magic(i8),
    /// A batch's CRC-32C is not that of its bytes.
    #[error("its CRC does not match")]
    BatchCrc,
    /// An old message's CRC-32 is not that of its bytes.
    #[error("the CRC of the message at offset {offset} does not match")]
    MessageCrc {
        /// Its offset.
        offset: i64,
    },
    /// Attribute bits name a codec that does not exist.
    #[error("compression codec {0}; 0 (none) to 4 (zstd) exist")]
    Codec(u8),
    /// The records do not end where the batch says.
    #[error("{left} bytes are left after the last of {count} records")]
    TrailingBytes {
        /// Bytes that no record claims.
        left: usize,
        /// Records that the header counts.
        count: i32,
    },
    /// A compressed payload is damaged.
    #[error("the {codec} data can't be decompressed: {why}")]
    Decompress {
        /// The codec's name.
        codec: &'static str,
        /// What its library says.
        why: String,
    },
    /// A compressed payload would grow past the limit (`max.decompressed.message.bytes` in Kafka).
    #[error("decompressed data passes the limit of {limit} bytes")]
    Bomb {
        /// The limit in bytes.
        limit: usize,
    },
    /// The message has no table for this version.
    #[error("{name} version {version} is unknown here ({min} to {max} are known)")]
    Version {
        /// The message's name.
        name: &'static str,
        /// The version asked for.
        version: i16,
        /// Lowest known version.
        min: i16,
        /// Highest known version.
        max: i16,
    },
}

impl Error {
    /// One of few words, for a metric's label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Truncated { .. }
            | Self::Varint(_)
            | Self::OutOfRange { .. }
            | Self::TrailingBytes { .. }
            | Self::Version { .. } => "malformed",
            Self::Magic(_) => "magic",
            Self::BatchCrc | Self::MessageCrc { .. } => "crc",
            Self::Codec(_) => "codec",
            Self::Decompress { .. } => "decompress",
            Self::Bomb { .. } => "too_large",
        }
    }
}

/// The result of reading bytes from a peer.
pub type Result<T> = std::result::Result<T, Error>;
