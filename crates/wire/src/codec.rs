//! The codecs of a batch's records. Decompression is bounded, compression keeps the framing that
//! the producer chose.

use std::io::{Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

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

/// The largest window a zstd frame may ask for: 2^27 bytes, zstd's own default limit.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Kafka's default level; a frame does not tell its own.
const ZSTD_LEVEL: i32 = 3;
/// Kafka's default level, java.util.zip's `DEFAULT_COMPRESSION`.
const GZIP_LEVEL: i32 = 6;

/// Decompresses `input` into `out`, which is cleared first. More than `limit` bytes is an error.
pub fn decompress(codec: Codec, input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<()> {
    out.clear();
    match codec {
        Codec::None if input.len() > limit => Err(Error::Bomb { limit }),
        Codec::None => {
            out.extend_from_slice(input);
            Ok(())
        }
        Codec::Gzip => gunzip(input, limit, out),
        Codec::Snappy => unsnap(input, limit, out),
        Codec::Lz4 => read_bounded(codec, FrameDecoder::new(input), limit, out),
        Codec::Zstd => {
            let mut decoder =
                zstd::Decoder::with_buffer(input).map_err(|why| damaged(codec, &why))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|why| damaged(codec, &why))?;
            read_bounded(codec, decoder, limit, out)
        }
    }
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
        Codec::Snappy => {
            let header = original.starts_with(XERIAL_MAGIC).then_some(XERIAL_HEADER);
            edit::snappy(original, header, edits, out)
        }
        Codec::None | Codec::Gzip | Codec::Zstd => None,
    }
}

/// Compresses `plain` into `out`, which is cleared first, in the framing of `original`.
pub fn compress(codec: Codec, plain: &[u8], original: &[u8], out: &mut Vec<u8>) {
    const IN_MEMORY: &str = "writing to a Vec can't fail";
    out.clear();
    match codec {
        Codec::None => out.extend_from_slice(plain),
        Codec::Gzip => {
            let level = libdeflater::CompressionLvl::new(GZIP_LEVEL).expect("6 is a level");
            let mut compressor = libdeflater::Compressor::new(level);
            out.resize(compressor.gzip_compress_bound(plain.len()), 0);
            let length = compressor.gzip_compress(plain, out).expect("the bound holds any input");
            out.truncate(length);
        }
        Codec::Snappy => snap_like(plain, original, out),
        Codec::Lz4 => {
            let mut encoder = FrameEncoder::with_frame_info(lz4_frame_like(original), &mut *out);
            encoder.write_all(plain).expect(IN_MEMORY);
            encoder.finish().expect(IN_MEMORY);
        }
        Codec::Zstd => {
            out.reserve(zstd::zstd_safe::compress_bound(plain.len()));
            let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("3 is a level");
            compressor.compress_to_buffer(plain, out).expect("the bound holds any input");
        }
    }
}

fn damaged(codec: Codec, why: &dyn std::fmt::Display) -> Error {
    Error::Decompress { codec: codec.name(), why: why.to_string() }
}

fn read_bounded(codec: Codec, from: impl Read, limit: usize, out: &mut Vec<u8>) -> Result<()> {
    from.take(limit as u64 + 1).read_to_end(out).map_err(|why| damaged(codec, &why))?;
    if out.len() > limit { Err(Error::Bomb { limit }) } else { Ok(()) }
}

/// libdeflate where the input is one member, as every Kafka client writes it; the streaming decoder
/// where it is not.
fn gunzip(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<()> {
    // A member ends with the CRC-32 and the size of its plain text (RFC 1952), and deflate expands
    // at most 1,032 times, so a size that lies can't make us reserve more than that.
    if let Some((_, trailer)) = input.split_last_chunk::<8>() {
        let (crc, size) = trailer.split_at(4);
        let crc = u32::from_le_bytes(crc.try_into().expect("four of eight bytes"));
        let size = u32::from_le_bytes(size.try_into().expect("four of eight bytes")) as usize;
        if size <= input.len().saturating_mul(1032) {
            if size > limit {
                return Err(Error::Bomb { limit });
            }
            out.resize(size, 0);
            let plain = libdeflater::Decompressor::new().gzip_decompress(input, out);
            if plain == Ok(size) && libdeflater::crc32(out) == crc {
                return Ok(());
            }
            out.clear();
        }
    }
    read_bounded(Codec::Gzip, flate2::read::MultiGzDecoder::new(input), limit, out)
}

/// Version and oldest compatible version follow these eight bytes, an INT32 each.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER: usize = 16;
/// Block size of the Java client.
const XERIAL_BLOCK: usize = 32 * 1024;

fn unsnap(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<()> {
    let mut decoder = snap::raw::Decoder::new();
    let mut append = |block: &[u8], out: &mut Vec<u8>| {
        let length =
            snap::raw::decompress_len(block).map_err(|why| damaged(Codec::Snappy, &why))?;
        let start = out.len();
        if length > limit.saturating_sub(start) {
            return Err(Error::Bomb { limit });
        }
        // Snappy's longest copy makes 64 bytes of three, so a length that lies can't make us
        // reserve more than that.
        if length > block.len().saturating_mul(64) {
            return Err(damaged(Codec::Snappy, &"the stated length can't be true"));
        }
        out.resize(start + length, 0);
        decoder.decompress(block, &mut out[start..]).map_err(|why| damaged(Codec::Snappy, &why))?;
        Ok(())
    };
    if !input.starts_with(XERIAL_MAGIC) {
        return append(input, out);
    }
    let mut rest = input.get(XERIAL_HEADER..).unwrap_or_default();
    while !rest.is_empty() {
        let block = rest.split_first_chunk::<4>().and_then(|(length, rest)| {
            rest.split_at_checked(usize::try_from(i32::from_be_bytes(*length)).ok()?)
        });
        let Some((block, after)) = block else {
            return Err(damaged(Codec::Snappy, &"a xerial block is cut off"));
        };
        append(block, out)?;
        rest = after;
    }
    Ok(())
}

fn snap_like(plain: &[u8], original: &[u8], out: &mut Vec<u8>) {
    let mut encoder = snap::raw::Encoder::new();
    let mut append = |block: &[u8], out: &mut Vec<u8>| {
        let start = out.len();
        out.resize(start + snap::raw::max_compress_len(block.len()), 0);
        let length = encoder.compress(block, &mut out[start..]);
        out.truncate(start + length.expect("the buffer has the size that snap asks for"));
    };
    let header = original.get(..XERIAL_HEADER).filter(|head| head.starts_with(XERIAL_MAGIC));
    let Some(header) = header else {
        return append(plain, out);
    };
    out.extend_from_slice(header);
    for block in plain.chunks(XERIAL_BLOCK) {
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        append(block, out);
        let length = (out.len() - length_at - 4) as i32;
        out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    }
}

/// The options of an LZ4 frame: FLG is its fifth byte, BD its sixth.
fn lz4_frame_like(original: &[u8]) -> FrameInfo {
    let (flags, descriptor) = match original {
        [_, _, _, _, flags, descriptor, ..] => (*flags, *descriptor),
        _ => (0b0110_0000, 0b0100_0000),
    };
    let size = match (descriptor >> 4) & 0b111 {
        5 => BlockSize::Max256KB,
        6 => BlockSize::Max1MB,
        7 => BlockSize::Max4MB,
        _ => BlockSize::Max64KB,
    };
    FrameInfo::new()
        .block_size(size)
        .block_mode(BlockMode::Independent)
        .block_checksums(flags & 0b0001_0000 != 0)
        .content_checksum(flags & 0b0000_0100 != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first bytes of what each client writes.
    fn framings() -> Vec<(Codec, Vec<u8>)> {
        let xerial = [XERIAL_MAGIC, &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
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
