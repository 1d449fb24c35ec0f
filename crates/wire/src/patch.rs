//! The hot path: the schema ids of an uncompressed payload, replaced where they stand in one walk.
//!
//! Nearly every record has lengths of a few bytes and no headers. Those are read through a window of
//! 32 bytes, without a slice or an error value on the way; every other record, and every malformed
//! one, takes the road of [`Record::read`], which decides. The change of the batch's CRC is gathered
//! as the ids are written, and every write is noted, so that a payload that turns out to be malformed
//! is put back as it was. `tests/patch.rs` and a fuzz target compare all this with a slow, obvious
//! twin.

#![allow(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the CPU's instructions"
)]

use std::ops::Range;

use crate::crc::{Difference, Multiply};
use crate::record::Record;
use crate::translate::{Id, Part, Parts, Place, places, prefix};
use crate::{Error, IdMap, Result, crc};

/// What a walk did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) translated: u64,
    pub(crate) unmapped: u64,
    pub(crate) first_unmapped: Option<Id>,
    /// The words that changed, for the CRC.
    pub(crate) difference: Difference,
}

/// Places that were written and what was there.
pub(crate) type Journal = Vec<(usize, u32)>;

/// Replaces the ids of `bytes` from `start` on, where `count` records fill the rest exactly.
///
/// # Errors
///
/// As [`crate::record::Records`]; then nothing has changed.
pub(crate) fn patch(
    bytes: &mut [u8],
    start: usize,
    count: i32,
    parts: Parts,
    map: &IdMap,
    journal: &mut Journal,
) -> Result<Done> {
    journal.clear();
    let walk = Walk { bytes, start, parts, map, journal };
    crc::fastest(Job { walk, count })
}

/// The walk, to be compiled for the CPU that it runs on.
struct Job<'a> {
    walk: Walk<'a>,
    count: i32,
}

impl crc::WithMultiply for Job<'_> {
    type Output = Result<Done>;

    #[inline(always)]
    fn run(self, multiply: impl Multiply) -> Result<Done> {
        let Self { mut walk, count } = self;
        let done = walk.all(count, multiply);
        if done.is_err() {
            for &mut (at, old) in walk.journal.iter_mut().rev() {
                walk.bytes[at..at + 4].copy_from_slice(&old.to_be_bytes());
            }
        }
        done
    }
}

struct Walk<'a> {
    bytes: &'a mut [u8],
    start: usize,
    parts: Parts,
    map: &'a IdMap,
    journal: &'a mut Journal,
}

/// What of a plain record matters: where it ends, and where its key and its value lie.
struct Plain {
    end: usize,
    key: Range<usize>,
    value: Range<usize>,
}

/// Records from this size on lie so far apart that the CPU does not fetch the next ones by itself.
const FAR: usize = 512;
/// How many records ahead are fetched then, if they are as long as this one.
const AHEAD: usize = 6;

impl Walk<'_> {
    #[inline(always)]
    fn all(&mut self, count: i32, multiply: impl Multiply) -> Result<Done> {
        let mut done = Done::default();
        // Most topics have few schemas: the last id is the likeliest to come next.
        let mut last = (u32::MAX, None);
        let mut at = self.start;
        for _ in 0..count {
            let Some(record) = plain(self.bytes, at) else {
                at = self.other(at, &mut done, multiply)?;
                continue;
            };
            let length = record.end - at;
            if length >= FAR {
                prefetch(self.bytes, record.end + AHEAD * length);
            }
            if self.parts.keys
                && let Some(place) = prefix(self.bytes, &record.key)
            {
                self.id(Part::Key, place, at, &mut last, &mut done, multiply);
            }
            if self.parts.values
                && let Some(place) = prefix(self.bytes, &record.value)
            {
                self.id(Part::Value, place, at, &mut last, &mut done, multiply);
            }
            at = record.end;
        }
        match self.bytes.len() - at {
            0 => Ok(done),
            left => Err(Error::TrailingBytes { left, count }),
        }
    }

    /// Replaces one id, of the record at `record`, where the map has it.
    #[inline(always)]
    fn id(
        &mut self,
        part: Part,
        at: usize,
        record: usize,
        last: &mut (u32, Option<u32>),
        done: &mut Done,
        multiply: impl Multiply,
    ) {
        let old: [u8; 4] = self.bytes[at..at + 4].try_into().expect("a framed part has five bytes");
        let id = u32::from_be_bytes(old);
        if last.0 != id {
            *last = (id, self.map.target(id));
        }
        match last.1 {
            Some(target) if target == id => {}
            Some(target) => {
                self.write(at, old, target.to_be_bytes(), done, multiply);
                done.translated += 1;
            }
            None => {
                done.unmapped += 1;
                if done.first_unmapped.is_none() {
                    done.first_unmapped = self.unmapped(part, at, id, record);
                }
            }
        }
    }

    #[inline(always)]
    fn write(
        &mut self,
        at: usize,
        old: [u8; 4],
        new: [u8; 4],
        done: &mut Done,
        multiply: impl Multiply,
    ) {
        self.journal.push((at, u32::from_be_bytes(old)));
        done.difference.word_by(multiply, at, old, new);
        self.bytes[at..at + 4].copy_from_slice(&new);
    }

    #[cold]
    fn unmapped(&self, part: Part, at: usize, id: u32, record: usize) -> Option<Id> {
        let record = Record::read(self.bytes, record).ok()?;
        Some(Id { part, id, at: at - self.start, offset_delta: record.offset_delta })
    }

    /// A record with headers, with unusual lengths, or malformed; gives where it ends.
    #[inline(never)]
    fn other(&mut self, at: usize, done: &mut Done, multiply: impl Multiply) -> Result<usize> {
        let record = Record::read(self.bytes, at)?;
        let mut found = Vec::new();
        places(self.bytes, &record, self.parts, |part, place| found.push((part, place)))?;
        let mut last = (u32::MAX, None);
        // In ascending order of place, as the CRC's change is gathered.
        for (part, place) in found {
            match place {
                Place::Id(place) => self.id(part, place, at, &mut last, done, multiply),
                Place::Guid(place) => self.guid(place, done, multiply),
            }
        }
        Ok(record.range.end)
    }

    /// A GUID is replaced like four ids that stand side by side.
    fn guid(&mut self, at: usize, done: &mut Done, multiply: impl Multiply) {
        let old = self.bytes[at..at + 16].try_into().expect("a GUID has sixteen bytes");
        let Some(new) = self.map.guid(old) else { return };
        done.translated += 1;
        for (index, word) in new.chunks_exact(4).enumerate() {
            let place = at + 4 * index;
            let old = self.bytes[place..place + 4].try_into().expect("four of sixteen bytes");
            let word = word.try_into().expect("chunks_exact() gives four bytes");
            self.write(place, old, word, done, multiply);
        }
    }
}

/// What holds all lengths of a record up to its key: 4 + 1 + 8 + 4 + 4 bytes, and what is read at
/// once.
const WINDOW: usize = 32;

/// Reads a record without headers whose lengths have four bytes at the most; `None` for any other.
/// What it gives is what [`Record::read`] gives.
#[inline(always)]
fn plain(bytes: &[u8], at: usize) -> Option<Plain> {
    let window: &[u8; WINDOW] = bytes.get(at..)?.first_chunk()?;
    let (length, mut next) = length(window, 0)?;
    let end = at + next + length?;
    // The attributes, a byte that no version uses.
    next += 1;
    next += varint_bytes(window, next, 8)?;
    next += varint_bytes(window, next, 4)?;
    let (key_length, bytes_of_length) = self::length(window, next)?;
    let key_start = at + next + bytes_of_length;
    let key_end = key_start + key_length.unwrap_or(0);
    let window = bytes.get(key_end..)?.first_chunk::<8>()?;
    let (value_length, bytes_of_length) = self::length(window, 0)?;
    let value_start = key_end + bytes_of_length;
    let value_end = value_start + value_length.unwrap_or(0);
    // No headers: then the record ends here. As each part begins where the one before ends, all of
    // them are within it.
    let fits = value_end + 1 == end && *bytes.get(value_end)? == 0;
    fits.then_some(Plain { end, key: key_start..key_end, value: value_start..value_end })
}

/// A length of at most four bytes, -1 being none, and how many bytes it has; `None` where it is
/// longer or below -1.
#[inline(always)]
fn length<const N: usize>(window: &[u8; N], at: usize) -> Option<(Option<usize>, usize)> {
    let word = u32::from_le_bytes(window.get(at..at + 4)?.try_into().ok()?);
    let (value, bytes) = if word & 0x80 == 0 {
        (word & 0x7f, 1)
    } else if word & 0x8000 == 0 {
        (word & 0x7f | (word & 0x7f00) >> 1, 2)
    } else if word & 0x80_0000 == 0 {
        (word & 0x7f | (word & 0x7f00) >> 1 | (word & 0x7f_0000) >> 2, 3)
    } else if word & 0x8000_0000 == 0 {
        let high = (word & 0x7f00_0000) >> 3;
        (word & 0x7f | (word & 0x7f00) >> 1 | (word & 0x7f_0000) >> 2 | high, 4)
    } else {
        return None;
    };
    match value {
        1 => Some((None, bytes)),
        // The zigzag of a negative number.
        odd if odd & 1 == 1 => None,
        even => Some((Some(even as usize / 2), bytes)),
    }
}

/// How many bytes a variable-length integer has, where that is no more than `most`.
#[inline(always)]
fn varint_bytes(window: &[u8; WINDOW], at: usize, most: usize) -> Option<usize> {
    let word = u64::from_le_bytes(window.get(at..at + 8)?.try_into().ok()?);
    let ends = !word & 0x8080_8080_8080_8080;
    let bytes = ends.trailing_zeros() as usize / 8 + 1;
    (bytes <= most).then_some(bytes)
}

/// Asks for a byte that will be read soon; one that is not there is no matter.
#[inline(always)]
fn prefetch(bytes: &[u8], at: usize) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch(bytes, at);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bytes, at);
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

    #[inline(always)]
    pub(super) fn prefetch(bytes: &[u8], at: usize) {
        let place = bytes.as_ptr().wrapping_add(at);
        // SAFETY: a prefetch reads nothing that the program could see and faults at no address; the
        // instruction is in every x86-64 CPU (SSE).
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) }
    }
}
