//! The codecs of a batch's records. Decompression is bounded, compression keeps the framing that
//! the producer chose.

mod gzip;
pub(crate) mod lz4;
mod snappy;
mod zstd;

use std::fmt;
use std::io::Read;

use crate::edit::{self, Edits};
use crate::{Error, Result};

/// What one batch may grow to when it is decompressed, unless settings say otherwise, bytes.
pub const DECOMPRESSED_LIMIT: usize = 256 << 20;

/// Attribute bits 0 to 2 of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Records stand as they are.
    None,
    /// RFC 1952.
    Gzip,
    /// Raw snappy (librdkafka), or blocks in xerial's framing (Java).
    Snappy,
    /// LZ4 frame format.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
}

impl Codec {
    /// All five, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// Reads the codec from a batch's attributes.
    pub fn from_attributes(attributes: i16) -> Result<Self> {
        let number = (attributes & 0b111) as u8;
        Self::ALL.get(usize::from(number)).copied().ok_or(Error::Codec(number))
    }

    /// The name that Kafka's settings use.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// The contexts of the codecs, which are worth keeping from batch to batch: each takes some hundred
/// kilobytes, made when it is first needed.
#[derive(Default)]
pub struct Codecs {
    gzip: gzip::Contexts,
    snappy: snappy::Contexts,
    zstd: zstd::Contexts,
}

impl fmt::Debug for Codecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codecs")
    }
}

impl Codecs {
    /// Decompresses `input` into `out`, whatever that held. More than `limit` bytes is an error.
    pub fn decompress(
        &mut self,
        codec: Codec,
        input: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let mut room = Room { out, filled: 0, limit };
        let done = match codec {
            Codec::None => room.append(input),
            Codec::Gzip => self.gzip.decompress(input, &mut room),
            Codec::Snappy => self.snappy.decompress(input, &mut room),
            Codec::Lz4 => lz4::decompress(input, &mut room),
            Codec::Zstd => self.zstd.decompress(input, &mut room),
        };
        let filled = room.filled;
        out.truncate(if done.is_ok() { filled } else { 0 });
        done
    }

    /// Compresses `plain` into `out`, which is cleared first, in the framing of `original`.
    pub fn compress(&mut self, codec: Codec, plain: &[u8], original: &[u8], out: &mut Vec<u8>) {
        out.clear();
        match codec {
            Codec::None => out.extend_from_slice(plain),
            Codec::Gzip => self.gzip.compress(plain, original, out),
            Codec::Snappy => self.snappy.compress(plain, original, out),
            Codec::Lz4 => lz4::compress(plain, original, out),
            Codec::Zstd => self.zstd.compress(plain, out),
        }
    }
}

/// [`Codecs::decompress`] for once.
pub fn decompress(codec: Codec, input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<()> {
    Codecs::default().decompress(codec, input, limit, out)
}

/// [`Codecs::compress`] for once.
pub fn compress(codec: Codec, plain: &[u8], original: &[u8], out: &mut Vec<u8>) {
    Codecs::default().compress(codec, plain, original, out);
}

/// Appends to `out` what `original` becomes with edits, where its codec lets a stream be edited.
pub(crate) fn edit(
    codec: Codec,
    original: &[u8],
    edits: &Edits<'_>,
    out: &mut Vec<u8>,
) -> Option<()> {
    match codec {
        Codec::Lz4 => edit::lz4(original, edits, out),
        Codec::Snappy => edit::snappy(original, snappy::header_of(original), edits, out),
        Codec::None | Codec::Gzip | Codec::Zstd => None,
    }
}

fn damaged(codec: Codec, why: &dyn fmt::Display) -> Error {
    Error::Decompress { codec: codec.name(), why: why.to_string() }
}

/// Bytes by which a streaming decoder goes on.
const STEP: usize = 64 * 1024;

/// Where plain text goes. What the buffer held before is written over, so that a buffer that serves
/// again is not filled with zeros again.
struct Room<'a> {
    out: &'a mut Vec<u8>,
    filled: usize,
    limit: usize,
}

impl Room<'_> {
    /// The place for `length` bytes more, which count once they are [`Self::fill`]ed in.
    fn next(&mut self, length: usize) -> Result<&mut [u8]> {
        let end = self.filled.saturating_add(length);
        if end > self.limit {
            return Err(Error::Bomb { limit: self.limit });
        }
        Ok(self.grown(end))
    }

    /// The same for up to `most` bytes, fewer where the limit is near: its reader notices.
    fn up_to(&mut self, most: usize) -> &mut [u8] {
        let end = self.filled.saturating_add(most).min(self.limit.saturating_add(1));
        self.grown(end)
    }

    fn grown(&mut self, end: usize) -> &mut [u8] {
        if self.out.len() < end {
            self.out.resize(end, 0);
        }
        &mut self.out[self.filled..end]
    }

    /// What was filled in before, and the place for up to `most` bytes more.
    fn with_history(&mut self, most: usize) -> (&[u8], &mut [u8]) {
        self.up_to(most);
        let end = self.filled.saturating_add(most).min(self.out.len());
        let (history, next) = self.out[..end].split_at_mut(self.filled);
        (history, next)
    }

    fn fill(&mut self, length: usize) -> Result<()> {
        self.filled += length;
        if self.filled > self.limit { Err(Error::Bomb { limit: self.limit }) } else { Ok(()) }
    }

    /// Fills in all that a streaming decoder gives.
    fn read(&mut self, codec: Codec, mut from: impl Read) -> Result<()> {
        loop {
            let read = from.read(self.up_to(STEP)).map_err(|why| damaged(codec, &why))?;
            if read == 0 {
                return Ok(());
            }
            self.fill(read)?;
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.next(bytes.len())?.copy_from_slice(bytes);
        self.fill(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first bytes of what each client writes.
    fn framings() -> Vec<(Codec, Vec<u8>)> {
        let xerial = [snappy::MAGIC, &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
        vec![
            (Codec::None, vec![]),
            (Codec::Gzip, vec![]),
            (Codec::Snappy, vec![]),
            (Codec::Snappy, xerial),
            (Codec::Lz4, vec![]),
            (Codec::Lz4, vec![4, 0x22, 0x4d, 0x18, 0b0111_0100, 0b0101_0000]),
            (Codec::Zstd, vec![]),
        ]
    }

    #[test]
    fn a_bomb_is_an_error_and_takes_no_memory() {
        let plain = vec![0_u8; 1 << 20];
        for (codec, original) in framings() {
            let (mut packed, mut out) = (Vec::new(), Vec::new());
            compress(codec, &plain, &original, &mut packed);
            let limit = 64 * 1024;
            let result = decompress(codec, &packed, limit, &mut out);
            assert_eq!(result, Err(Error::Bomb { limit }), "{codec:?}");
            assert!(out.capacity() <= 4 * limit, "{codec:?} reserved {}", out.capacity());
        }
    }

    #[test]
    fn gzip_of_several_members_is_read_whole() {
        let (mut first, mut second, mut out) = (Vec::new(), Vec::new(), Vec::new());
        compress(Codec::Gzip, b"one, ", &[], &mut first);
        compress(Codec::Gzip, b"two", &[], &mut second);
        first.extend(second);
        decompress(Codec::Gzip, &first, 100, &mut out).unwrap();
        assert_eq!(out, b"one, two");
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(plain in prop::collection::vec(0_u8..8, 0..100_000)) {
            for (codec, original) in framings() {
                let (mut packed, mut out) = (Vec::new(), Vec::new());
                compress(codec, &plain, &original, &mut packed);
                decompress(codec, &packed, plain.len(), &mut out).unwrap();
                prop_assert_eq!(&out, &plain, "{:?}", codec);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for (codec, mut head) in framings() {
                head.extend_from_slice(&bytes);
                let _ = decompress(codec, &head, 1 << 16, &mut Vec::new());
            }
        }
    }
}
