//! What travels between Kafka clients and brokers, as bytes: the shape of messages, record batches,
//! schema ids and the map that changes them. No I/O, no async, no Kafka client, so that every
//! parser here can be fuzzed alone.
//!
//! Everything that is read comes from a peer and may be hostile. Counts and lengths are checked
//! against the bytes that are there before anything is allocated or skipped; what does not fit is an
//! [`Error`], never a panic.

pub mod batch;
pub mod codec;
pub mod crc;
pub mod cursor;
mod edit;
mod error;
pub mod frame;
pub mod id_map;
pub mod message;
pub mod message_set;
pub mod partitioner;
mod patch;
pub mod rebatch;
pub mod record;
pub mod shapes;
pub mod translate;
pub mod varint;

pub use batch::{Batch, Header};
pub use error::{Error, Result};
pub use id_map::IdMap;
pub use translate::{Tally, Translator};
