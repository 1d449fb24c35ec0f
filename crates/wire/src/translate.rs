//! Schema ids inside record batches: found, and replaced by the target registry's.
//!
//! A record's key or value that was written with a Schema Registry starts with the magic byte 0x00
//! and a 4-byte big-endian id. Newer serializers put the id into a header instead; then the payload
//! has no prefix, may well begin with 0x00, and must stay as it is.
//!
//! A translation changes ids and the batch's CRC, nothing else. A batch that turns out to be malformed
//! passes untouched.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::batch::{self, Batch, Entries, Entry, at};
use crate::codec::{self, Codec, Codecs};
use crate::crc;
use crate::edit::{Buffers, Edits};
use crate::message_set::{self, Replace, Replaced};
use crate::patch::{self, Done, Journal};
use crate::record::{Record, Records};
use crate::{Error, IdMap, Result};

/// What translating did, to be added up and shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records that were looked into.
    pub records: u64,
    /// Ids that were replaced.
    pub translated: u64,
    /// Ids that the map lacks, left as they were.
    pub unmapped: u64,
    /// Batches that could not be read, left as they were.
    pub undecodable: u64,
    /// The first id that the map lacks.
    pub first_unmapped: Option<Id>,
    /// Why the first unreadable batch could not be read.
    pub first_error: Option<Error>,
}

/// A schema id met in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id {
    /// Key or value.
    pub part: Part,
    /// The id.
    pub id: u32,
    /// Where its four bytes lie in the decompressed payload.
    pub at: usize,
    /// The record's offset less the batch's base offset.
    pub offset_delta: i32,
}

/// Which side of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The key.
    Key,
    /// The value.
    Value,
}

/// Which sides of a record to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Keys.
    pub keys: bool,
    /// Values.
    pub values: bool,
}

impl Parts {
    /// Keys and values.
    pub const BOTH: Self = Self { keys: true, values: true };
}

/// Data that only looks framed can have any "id"; nobody asks for more of one field.
const MOST_MISSING: usize = 1000;

/// Headers of newer serializers: 0x00 and a 4-byte id, or 0x01 and a 16-byte GUID.
const KEY_HEADER: &[u8] = b"__key_schema_id";
const VALUE_HEADER: &[u8] = b"__value_schema_id";

/// Translates batches and keeps its buffers between them.
#[derive(Debug)]
pub struct Translator {
    parts: Parts,
    end_offset: i64,
    decompressed_limit: usize,
    codecs: Codecs,
    journal: Journal,
    buffers: Buffers,
    plain: Vec<u8>,
    packed: Vec<u8>,
    rebuilt: Vec<u8>,
}

impl Translator {
    /// `decompressed_limit` bounds what one batch may grow to (`max.decompressed.message.bytes`).
    pub fn new(parts: Parts, decompressed_limit: usize) -> Self {
        Self {
            parts,
            end_offset: i64::MAX,
            decompressed_limit,
            codecs: Codecs::default(),
            journal: Journal::new(),
            buffers: Buffers::default(),
            plain: Vec::new(),
            packed: Vec::new(),
            rebuilt: Vec::new(),
        }
    }

    /// What its buffers take, bytes.
    pub fn memory(&self) -> usize {
        let journal = self.journal.capacity() * size_of::<(usize, u32)>();
        let buffers = [&self.plain, &self.packed, &self.rebuilt].map(Vec::capacity);
        journal + buffers.iter().sum::<usize>()
    }

    /// Changes what one batch may grow to.
    pub fn limit_to(&mut self, decompressed_limit: usize) {
        self.decompressed_limit = decompressed_limit;
    }

    /// Changes which sides of the records are looked at.
    pub fn look_at(&mut self, parts: Parts) {
        self.parts = parts;
    }

    /// Leaves batches alone that begin at this offset or behind it.
    pub fn look_before(&mut self, end_offset: i64) {
        self.end_offset = end_offset;
    }

    /// Translates every batch of a RECORDS field. Uncompressed batches are patched where they
    /// stand; where a compressed one changed, the whole field is given anew.
    ///
    /// A partial batch at the end, control batches and batches that can't be read stay as they are.
    pub fn records(&mut self, records: &mut [u8], map: &IdMap, tally: &mut Tally) -> Option<&[u8]> {
        self.rebuilt.clear();
        let mut copied = 0;
        let mut start = 0;
        loop {
            let (end, magic) = match Entries::new(&records[start..]).next() {
                Some(Ok(Entry::Whole { end, magic, .. })) => (start + end, magic),
                Some(Err(error)) => {
                    tally.note(error);
                    break;
                }
                Some(Ok(Entry::Partial { .. })) | None => break,
            };
            let whole = &mut records[start..end];
            let changed = match magic {
                2 => self.batch(whole, map, tally),
                0 | 1 => self.message(whole, map, tally),
                _ => Err(Error::Magic(magic)),
            };
            match changed {
                Ok(false) => {}
                // Nearly always it is the only one.
                Ok(true) if start == 0 && end == records.len() => return Some(&self.packed),
                Ok(true) => {
                    self.rebuilt.extend_from_slice(&records[copied..start]);
                    self.rebuilt.extend_from_slice(&self.packed);
                    copied = end;
                }
                Err(error) => tally.note(error),
            }
            start = end;
        }
        if copied == 0 {
            return None;
        }
        self.rebuilt.extend_from_slice(&records[copied..]);
        Some(&self.rebuilt)
    }

    /// The ids in a RECORDS field that the map lacks; the field stays as it is.
    pub fn missing(&mut self, records: &[u8], map: &IdMap) -> BTreeSet<u32> {
        let mut missing = BTreeSet::new();
        for entry in Entries::new(records) {
            let Ok(Entry::Whole { start, end, magic }) = entry else { break };
            let mut met = |id| {
                if missing.len() < MOST_MISSING && map.target(id).is_none() {
                    missing.insert(id);
                }
            };
            if magic < 2 {
                let mut id = |_, _, id| {
                    met(id);
                    None
                };
                let mut with = Replace { parts: self.parts, id: &mut id };
                let mut message = records[start..end].to_vec();
                let _ = message_set::replace(&mut message, self.decompressed_limit, &mut with);
                continue;
            }
            let Ok(batch) = Batch::parse(&records[start..end]) else { break };
            let (header, payload) = (batch.header, batch.payload());
            if header.is_control() || header.base_offset >= self.end_offset {
                continue;
            }
            let Ok(codec) = header.codec() else { continue };
            let limit = self.decompressed_limit;
            let payload = match codec {
                Codec::None => payload,
                _ if self.codecs.decompress(codec, payload, limit, &mut self.plain).is_ok() => {
                    &self.plain
                }
                // What can't be read passes as it is.
                _ => continue,
            };
            let _ = ids(payload, header.count, self.parts, |it| met(it.id));
        }
        missing
    }

    /// Translates one message of a message set, as [`Self::batch`] does with a batch.
    fn message(&mut self, bytes: &mut [u8], map: &IdMap, tally: &mut Tally) -> Result<bool> {
        let offset = bytes.first_chunk().map_or(0, |it| i64::from_be_bytes(*it));
        if offset >= self.end_offset {
            return Ok(false);
        }
        let mut met = Tally::default();
        let mut id = |part, at, id| {
            let target = map.target(id);
            if target.is_none() {
                met.unmapped += 1;
                met.first_unmapped.get_or_insert(Id { part, id, at, offset_delta: 0 });
            }
            let new = target.filter(|it| *it != id);
            met.translated += u64::from(new.is_some());
            new
        };
        let mut with = Replace { parts: self.parts, id: &mut id };
        let (records, replaced) = message_set::replace(bytes, self.decompressed_limit, &mut with)?;
        tally.add(Tally { records, ..met });
        Ok(match replaced {
            Replaced::InPlace => false,
            Replaced::Anew(message) => {
                self.packed = message;
                true
            }
        })
    }

    /// Translates one batch. `true` means that the new batch is in `self.packed`, because its size
    /// may have changed; otherwise it is where it was.
    fn batch(&mut self, bytes: &mut [u8], map: &IdMap, tally: &mut Tally) -> Result<bool> {
        let batch = Batch::parse(bytes)?;
        let header = batch.header;
        if header.is_control() || header.count == 0 || header.base_offset >= self.end_offset {
            return Ok(false);
        }
        let codec = header.codec()?;
        if codec == Codec::None {
            let (start, journal) = (batch::HEADER, &mut self.journal);
            let done = patch::patch(bytes, start, header.count, self.parts, map, journal)?;
            tally.take(header.count, &done);
            if done.translated > 0 {
                let crc = header.crc ^ done.difference.finish(bytes.len());
                bytes[at::CRC..at::CRC + 4].copy_from_slice(&crc.to_be_bytes());
            }
            return Ok(false);
        }
        // The new CRC will be computed over new bytes, so the old ones have to be right.
        if !batch.crc_matches() {
            return Err(Error::BatchCrc);
        }
        let limit = self.decompressed_limit;
        self.codecs.decompress(codec, batch.payload(), limit, &mut self.plain)?;
        let (plain, journal) = (&mut self.plain, &mut self.journal);
        let done = patch::patch(plain, 0, header.count, self.parts, map, journal)?;
        tally.take(header.count, &done);
        if done.translated == 0 {
            return Ok(false);
        }
        let (head, payload) = bytes.split_at(batch::HEADER);
        self.packed.clear();
        self.packed.extend_from_slice(head);
        let words = self.journal.iter().map(|&(at, _)| at);
        let edits = Edits::new(&self.plain, words, &mut self.buffers);
        if codec::edit(codec, payload, &edits, &mut self.packed).is_some() {
            seal(&mut self.packed);
        } else {
            repack(bytes, codec, &self.plain, &mut self.codecs, &mut self.packed);
        }
        Ok(true)
    }
}

impl Tally {
    fn take(&mut self, records: i32, done: &Done) {
        self.records += records as u64;
        self.translated += done.translated;
        self.unmapped += done.unmapped;
        self.first_unmapped = self.first_unmapped.or(done.first_unmapped);
    }

    fn note(&mut self, error: Error) {
        self.undecodable += 1;
        self.first_error.get_or_insert(error);
    }

    /// Adds what another call did.
    pub fn add(&mut self, other: Self) {
        self.records += other.records;
        self.translated += other.translated;
        self.unmapped += other.unmapped;
        self.undecodable += other.undecodable;
        self.first_unmapped = self.first_unmapped.or(other.first_unmapped);
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

/// Writes into `out` the batch whose header stands in `original` and whose records are `plain`.
pub(crate) fn repack(
    original: &[u8],
    codec: Codec,
    plain: &[u8],
    codecs: &mut Codecs,
    out: &mut Vec<u8>,
) {
    let (head, payload) = original.split_at(batch::HEADER);
    codecs.compress(codec, plain, payload, out);
    out.splice(0..0, head.iter().copied());
    seal(out);
}

/// Sets the length and the CRC of a batch that was written anew.
fn seal(out: &mut [u8]) {
    let length = (out.len() - batch::PREFIX) as i32;
    out[at::LENGTH..at::LENGTH + 4].copy_from_slice(&length.to_be_bytes());
    let crc = crc::crc32c(&out[batch::CRC_FROM..]);
    out[at::CRC..at::CRC + 4].copy_from_slice(&crc.to_be_bytes());
}

/// Finds every schema id in a decompressed payload, in ascending order of place.
pub fn ids(payload: &[u8], count: i32, parts: Parts, mut found: impl FnMut(Id)) -> Result<()> {
    let mut records = Records::new(payload, count);
    while let Some(record) = records.next_record()? {
        places(payload, &record, parts, |part, place| {
            if let Place::Id(at) = place {
                let bytes = payload[at..at + 4].try_into().expect("a framed part has five bytes");
                let id = u32::from_be_bytes(bytes);
                found(Id { part, id, at, offset_delta: record.offset_delta });
            }
        })?;
    }
    Ok(())
}

/// Where a record has an id, or the GUID that newer serializers write into a header.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// Four bytes.
    Id(usize),
    /// Sixteen.
    Guid(usize),
}

/// Tells the ids and GUIDs on these sides of a record, in ascending order of place.
pub(crate) fn places(
    payload: &[u8],
    record: &Record,
    parts: Parts,
    mut met: impl FnMut(Part, Place),
) -> Result<()> {
    let framing = Framing::of(payload, record)?;
    let sides = [
        (parts.keys && !framing.key_header, Part::Key, &record.key),
        (parts.values && !framing.value_header, Part::Value, &record.value),
    ];
    for (wanted, part, range) in sides {
        let at = range.as_ref().filter(|_| wanted).and_then(|it| prefix(payload, it));
        if let Some(at) = at {
            met(part, Place::Id(at));
        }
    }
    for (part, place) in framing.found {
        if if part == Part::Key { parts.keys } else { parts.values } {
            met(part, place);
        }
    }
    Ok(())
}

/// Where the id stands in a key, value or header that starts with the magic byte 0x00.
#[inline]
pub(crate) fn prefix(payload: &[u8], part: &Range<usize>) -> Option<usize> {
    (part.len() >= 5 && payload[part.start] == 0).then_some(part.start + 1)
}

/// What the headers of a record say about its schema ids.
#[derive(Debug, Default)]
struct Framing {
    key_header: bool,
    value_header: bool,
    /// What stands in headers. Almost always empty, so it allocates almost never.
    found: Vec<(Part, Place)>,
}

impl Framing {
    fn of(payload: &[u8], record: &Record) -> Result<Self> {
        let mut framing = Self::default();
        let mut headers = record.headers(payload);
        while let Some((name, value)) = headers.next_header()? {
            let part = match &payload[name] {
                KEY_HEADER => Part::Key,
                VALUE_HEADER => Part::Value,
                _ => continue,
            };
            *(if part == Part::Key {
                &mut framing.key_header
            } else {
                &mut framing.value_header
            }) = true;
            let Some(value) = value else { continue };
            let id = prefix(payload, &value).map(Place::Id);
            framing.found.extend(id.map(|it| (part, it)));
            // 0x01 and a GUID, in Protobuf followed by message indexes.
            if value.len() >= 17 && payload[value.start] == 1 {
                framing.found.push((part, Place::Guid(value.start + 1)));
            }
        }
        Ok(framing)
    }
}
