//! A bounded reader over bytes from a peer.

use std::ops::Range;

use crate::{Error, Result, varint};

/// Reads Kafka's primitive types from the front of a slice and knows where it stands.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Starts at byte `at`, or at the end where that is past it.
    pub fn starting_at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at: at.min(bytes.len()) }
    }

    /// The offset of the next byte.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes not yet read.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Steps over `length` bytes and says where they lie.
    pub fn skip(&mut self, length: usize, what: &'static str) -> Result<Range<usize>> {
        if length > self.left() {
            return Err(Error::Truncated { what, needed: length as u64, left: self.left() as u64 });
        }
        let start = self.at;
        self.at += length;
        Ok(start..self.at)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        let range = self.skip(N, what)?;
        Ok(self.bytes[range].try_into().expect("skip() made the range N bytes long"))
    }

    /// INT8.
    pub fn i8(&mut self, what: &'static str) -> Result<i8> {
        Ok(i8::from_be_bytes(self.array(what)?))
    }

    /// INT16.
    pub fn i16(&mut self, what: &'static str) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array(what)?))
    }

    /// INT32.
    pub fn i32(&mut self, what: &'static str) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array(what)?))
    }

    /// INT64.
    pub fn i64(&mut self, what: &'static str) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array(what)?))
    }

    /// UNSIGNED_VARINT.
    pub fn uvarint(&mut self) -> Result<u32> {
        let (value, length) = varint::read_u32(&self.bytes[self.at..])?;
        self.at += length;
        Ok(value)
    }

    /// VARINT (zigzag).
    pub fn varint(&mut self) -> Result<i32> {
        Ok(varint::unzigzag32(self.uvarint()?))
    }

    /// VARLONG (zigzag).
    pub fn varlong(&mut self) -> Result<i64> {
        let (value, length) = varint::read_u64(&self.bytes[self.at..])?;
        self.at += length;
        Ok(varint::unzigzag64(value))
    }

    /// Steps over the tagged fields that end every flexible structure (KIP-482).
    pub fn skip_tags(&mut self) -> Result<()> {
        let count = self.uvarint()?;
        for _ in 0..count {
            self.uvarint()?;
            let size = self.uvarint()?;
            self.skip(size as usize, "a tagged field")?;
        }
        Ok(())
    }
}
