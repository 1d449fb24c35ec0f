//! The LZ4 frame format, each block decompressed to where its text stays.

use std::io::Write;

use lz4_flex::block::{decompress_into, decompress_into_with_dict};
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use twox_hash::XxHash32;

use super::{Codec, Room, damaged};
use crate::{Error, Result};

pub(crate) const MAGIC: u32 = 0x184d_2204;
/// Bits of a frame's FLG byte.
const VERSION: u8 = 0b1100_0000;
const VERSION_1: u8 = 0b0100_0000;
const IS_INDEPENDENT: u8 = 1 << 5;
pub(crate) const HAS_BLOCK_CHECKSUMS: u8 = 1 << 4;
pub(crate) const HAS_CONTENT_SIZE: u8 = 1 << 3;
pub(crate) const HAS_CONTENT_CHECKSUM: u8 = 1 << 2;
pub(crate) const HAS_DICTIONARY: u8 = 1;
/// The bit of a block's size that says that it is not compressed.
pub(crate) const PLAIN_BLOCK: u32 = 1 << 31;
/// How far back a match may reach.
const WINDOW: usize = 64 * 1024;

/// What a frame's descriptor says.
struct Descriptor {
    flags: u8,
    /// The most text that a block has.
    block: usize,
    /// Bytes of magic number, descriptor and its checksum.
    length: usize,
}

impl Descriptor {
    /// `None` where it is none of those that are read here: a skippable or a legacy frame, say.
    fn parse(frame: &[u8]) -> Option<Self> {
        let [flags, sizes] = *frame.get(4..6)?.first_chunk()?;
        let block = match sizes {
            0b0100_0000 => 64 << 10,
            0b0101_0000 => 256 << 10,
            0b0110_0000 => 1 << 20,
            0b0111_0000 => 4 << 20,
            _ => return None,
        };
        let is_known = word(frame, 0)? == MAGIC
            && flags & VERSION == VERSION_1
            && flags & (HAS_DICTIONARY | 0b10) == 0;
        let end = if flags & HAS_CONTENT_SIZE == 0 { 6 } else { 14 };
        let checksum = (XxHash32::oneshot(0, frame.get(4..end)?) >> 8) as u8;
        (is_known && *frame.get(end)? == checksum).then_some(Self { flags, block, length: end + 1 })
    }
}

pub(super) fn decompress(input: &[u8], room: &mut Room<'_>) -> Result<()> {
    let mut rest = input;
    while !rest.is_empty() {
        match Descriptor::parse(rest) {
            Some(descriptor) => rest = frame(rest, &descriptor, room)?,
            // The library reads all kinds, and finds the words for what is none.
            None => return stream(rest, room),
        }
    }
    // An empty input is no frame.
    if input.is_empty() { stream(input, room) } else { Ok(()) }
}

/// Decompresses one frame; gives what is behind it.
fn frame<'a>(input: &'a [u8], frame: &Descriptor, room: &mut Room<'_>) -> Result<&'a [u8]> {
    let fail = |why: &'static str| damaged(Codec::Lz4, &why);
    let cut = || fail("it is cut off");
    let start = room.filled;
    let mut rest = input.get(frame.length..).ok_or_else(cut)?;
    let take = |rest: &mut &'a [u8], length: usize| {
        let (taken, after) = rest.split_at_checked(length)?;
        *rest = after;
        Some(taken)
    };
    loop {
        let size = take(&mut rest, 4).and_then(|it| word(it, 0)).ok_or_else(cut)?;
        if size == 0 {
            break;
        }
        let length = (size & !PLAIN_BLOCK) as usize;
        if length > frame.block {
            return Err(fail("a block is larger than its frame allows"));
        }
        let block = take(&mut rest, length).ok_or_else(cut)?;
        if frame.flags & HAS_BLOCK_CHECKSUMS != 0 {
            let stated = take(&mut rest, 4).and_then(|it| word(it, 0)).ok_or_else(cut)?;
            if stated != XxHash32::oneshot(0, block) {
                return Err(fail("a block's checksum does not match"));
            }
        }
        if size & PLAIN_BLOCK != 0 {
            room.append(block)?;
            continue;
        }
        let (history, next) = room.with_history(frame.block);
        let written = if frame.flags & IS_INDEPENDENT == 0 {
            let history = &history[start.max(history.len().saturating_sub(WINDOW))..];
            decompress_into_with_dict(block, next, history)
        } else {
            decompress_into(block, next)
        };
        let is_short = next.len() < frame.block;
        match written {
            Ok(written) => room.fill(written)?,
            // The limit is within this block, and the text does not fit.
            Err(_) if is_short => return Err(Error::Bomb { limit: room.limit }),
            Err(why) => return Err(damaged(Codec::Lz4, &why)),
        }
    }
    if frame.flags & HAS_CONTENT_SIZE != 0 {
        let stated = input[6..14].first_chunk().map_or(0, |it| u64::from_le_bytes(*it));
        if stated != (room.filled - start) as u64 {
            return Err(fail("the size of its text is not what it states"));
        }
    }
    if frame.flags & HAS_CONTENT_CHECKSUM != 0 {
        let stated = take(&mut rest, 4).and_then(|it| word(it, 0)).ok_or_else(cut)?;
        if stated != XxHash32::oneshot(0, &room.out[start..room.filled]) {
            return Err(fail("the checksum of its text does not match"));
        }
    }
    Ok(rest)
}

fn stream(input: &[u8], room: &mut Room<'_>) -> Result<()> {
    room.read(Codec::Lz4, FrameDecoder::new(input))
}

pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn compress(plain: &[u8], original: &[u8], out: &mut Vec<u8>) {
    const IN_MEMORY: &str = "writing to a Vec can't fail";
    let mut encoder = FrameEncoder::with_frame_info(frame_like(original), &mut *out);
    encoder.write_all(plain).expect(IN_MEMORY);
    encoder.finish().expect(IN_MEMORY);
}

/// The options of an LZ4 frame: FLG is its fifth byte, BD its sixth.
fn frame_like(original: &[u8]) -> FrameInfo {
    let (flags, sizes) = match original {
        [_, _, _, _, flags, sizes, ..] => (*flags, *sizes),
        _ => (0b0110_0000, 0b0100_0000),
    };
    let size = match (sizes >> 4) & 0b111 {
        5 => BlockSize::Max256KB,
        6 => BlockSize::Max1MB,
        7 => BlockSize::Max4MB,
        _ => BlockSize::Max64KB,
    };
    FrameInfo::new()
        .block_size(size)
        .block_mode(BlockMode::Independent)
        .block_checksums(flags & HAS_BLOCK_CHECKSUMS != 0)
        .content_checksum(flags & HAS_CONTENT_CHECKSUM != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame of every kind: blocks that lean on those before too, with checksums and sizes or not.
    fn packed(plain: &[u8], kind: usize) -> Vec<u8> {
        let is = |bit: usize| kind >> bit & 1 != 0;
        let info = FrameInfo::new()
            .block_size(if is(0) { BlockSize::Max64KB } else { BlockSize::Max256KB })
            .block_mode(if is(1) { BlockMode::Linked } else { BlockMode::Independent })
            .block_checksums(is(2))
            .content_checksum(is(3))
            .content_size(is(4).then_some(plain.len() as u64));
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn ours(input: &[u8], limit: usize, scratch: Vec<u8>) -> Result<Vec<u8>> {
        let mut out = scratch;
        let mut room = Room { out: &mut out, filled: 0, limit };
        decompress(input, &mut room)?;
        let filled = room.filled;
        out.truncate(filled);
        Ok(out)
    }

    fn librarys(input: &[u8], limit: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut room = Room { out: &mut out, filled: 0, limit };
        stream(input, &mut room)?;
        let filled = room.filled;
        out.truncate(filled);
        Ok(out)
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop::collection::vec(prop::collection::vec(b'a'..b'e', 1..200), 1..8);
        let order = prop::collection::vec(any::<prop::sample::Index>(), 0..3000);
        (pieces, order).prop_map(|(pieces, order)| {
            order.iter().flat_map(|it| it.get(&pieces).clone()).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn every_kind_of_frame_is_read(plain in text(), kind in 0_usize..32, other in 0_usize..32) {
            let both = [packed(&plain, kind), packed(b"and more", other)].concat();
            let wanted = [&plain[..], b"and more"].concat();
            let dirty = vec![0xee; 1000];
            prop_assert_eq!(ours(&both, wanted.len(), dirty).unwrap(), wanted);
            let bomb = Err(Error::Bomb { limit: plain.len() });
            prop_assert_eq!(ours(&both, plain.len(), Vec::new()), bomb);
        }

        #[test]
        fn damage_is_found_where_the_library_finds_it(
            plain in text(),
            kind in 0_usize..32,
            at in any::<prop::sample::Index>(),
            bit in 0_u8..8,
            cut in any::<prop::sample::Index>(),
        ) {
            let mut damaged = packed(&plain, kind);
            let at = at.index(damaged.len());
            damaged[at] ^= 1 << bit;
            let limit = 1 << 20;
            for input in [&damaged[..], &damaged[..cut.index(damaged.len())]] {
                match (ours(input, limit, Vec::new()), librarys(input, limit)) {
                    (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
                    // The library does not hold a frame to the size that it states.
                    (Err(_), _) => {}
                    (ours, theirs) => prop_assert!(false, "{ours:?} where the library says {theirs:?}"),
                }
            }
        }
    }
}
