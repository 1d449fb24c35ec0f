//! Record batches of magic 2 (Kafka 0.11 and later), and how a RECORDS field is cut into them.

use crate::codec::Codec;
use crate::{Error, Result};

/// Bytes from the start of a batch to its first record.
pub const HEADER: usize = 61;
/// Bytes before those that `batchLength` counts: base offset and the length itself.
pub const PREFIX: usize = 12;
/// First byte that the CRC covers; base offset, length, leader epoch and magic lie before it.
pub const CRC_FROM: usize = 21;

/// Byte positions of the header's fields.
pub mod at {
    /// `baseOffset`, INT64.
    pub const BASE_OFFSET: usize = 0;
    /// `batchLength`, INT32.
    pub const LENGTH: usize = 8;
    /// `partitionLeaderEpoch`, INT32.
    pub const LEADER_EPOCH: usize = 12;
    /// `magic`, INT8.
    pub const MAGIC: usize = 16;
    /// `crc`, UINT32.
    pub const CRC: usize = 17;
    /// `attributes`, INT16.
    pub const ATTRIBUTES: usize = 21;
    /// `lastOffsetDelta`, INT32.
    pub const LAST_OFFSET_DELTA: usize = 23;
    /// `baseTimestamp`, INT64.
    pub const BASE_TIMESTAMP: usize = 27;
    /// `maxTimestamp`, INT64.
    pub const MAX_TIMESTAMP: usize = 35;
    /// `producerId`, INT64.
    pub const PRODUCER_ID: usize = 43;
    /// `producerEpoch`, INT16.
    pub const PRODUCER_EPOCH: usize = 51;
    /// `baseSequence`, INT32.
    pub const BASE_SEQUENCE: usize = 53;
    /// `recordsCount`, INT32.
    pub const COUNT: usize = 57;
}

/// Attribute bit 3: the broker set the timestamps (`message.timestamp.type=LogAppendTime`).
pub const LOG_APPEND_TIME: i16 = 1 << 3;
/// Attribute bit 4: part of a transaction.
pub const TRANSACTIONAL: i16 = 1 << 4;
/// Attribute bit 5: a control batch (KIP-98): its record is a marker, not data.
pub const CONTROL: i16 = 1 << 5;

/// The header of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Offset of the first record, or where it was before compaction.
    pub base_offset: i64,
    /// CRC-32C from the attributes to the end, as stored.
    pub crc: u32,
    /// Codec, timestamp type, transactional and control bits.
    pub attributes: i16,
    /// Offset of the last record less `base_offset`; compaction keeps it.
    pub last_offset_delta: i32,
    /// Time of the first record in ms since 1970, or the delete horizon (bit 6).
    pub base_timestamp: i64,
    /// Largest time in ms since 1970.
    pub max_timestamp: i64,
    /// Idempotent producer, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// Records in the batch; compaction may leave none (KAFKA-5020).
    pub count: i32,
}

impl Header {
    /// The codec of the records.
    pub fn codec(&self) -> Result<Codec> {
        Codec::from_attributes(self.attributes)
    }

    /// Whether the batch holds a transaction marker rather than data.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether the broker set the times.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }
}

/// One whole batch: header and records, exactly as they stand in a log.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The header's fields.
    pub header: Header,
    /// All bytes, from the base offset on.
    pub bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads the header of a whole batch. The CRC is not checked.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let Some(head) = bytes.first_chunk::<HEADER>() else {
            return Err(Error::Truncated {
                what: "a record batch header",
                needed: HEADER as u64,
                left: bytes.len() as u64,
            });
        };
        if head[at::MAGIC] != 2 {
            return Err(Error::Magic(head[at::MAGIC] as i8));
        }
        let header = Header {
            base_offset: i64::from_be_bytes(field(head, at::BASE_OFFSET)),
            crc: u32::from_be_bytes(field(head, at::CRC)),
            attributes: i16::from_be_bytes(field(head, at::ATTRIBUTES)),
            last_offset_delta: i32::from_be_bytes(field(head, at::LAST_OFFSET_DELTA)),
            base_timestamp: i64::from_be_bytes(field(head, at::BASE_TIMESTAMP)),
            max_timestamp: i64::from_be_bytes(field(head, at::MAX_TIMESTAMP)),
            producer_id: i64::from_be_bytes(field(head, at::PRODUCER_ID)),
            producer_epoch: i16::from_be_bytes(field(head, at::PRODUCER_EPOCH)),
            base_sequence: i32::from_be_bytes(field(head, at::BASE_SEQUENCE)),
            count: i32::from_be_bytes(field(head, at::COUNT)),
        };
        if header.count < 0 {
            let (what, value) = ("the record count", i64::from(header.count));
            return Err(Error::OutOfRange { what, value });
        }
        Ok(Self { header, bytes })
    }

    /// The records, compressed or not.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER..]
    }

    /// Whether the stored CRC is that of the bytes.
    pub fn crc_matches(&self) -> bool {
        crate::crc::crc32c(&self.bytes[CRC_FROM..]) == self.header.crc
    }
}

fn field<const N: usize>(head: &[u8; HEADER], at: usize) -> [u8; N] {
    head[at..at + N].try_into().expect("every field lies within the header")
}

/// One entry of a RECORDS field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A whole entry: a batch of magic 2, or one message of an old message set.
    Whole {
        /// Its bytes within the field.
        start: usize,
        /// One past its last byte.
        end: usize,
        /// 0, 1 or 2.
        magic: i8,
    },
    /// A batch that the broker cut off at the size limit of a Fetch.
    Partial {
        /// Where it starts.
        start: usize,
    },
}

/// Cuts a RECORDS field into its entries. Stops after a partial entry or an error.
#[derive(Debug)]
pub struct Entries<'a> {
    records: &'a [u8],
    at: usize,
}

impl<'a> Entries<'a> {
    /// Starts at the first byte of the field.
    pub fn new(records: &'a [u8]) -> Self {
        Self { records, at: 0 }
    }

    fn next_entry(&mut self) -> Result<Option<Entry>> {
        let start = self.at;
        let rest = &self.records[start..];
        if rest.is_empty() {
            return Ok(None);
        }
        // Old messages and new batches agree on the place of the length and of the magic byte.
        let Some(head) = rest.first_chunk::<{ at::MAGIC + 1 }>() else {
            self.at = self.records.len();
            return Ok(Some(Entry::Partial { start }));
        };
        let length = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        let magic = head[at::MAGIC] as i8;
        let least = match magic {
            2 => HEADER - PREFIX,
            0 => 14,
            1 => 22,
            _ => return Err(Error::Magic(magic)),
        };
        let Some(length) = usize::try_from(length).ok().filter(|&length| length >= least) else {
            let (what, value) = ("a batch's length", i64::from(length));
            return Err(Error::OutOfRange { what, value });
        };
        if length > rest.len() - PREFIX {
            self.at = self.records.len();
            return Ok(Some(Entry::Partial { start }));
        }
        self.at = start + PREFIX + length;
        Ok(Some(Entry::Whole { start, end: self.at, magic }))
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.next_entry().transpose();
        if matches!(entry, Some(Err(_))) {
            self.at = self.records.len();
        }
        entry
    }
}
