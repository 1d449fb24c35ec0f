//! Raw snappy, as librdkafka writes it, or blocks in xerial's framing, as Java does.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{Codec, Room, damaged};
use crate::Result;

pub(super) struct Contexts {
    decoder: Decoder,
    encoder: Encoder,
}

impl Default for Contexts {
    fn default() -> Self {
        Self { decoder: Decoder::new(), encoder: Encoder::new() }
    }
}

/// Version and oldest compatible version follow these eight bytes, an INT32 each.
pub(super) const MAGIC: &[u8] = b"\x82SNAPPY\0";
const HEADER: usize = 16;
/// Block size of the Java client.
const BLOCK: usize = 32 * 1024;
/// Snappy's longest copy makes 64 bytes of three.
const MOST_EXPANSION: usize = 64;

/// How long xerial's header is, where there is one.
pub(super) fn header_of(original: &[u8]) -> Option<usize> {
    original.starts_with(MAGIC).then_some(HEADER)
}

impl Contexts {
    pub(super) fn decompress(&mut self, input: &[u8], room: &mut Room<'_>) -> Result<()> {
        if header_of(input).is_none() {
            return self.block(input, room);
        }
        let mut rest = input.get(HEADER..).unwrap_or_default();
        while !rest.is_empty() {
            let block = rest.split_first_chunk::<4>().and_then(|(length, rest)| {
                rest.split_at_checked(usize::try_from(i32::from_be_bytes(*length)).ok()?)
            });
            let Some((block, after)) = block else {
                return Err(damaged(Codec::Snappy, &"a xerial block is cut off"));
            };
            self.block(block, room)?;
            rest = after;
        }
        Ok(())
    }

    fn block(&mut self, block: &[u8], room: &mut Room<'_>) -> Result<()> {
        let length = decompress_len(block).map_err(|why| damaged(Codec::Snappy, &why))?;
        // A length that lies can't make us reserve more than this.
        if length > block.len().saturating_mul(MOST_EXPANSION) {
            return Err(damaged(Codec::Snappy, &"the stated length can't be true"));
        }
        let out = room.next(length)?;
        self.decoder.decompress(block, out).map_err(|why| damaged(Codec::Snappy, &why))?;
        room.fill(length)
    }

    pub(super) fn compress(&mut self, plain: &[u8], original: &[u8], out: &mut Vec<u8>) {
        let encoder = &mut self.encoder;
        let mut append = |block: &[u8], out: &mut Vec<u8>| {
            let start = out.len();
            out.resize(start + max_compress_len(block.len()), 0);
            let length = encoder.compress(block, &mut out[start..]);
            out.truncate(start + length.expect("the buffer has the size that snap asks for"));
        };
        let header = header_of(original).and_then(|length| original.get(..length));
        let Some(header) = header else {
            return append(plain, out);
        };
        out.extend_from_slice(header);
        for block in plain.chunks(BLOCK) {
            let length_at = out.len();
            out.extend_from_slice(&[0; 4]);
            append(block, out);
            let length = (out.len() - length_at - 4) as i32;
            out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
}
