//! RFC 1952.

use libdeflater::{CompressionLvl, Compressor, Decompressor};

use super::{Codec, Room};
use crate::Result;

#[derive(Default)]
pub(super) struct Contexts {
    decompressor: Option<Decompressor>,
    /// For the level that was asked for last.
    compressor: Option<(i32, Compressor)>,
}

/// Deflate expands at most so many times.
const MOST_EXPANSION: usize = 1032;

impl Contexts {
    /// libdeflate where the input is one member, as every Kafka client writes it; the streaming decoder
    /// where it is not.
    pub(super) fn decompress(&mut self, input: &[u8], room: &mut Room<'_>) -> Result<()> {
        // A member ends with the CRC-32 and the size of its plain text; one that lies can't make us
        // reserve more than deflate could have made of it.
        if let Some((_, trailer)) = input.split_last_chunk::<8>() {
            let (crc, size) = trailer.split_at(4);
            let crc = u32::from_le_bytes(crc.try_into().expect("four of eight bytes"));
            let size = u32::from_le_bytes(size.try_into().expect("four of eight bytes")) as usize;
            if size <= input.len().saturating_mul(MOST_EXPANSION) {
                let out = room.next(size)?;
                let decompressor = self.decompressor.get_or_insert_with(Decompressor::new);
                let plain = decompressor.gzip_decompress(input, out);
                if plain == Ok(size) && libdeflater::crc32(out) == crc {
                    return room.fill(size);
                }
            }
        }
        room.read(Codec::Gzip, flate2::read::MultiGzDecoder::new(input))
    }

    pub(super) fn compress(&mut self, plain: &[u8], original: &[u8], out: &mut Vec<u8>) {
        let level = level_of(original);
        if self.compressor.as_ref().is_none_or(|(of, _)| *of != level) {
            let known = CompressionLvl::new(level).expect("1, 6 and 9 are levels");
            self.compressor = Some((level, Compressor::new(known)));
        }
        let Some((_, compressor)) = &mut self.compressor else { return };
        out.resize(compressor.gzip_compress_bound(plain.len()), 0);
        let length = compressor.gzip_compress(plain, out).expect("the bound holds any input");
        out.truncate(length);
    }
}

/// What the header says of the level: its ninth byte, XFL, is 2 for the best and 4 for the fastest.
/// Otherwise it is Kafka's default, java.util.zip's `DEFAULT_COMPRESSION`.
fn level_of(original: &[u8]) -> i32 {
    match original.get(8) {
        Some(2) => 9,
        Some(4) => 1,
        _ => 6,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_level_is_the_producers() {
        let plain: Vec<u8> = (0..60_000_u32).map(|it| ((it * it) >> 5) as u8 & 31).collect();
        let packed = |level: u32| {
            let level = flate2::Compression::new(level);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(&plain).unwrap();
            encoder.finish().unwrap()
        };
        let mut contexts = Contexts::default();
        let mut again = |original: &[u8]| {
            let mut out = Vec::new();
            contexts.compress(&plain, original, &mut out);
            out.len()
        };
        let (fast, best, default) = (again(&packed(1)), again(&packed(9)), again(&packed(6)));
        assert!(best <= default && default < fast, "{best} {default} {fast}");
        assert_eq!(again(&[]), default, "without a header it is the default");
    }
}
