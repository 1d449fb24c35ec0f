//! Message sets of magic 0 and 1, which Kafka wrote before 0.11 and brokers still serve where such
//! segments lie on disk: made into record batches, or with other schema ids.

use std::ops::Range;

use crate::batch::{Entries, Entry, HEADER, LOG_APPEND_TIME, at};
use crate::codec::{self, Codec, Codecs};
use crate::translate::{Part, Parts, prefix, repack};
use crate::{Error, Result, varint};

/// Where a message's size, CRC, attributes and what follows them lie.
const SIZE: usize = 8;
const CRC: usize = 12;
const MAGIC: usize = 16;
const ATTRIBUTES: usize = 17;
const TIMESTAMP: usize = 18;
/// A message without a time.
const NO_TIMESTAMP: i64 = -1;

/// One record batch with the records of whole old messages, at their offsets and with their codec.
///
/// Messages of magic 0 have no time, which is -1. Every CRC is checked.
pub fn upgrade(messages: &[u8], decompressed_limit: usize) -> Result<Vec<u8>> {
    let mut found = Found::default();
    for entry in Entries::new(messages) {
        match entry? {
            Entry::Whole { start, end, magic: 0 | 1 } => {
                found.message(&messages[start..end], decompressed_limit)?;
            }
            Entry::Whole { magic, .. } => return Err(Error::Magic(magic)),
            Entry::Partial { .. } => return Err(truncated("a message", messages.len())),
        }
    }
    found.batch()
}

/// Which ids of a message are looked at, and what becomes of each: `None` leaves it as it is.
pub(crate) struct Replace<'a> {
    pub(crate) parts: Parts,
    /// The side, where it lies within the message, and the id.
    pub(crate) id: &'a mut dyn FnMut(Part, usize, u32) -> Option<u32>,
}

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Replaced {
    /// It is as it was, or was changed where it stands.
    InPlace,
    /// It was compressed, and the new one may have another size.
    Anew(Vec<u8>),
}

/// Replaces the ids in one message, or in those within it where it is compressed; gives how many
/// messages that were. Every CRC is checked before anything is changed.
pub(crate) fn replace(
    bytes: &mut [u8],
    decompressed_limit: usize,
    with: &mut Replace<'_>,
) -> Result<(u64, Replaced)> {
    let message = Message::parse(bytes)?;
    let codec = Codec::from_attributes(message.attributes)?;
    if codec == Codec::None {
        let sides = message.sides();
        patch(bytes, &sides, with);
        return Ok((1, Replaced::InPlace));
    }
    let mut inner = message.content(codec, decompressed_limit)?;
    let mut within = Vec::new();
    for entry in Entries::new(&inner) {
        let range = whole(entry?, &inner)?;
        let message = Message::within(&inner[range.clone()])?;
        within.push((range, message.sides()));
    }
    let mut changed = false;
    for (range, sides) in &within {
        changed |= patch(&mut inner[range.clone()], sides, with);
    }
    let count = within.len() as u64;
    if !changed {
        return Ok((count, Replaced::InPlace));
    }
    let [_, (_, value)] = message.sides();
    let mut packed = Vec::new();
    codec::compress(codec, &inner, message.value.unwrap_or_default(), &mut packed);
    if codec == Codec::Lz4 && message.magic == 0 {
        sum_frame(&mut packed, LZ4_MAGIC);
    }
    let mut out = bytes[..value.start].to_vec();
    out[value.start - 4..].copy_from_slice(&(packed.len() as i32).to_be_bytes());
    out.extend_from_slice(&packed);
    let size = (out.len() - CRC) as i32;
    out[SIZE..CRC].copy_from_slice(&size.to_be_bytes());
    seal(&mut out);
    Ok((count, Replaced::Anew(out)))
}

/// Replaces the ids on these sides of an uncompressed message whose CRC was right.
fn patch(bytes: &mut [u8], sides: &[(Part, Range<usize>); 2], with: &mut Replace<'_>) -> bool {
    let mut changed = false;
    for (part, range) in sides {
        let wanted = if *part == Part::Key { with.parts.keys } else { with.parts.values };
        let Some(at) = prefix(bytes, range).filter(|_| wanted) else { continue };
        let place = at..at + 4;
        let id = bytes[place.clone()].try_into().expect("a framed part has five bytes");
        if let Some(new) = (with.id)(*part, at, u32::from_be_bytes(id)) {
            bytes[place].copy_from_slice(&new.to_be_bytes());
            changed = true;
        }
    }
    if changed {
        seal(bytes);
    }
    changed
}

/// Sets the CRC of a message that was written anew.
fn seal(bytes: &mut [u8]) {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, &bytes[MAGIC..]) as u32;
    bytes[CRC..MAGIC].copy_from_slice(&crc.to_be_bytes());
}

/// Where a message within a compressed one lies.
fn whole(entry: Entry, inner: &[u8]) -> Result<Range<usize>> {
    match entry {
        Entry::Whole { start, end, magic: 0 | 1 } => Ok(start..end),
        _ => Err(truncated("a message within a compressed one", inner.len())),
    }
}

/// What a list of messages holds.
#[derive(Default)]
struct Found {
    records: Vec<Record>,
    /// The codec of the last compressed message, and its content for the framing.
    codec: Option<(Codec, Vec<u8>)>,
    append_time: bool,
}

struct Record {
    offset: i64,
    time: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

impl Found {
    /// Adds a message, or those within it where it is compressed.
    fn message(&mut self, bytes: &[u8], limit: usize) -> Result<()> {
        let message = Message::parse(bytes)?;
        let codec = Codec::from_attributes(message.attributes)?;
        let append_time = message.attributes & LOG_APPEND_TIME != 0;
        self.append_time |= append_time;
        if codec == Codec::None {
            self.records.push(message.record());
            return Ok(());
        }
        let inner = message.content(codec, limit)?;
        let first = self.records.len();
        for entry in Entries::new(&inner) {
            let mut record = Message::within(&inner[whole(entry?, &inner)?])?.record();
            if append_time {
                record.time = message.time;
            }
            self.records.push(record);
        }
        // With magic 1 the outer offset is the last record's, and those within count from zero
        // (KIP-31); where a log was compacted they have holes.
        if message.magic == 1
            && let Some(last) = self.records[first..].last().map(|it| it.offset)
        {
            let base = message.offset.wrapping_sub(last);
            for record in &mut self.records[first..] {
                record.offset = record.offset.wrapping_add(base);
            }
        }
        self.codec = Some((codec, message.value.unwrap_or_default().to_vec()));
        Ok(())
    }

    fn batch(&self) -> Result<Vec<u8>> {
        let (Some(first), Some(last)) = (self.records.first(), self.records.last()) else {
            return Err(truncated("a message", 0));
        };
        let max_timestamp = self.records.iter().map(|it| it.time).max().unwrap_or(NO_TIMESTAMP);
        let base_timestamp = first.time;
        let (mut plain, mut body) = (Vec::new(), Vec::new());
        for record in &self.records {
            body.clear();
            body.push(0);
            varint::write_i64(&mut body, record.time.wrapping_sub(base_timestamp));
            varint::write_i32(&mut body, delta(record.offset, first.offset)?);
            for part in [&record.key, &record.value] {
                varint::write_i32(&mut body, part.as_ref().map_or(-1, |it| it.len() as i32));
                body.extend_from_slice(part.as_deref().unwrap_or_default());
            }
            varint::write_i32(&mut body, 0);
            varint::write_i32(&mut plain, body.len() as i32);
            plain.extend_from_slice(&body);
        }
        let (codec, framing) = match &self.codec {
            Some((codec, framing)) => (*codec, framing.as_slice()),
            None => (Codec::None, &[][..]),
        };
        let number = Codec::ALL.iter().position(|it| *it == codec).unwrap_or(0) as i16;
        let attributes = number | if self.append_time { LOG_APPEND_TIME } else { 0 };
        let mut head = vec![0; HEADER];
        let mut set = |place: usize, bytes: &[u8]| {
            head[place..place + bytes.len()].copy_from_slice(bytes);
        };
        set(at::BASE_OFFSET, &first.offset.to_be_bytes());
        set(at::LEADER_EPOCH, &(-1_i32).to_be_bytes());
        set(at::MAGIC, &[2]);
        set(at::ATTRIBUTES, &attributes.to_be_bytes());
        set(at::LAST_OFFSET_DELTA, &delta(last.offset, first.offset)?.to_be_bytes());
        set(at::BASE_TIMESTAMP, &base_timestamp.to_be_bytes());
        set(at::MAX_TIMESTAMP, &max_timestamp.to_be_bytes());
        set(at::PRODUCER_ID, &(-1_i64).to_be_bytes());
        set(at::PRODUCER_EPOCH, &(-1_i16).to_be_bytes());
        set(at::BASE_SEQUENCE, &(-1_i32).to_be_bytes());
        set(at::COUNT, &(self.records.len() as i32).to_be_bytes());
        head.extend_from_slice(framing);
        let mut out = Vec::new();
        repack(&head, codec, &plain, &mut Codecs::default(), &mut out);
        Ok(out)
    }
}

fn delta(offset: i64, first: i64) -> Result<i32> {
    let delta = offset.wrapping_sub(first);
    i32::try_from(delta)
        .ok()
        .filter(|it| *it >= 0)
        .ok_or(Error::OutOfRange { what: "an offset within a message set", value: delta })
}

/// One message, compressed or not.
struct Message<'a> {
    offset: i64,
    magic: u8,
    attributes: i16,
    time: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self> {
        let cut = || truncated("a message", bytes.len());
        let magic = *bytes.get(MAGIC).ok_or_else(cut)?;
        let attributes = i16::from(*bytes.get(ATTRIBUTES).ok_or_else(cut)?);
        let offset = i64::from_be_bytes(*bytes.first_chunk().ok_or_else(cut)?);
        let stated = bytes.get(CRC..MAGIC).and_then(|it| it.first_chunk()).ok_or_else(cut)?;
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, &bytes[MAGIC..]);
        if crc as u32 != u32::from_be_bytes(*stated) {
            return Err(Error::MessageCrc { offset });
        }
        let mut rest = &bytes[TIMESTAMP..];
        let mut time = NO_TIMESTAMP;
        if magic == 1 {
            let (stated, after) = rest.split_first_chunk().ok_or_else(cut)?;
            (time, rest) = (i64::from_be_bytes(*stated), after);
        }
        let key = part(&mut rest)?;
        let value = part(&mut rest)?;
        Ok(Self { offset, magic, attributes, time, key, value })
    }

    /// One that stands within a compressed one, and so is not compressed itself.
    fn within(bytes: &'a [u8]) -> Result<Self> {
        let message = Self::parse(bytes)?;
        if Codec::from_attributes(message.attributes)? != Codec::None {
            let (what, value) = ("a codec within a codec", i64::from(message.attributes));
            return Err(Error::OutOfRange { what, value });
        }
        Ok(message)
    }

    /// The messages within it.
    fn content(&self, codec: Codec, limit: usize) -> Result<Vec<u8>> {
        let content = self.value.unwrap_or_default();
        let mut inner = Vec::new();
        if codec == Codec::Lz4 && self.magic == 0 {
            let mut content = content.to_vec();
            sum_frame(&mut content, LZ4_FLAGS);
            codec::decompress(codec, &content, limit, &mut inner)?;
        } else {
            codec::decompress(codec, content, limit, &mut inner)?;
        }
        Ok(inner)
    }

    /// Where its key and value lie; an absent one is empty.
    fn sides(&self) -> [(Part, Range<usize>); 2] {
        let length = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let key = TIMESTAMP + if self.magic == 1 { 8 } else { 0 } + 4;
        let value = key + length(self.key) + 4;
        [(Part::Key, key..key + length(self.key)), (Part::Value, value..value + length(self.value))]
    }

    fn record(&self) -> Record {
        Record {
            offset: self.offset,
            time: self.time,
            key: self.key.map(<[u8]>::to_vec),
            value: self.value.map(<[u8]>::to_vec),
        }
    }
}

/// Nullable bytes after an INT32 length.
fn part<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>> {
    let cut = || truncated("a message's key or value", rest.len());
    let (length, after) = rest.split_first_chunk().ok_or_else(cut)?;
    let length = i32::from_be_bytes(*length);
    if length == -1 {
        *rest = after;
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| Error::OutOfRange {
        what: "the length of a message's key or value",
        value: i64::from(length),
    })?;
    let (part, after) = after.split_at_checked(length).ok_or_else(cut)?;
    *rest = after;
    Ok(Some(part))
}

/// Where an LZ4 frame's magic number and its descriptor begin.
const LZ4_MAGIC: usize = 0;
const LZ4_FLAGS: usize = 4;

/// Sets the header checksum of an LZ4 frame. Kafka's first ones, those of magic 0, took in the magic
/// number, against the format's specification (KAFKA-3160).
fn sum_frame(frame: &mut [u8], from: usize) {
    const HAS_CONTENT_SIZE: u8 = 1 << 3;
    let has_size = frame.get(LZ4_FLAGS).is_some_and(|it| it & HAS_CONTENT_SIZE != 0);
    let end = if has_size { 14 } else { 6 };
    if let Some(descriptor) = frame.get(from..end) {
        let hash = twox_hash::XxHash32::oneshot(0, descriptor);
        if let Some(checksum) = frame.get_mut(end) {
            *checksum = (hash >> 8) as u8;
        }
    }
}

fn truncated(what: &'static str, left: usize) -> Error {
    Error::Truncated { what, needed: left as u64 + 1, left: left as u64 }
}
