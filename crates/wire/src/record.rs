//! The records inside a batch of magic 2, walked where they stand.

use std::ops::Range;

use crate::cursor::Cursor;
use crate::{Error, Result};

/// Where one record's parts lie within the decompressed payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The whole record, its length included.
    pub range: Range<usize>,
    /// Time less the batch's base timestamp, ms.
    pub timestamp_delta: i64,
    /// Offset less the batch's base offset.
    pub offset_delta: i32,
    /// The key, `None` for null.
    pub key: Option<Range<usize>>,
    /// The value, `None` for null (a tombstone).
    pub value: Option<Range<usize>>,
    /// How many headers follow.
    pub header_count: i32,
    /// The headers' bytes, up to the record's end.
    pub headers: Range<usize>,
}

impl Record {
    /// The headers as (key, value) ranges, in order, duplicates kept.
    pub fn headers<'a>(&self, payload: &'a [u8]) -> Headers<'a> {
        let cursor = Cursor::starting_at(&payload[..self.headers.end], self.headers.start);
        Headers { cursor, left: self.header_count }
    }
}

/// Walks the records of a decompressed payload.
#[derive(Debug)]
pub struct Records<'a> {
    cursor: Cursor<'a>,
    payload: &'a [u8],
    count: i32,
    left: i32,
}

impl<'a> Records<'a> {
    /// `count` records are expected to fill `payload` exactly.
    pub fn new(payload: &'a [u8], count: i32) -> Self {
        Self { cursor: Cursor::new(payload), payload, count, left: count }
    }

    /// The next record, or `None` after the last one, when no byte is left either.
    #[inline]
    pub fn next_record(&mut self) -> Result<Option<Record>> {
        if self.left <= 0 {
            return match self.cursor.left() {
                0 => Ok(None),
                left => Err(Error::TrailingBytes { left, count: self.count }),
            };
        }
        self.left -= 1;
        let record = Record::read(self.payload, self.cursor.position())?;
        self.cursor = Cursor::starting_at(self.payload, record.range.end);
        Ok(Some(record))
    }
}

impl Record {
    /// Reads the record that starts at `start`.
    #[inline]
    pub fn read(payload: &[u8], start: usize) -> Result<Self> {
        let mut outer = Cursor::starting_at(payload, start);
        let length = length(outer.varint()?, "a record's length")?;
        let body = outer.skip(length, "a record")?;
        let mut cursor = Cursor::starting_at(&payload[..body.end], body.start);
        cursor.i8("a record's attributes")?;
        let timestamp_delta = cursor.varlong()?;
        let offset_delta = cursor.varint()?;
        let key = part(&mut cursor, "a record's key")?;
        let value = part(&mut cursor, "a record's value")?;
        let header_count = cursor.varint()?;
        let headers = cursor.position()..body.end;
        // A header takes two bytes at least, so a larger count can't be true.
        if header_count < 0 || header_count as usize > headers.len() {
            let (what, value) = ("a record's header count", i64::from(header_count));
            return Err(Error::OutOfRange { what, value });
        }
        if header_count == 0 && !headers.is_empty() {
            return Err(Error::TrailingBytes { left: headers.len(), count: 1 });
        }
        let range = start..body.end;
        Ok(Self { range, timestamp_delta, offset_delta, key, value, header_count, headers })
    }
}

/// Walks the headers of one record.
#[derive(Debug)]
pub struct Headers<'a> {
    cursor: Cursor<'a>,
    left: i32,
}

impl Headers<'_> {
    /// The next header's key and value, `None` after the last one.
    pub fn next_header(&mut self) -> Result<Option<(Range<usize>, Option<Range<usize>>)>> {
        if self.left <= 0 {
            return match self.cursor.left() {
                0 => Ok(None),
                left => Err(Error::TrailingBytes { left, count: 1 }),
            };
        }
        self.left -= 1;
        let key_length = length(self.cursor.varint()?, "a header key's length")?;
        let key = self.cursor.skip(key_length, "a header key")?;
        let value = part(&mut self.cursor, "a header value")?;
        Ok(Some((key, value)))
    }
}

/// A nullable byte string: VARINT length, -1 for null.
#[inline]
fn part(cursor: &mut Cursor<'_>, what: &'static str) -> Result<Option<Range<usize>>> {
    match cursor.varint()? {
        -1 => Ok(None),
        stated => Ok(Some(cursor.skip(length(stated, what)?, what)?)),
    }
}

#[inline]
fn length(stated: i32, what: &'static str) -> Result<usize> {
    usize::try_from(stated).map_err(|_| Error::OutOfRange { what, value: i64::from(stated) })
}
