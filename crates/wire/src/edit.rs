//! LZ4 and snappy streams, edited rather than compressed again.
//!
//! Both are byte-aligned LZ77 without entropy coding: a stream says, in turn, "these bytes" (literals)
//! and "so many bytes from so far back" (a match). When a few bytes of the plain text change, all of
//! it holds but literals that have such a byte, which are written anew, and matches whose source and
//! destination do not agree any more: those are split around the bytes that differ. Everything else is
//! copied as it is. Only matches that touch a changed byte on either side can stop to agree, so only
//! those are compared. The block grows by a few bytes at most and decodes to the new text by
//! construction; tests and a fuzzer hold it to that.

use std::ops::Range;

use twox_hash::XxHash32;

use crate::codec::lz4::{
    HAS_BLOCK_CHECKSUMS, HAS_CONTENT_CHECKSUM, HAS_CONTENT_SIZE, HAS_DICTIONARY, MAGIC,
    PLAIN_BLOCK, word,
};

/// The new plain text, and where it differs from the old one.
pub(crate) struct Edits<'a> {
    plain: &'a [u8],
    /// The first bytes of the changed words, in ascending order.
    words: &'a [usize],
    /// A bit for each granule of the text that has a changed byte.
    granules: &'a [u8],
}

/// Bytes of the text that share a bit: so few that most matches touch none that has changed, so many
/// that the bits of a batch lie in the nearest cache.
const GRANULE: usize = 8;
/// Bytes of a changed word.
const WORD: usize = 4;
/// Behind the last bit there are as many bytes as are read at once.
const PADDING: usize = 8;

/// The buffers of [`Edits`].
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    words: Vec<usize>,
    granules: Vec<u8>,
}

impl<'a> Edits<'a> {
    /// Takes the places of the changed words, in ascending order.
    pub(crate) fn new(
        plain: &'a [u8],
        words: impl Iterator<Item = usize>,
        buffers: &'a mut Buffers,
    ) -> Self {
        let Buffers { words: places, granules } = buffers;
        places.clear();
        places.extend(words);
        granules.clear();
        granules.resize(plain.len() / (GRANULE * 8) + 1 + PADDING, 0);
        for at in places.iter() {
            for byte in [*at, at + WORD - 1] {
                granules[byte / (GRANULE * 8)] |= 1 << (byte / GRANULE % 8);
            }
        }
        Self { plain, words: places, granules }
    }

    /// Whether a changed byte may lie in the range.
    #[inline]
    fn touch(&self, range: Range<usize>) -> bool {
        let (first, last) = (range.start / GRANULE, (range.end - 1) / GRANULE);
        let bits = self.bits(first);
        match last - first {
            // Of the 64 bits that are read up to seven lie before the first.
            more @ 0..57 => bits << (63 - more) != 0,
            _ => bits != 0 || self.touch((first + 57) * GRANULE..range.end),
        }
    }

    /// The bits of 57 granules or more from one on.
    #[inline]
    fn bits(&self, first: usize) -> u64 {
        let bytes = self.granules.get(first / 8..first / 8 + PADDING);
        bytes.and_then(|it| it.first_chunk()).map_or(0, |it| u64::from_le_bytes(*it) >> (first % 8))
    }

    /// Whether a match of `length` bytes, `offset` back from `at`, still gives what stands there.
    #[inline]
    fn holds(&self, at: usize, offset: usize, length: usize, ahead: &Ahead<'_>) -> bool {
        let (here, there) = (at..at + length, at - offset..at - offset + length);
        if !ahead.touch(here.end) && !self.touch(there.clone()) {
            return true;
        }
        self.plain[here] == self.plain[there]
    }

    fn ahead(&self) -> Ahead<'a> {
        Ahead { words: self.words }
    }

    /// From `at` to `end`, the next run of bytes that are the same `offset` back, of `least` bytes or
    /// more.
    fn next_run(&self, at: usize, end: usize, offset: usize, least: usize) -> Option<Range<usize>> {
        let same = |at: usize| self.plain[at] == self.plain[at - offset];
        let mut start = at;
        while start + least <= end {
            let length = (start..end).take_while(|&it| same(it)).count();
            if length >= least {
                return Some(start..start + length);
            }
            start += length + 1;
        }
        None
    }
}

/// The changed words that do not lie behind.
#[derive(Clone)]
struct Ahead<'a> {
    words: &'a [usize],
}

impl Ahead<'_> {
    /// Passes over those that end before `text`.
    #[inline]
    fn advance(&mut self, text: usize) {
        while let Some((first, rest)) = self.words.split_first()
            && first + WORD <= text
        {
            self.words = rest;
        }
    }

    /// Whether one begins before `end`.
    #[inline]
    fn touch(&self, end: usize) -> bool {
        self.words.first().is_some_and(|first| *first < end)
    }
}

/// Appends to `out` the LZ4 frames of `original` with the new text. `None` where that is not what
/// it is written for: then the text has to be compressed.
pub(crate) fn lz4(original: &[u8], edits: &Edits<'_>, out: &mut Vec<u8>) -> Option<()> {
    let mut at = 0;
    let mut text = 0;
    let mut ahead = edits.ahead();
    while at < original.len() {
        (at, text) = lz4_frame(original, at, edits, &mut ahead, text, out)?;
    }
    (text == edits.plain.len()).then_some(())
}

/// Edits the frame at `at`, whose text begins at `text`; gives where both end.
fn lz4_frame(
    original: &[u8],
    mut at: usize,
    edits: &Edits<'_>,
    ahead: &mut Ahead<'_>,
    start: usize,
    out: &mut Vec<u8>,
) -> Option<(usize, usize)> {
    let flags = *original.get(at + 4)?;
    if word(original, at)? != MAGIC || flags & HAS_DICTIONARY != 0 {
        return None;
    }
    // Magic, FLG and BD, the size of the text, the header's checksum.
    let header = 6 + if flags & HAS_CONTENT_SIZE == 0 { 0 } else { 8 } + 1;
    out.extend_from_slice(original.get(at..at + header)?);
    at += header;
    let mut text = start;
    loop {
        let size = word(original, at)?;
        at += 4;
        if size == 0 {
            out.extend_from_slice(&0_u32.to_le_bytes());
            break;
        }
        let length = (size & !PLAIN_BLOCK) as usize;
        let block = original.get(at..at + length)?;
        at += length;
        let size_at = out.len();
        out.extend_from_slice(&[0; 4]);
        let end = if size & PLAIN_BLOCK == 0 {
            lz4_block(block, edits, ahead, text, out)?
        } else {
            out.extend_from_slice(edits.plain.get(text..text + length)?);
            text + length
        };
        let data = size_at + 4;
        let mut new_size = (out.len() - data) as u32 | size & PLAIN_BLOCK;
        if size & PLAIN_BLOCK == 0 && out.len() - data >= end - text {
            // It has grown past its text.
            out.truncate(data);
            out.extend_from_slice(&edits.plain[text..end]);
            new_size = (end - text) as u32 | PLAIN_BLOCK;
        }
        out[size_at..data].copy_from_slice(&new_size.to_le_bytes());
        text = end;
        if flags & HAS_BLOCK_CHECKSUMS != 0 {
            let checksum = XxHash32::oneshot(0, &out[data..]);
            out.extend_from_slice(&checksum.to_le_bytes());
            at += 4;
        }
    }
    if flags & HAS_CONTENT_CHECKSUM != 0 {
        let checksum = XxHash32::oneshot(0, &edits.plain[start..text]);
        out.extend_from_slice(&checksum.to_le_bytes());
        at += 4;
    }
    (at <= original.len()).then_some((at, text))
}

/// The shortest match of LZ4.
const LEAST_MATCH: usize = 4;
/// A match may not begin in the last twelve bytes of a block, and the last five are literals.
const LAST_MATCH: usize = 12;
const LAST_LITERALS: usize = 5;
/// So many bytes of a block stand for more than twelve of its text, whatever they say.
const SURELY_TWELVE: usize = 32;

/// Edits a block whose text begins at `start`; gives where that ends.
fn lz4_block(
    block: &[u8],
    edits: &Edits<'_>,
    ahead: &mut Ahead<'_>,
    start: usize,
    out: &mut Vec<u8>,
) -> Option<usize> {
    let mut at = 0;
    let mut text = start;
    // Up to here the block was copied or written anew.
    let mut copied = 0;
    // Text from here on becomes literals of the next sequence; with it nothing is copied.
    let mut pending: Option<usize> = None;
    loop {
        let sequence = at;
        let token = *block.get(at)?;
        at += 1;
        let literals = lz4_length(block, &mut at, token >> 4)?;
        let literals_at = at;
        at = at.checked_add(literals).filter(|it| *it <= block.len())?;
        let here = text.checked_add(literals).filter(|it| *it <= edits.plain.len())?;
        if at == block.len() {
            // The last sequence has literals only.
            if let Some(first) = pending {
                lz4_sequence(&edits.plain[first..here], None, out);
            } else {
                out.extend_from_slice(&block[copied..literals_at]);
                out.extend_from_slice(&edits.plain[text..here]);
            }
            return Some(here);
        }
        let offset = usize::from(u16::from_le_bytes(block.get(at..at + 2)?.try_into().ok()?));
        at += 2;
        let length = lz4_length(block, &mut at, token & 15)? + LEAST_MATCH;
        let end = here.checked_add(length).filter(|it| *it <= edits.plain.len())?;
        if offset == 0 || offset > here {
            return None;
        }
        let literals_changed = literals > 0 && ahead.touch(here);
        ahead.advance(here);
        if edits.holds(here, offset, length, ahead) {
            if let Some(first) = pending.take() {
                lz4_sequence(&edits.plain[first..here], Some((offset, length)), out);
                copied = at;
            } else if literals_changed {
                out.extend_from_slice(&block[copied..literals_at]);
                out.extend_from_slice(&edits.plain[text..here]);
                copied = literals_at + literals;
            }
        } else {
            if pending.is_none() {
                out.extend_from_slice(&block[copied..sequence]);
            }
            let mut first = pending.take().unwrap_or(text);
            let mut next = here;
            while let Some(run) = edits.next_run(next, end, offset, LEAST_MATCH) {
                next = run.end;
                let room = end - run.start + LAST_LITERALS;
                if block.len() - at >= SURELY_TWELVE || room >= LAST_MATCH {
                    let found = Some((offset, run.len()));
                    lz4_sequence(&edits.plain[first..run.start], found, out);
                    first = run.end;
                }
            }
            pending = (first < end).then_some(first);
            copied = at;
        }
        ahead.advance(end);
        text = end;
    }
}

/// A length of four bits goes on in bytes while those are 255.
fn lz4_length(block: &[u8], at: &mut usize, bits: u8) -> Option<usize> {
    let mut length = usize::from(bits);
    if bits == 15 {
        loop {
            let byte = *block.get(*at)?;
            *at += 1;
            length += usize::from(byte);
            if byte < 255 {
                break;
            }
        }
    }
    Some(length)
}

fn lz4_sequence(literals: &[u8], found: Option<(usize, usize)>, out: &mut Vec<u8>) {
    let beyond = found.map_or(0, |(_, length)| length - LEAST_MATCH);
    let bits = |length: usize| length.min(15) as u8;
    out.push(bits(literals.len()) << 4 | bits(beyond));
    let more = |length: usize, out: &mut Vec<u8>| {
        if let Some(mut left) = length.checked_sub(15) {
            while left >= 255 {
                out.push(255);
                left -= 255;
            }
            out.push(left as u8);
        }
    };
    more(literals.len(), out);
    out.extend_from_slice(literals);
    if let Some((offset, _)) = found {
        out.extend_from_slice(&(offset as u16).to_le_bytes());
        more(beyond, out);
    }
}

/// The same for snappy, raw or in xerial's framing, whose header has `header` bytes.
pub(crate) fn snappy(
    original: &[u8],
    header: Option<usize>,
    edits: &Edits<'_>,
    out: &mut Vec<u8>,
) -> Option<()> {
    let Some(header) = header else {
        let end = snappy_block(original, edits, &mut edits.ahead(), 0, out)?;
        return (end == edits.plain.len()).then_some(());
    };
    out.extend_from_slice(original.get(..header)?);
    let (mut at, mut text) = (header, 0);
    let mut ahead = edits.ahead();
    while at < original.len() {
        let length = i32::from_be_bytes(original.get(at..at + 4)?.try_into().ok()?);
        at += 4;
        let block = original.get(at..at + usize::try_from(length).ok()?)?;
        at += block.len();
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        text = snappy_block(block, edits, &mut ahead, text, out)?;
        let length = (out.len() - length_at - 4) as i32;
        out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    }
    (text == edits.plain.len()).then_some(())
}

/// A copy of fewer bytes costs as much as literals.
const LEAST_COPY: usize = 4;

fn snappy_block(
    block: &[u8],
    edits: &Edits<'_>,
    ahead: &mut Ahead<'_>,
    start: usize,
    out: &mut Vec<u8>,
) -> Option<usize> {
    let (stated, mut at) = crate::varint::read_u32(block).ok()?;
    let block_end = start.checked_add(stated as usize).filter(|it| *it <= edits.plain.len())?;
    let mut text = start;
    let mut copied = 0;
    loop {
        (at, text) = pass_over(block, edits, ahead, start, (at, text));
        let Some(&tag) = block.get(at) else { break };
        let element = at;
        at += 1;
        let bits = usize::from(tag >> 2);
        let (length, offset) = match tag & 0b11 {
            0b00 => {
                let length = snappy_literal_length(block, &mut at, bits)?;
                let end = text.checked_add(length).filter(|it| *it <= block_end)?;
                let literals = at;
                at = at.checked_add(length).filter(|it| *it <= block.len())?;
                if ahead.touch(end) {
                    out.extend_from_slice(&block[copied..literals]);
                    out.extend_from_slice(&edits.plain[text..end]);
                    copied = at;
                    ahead.advance(end);
                }
                text = end;
                continue;
            }
            0b01 => {
                at += 1;
                ((bits & 7) + 4, usize::from(tag >> 5) << 8 | usize::from(*block.get(at - 1)?))
            }
            0b10 => {
                at += 2;
                (bits + 1, usize::from(u16::from_le_bytes(*block.get(at - 2..)?.first_chunk()?)))
            }
            _ => {
                at += 4;
                (bits + 1, u32::from_le_bytes(*block.get(at - 4..)?.first_chunk()?) as usize)
            }
        };
        let end = text + length;
        if end > block_end || offset == 0 || offset > text - start {
            return None;
        }
        if !edits.holds(text, offset, length, ahead) {
            out.extend_from_slice(&block[copied..element]);
            let mut next = text;
            while let Some(run) = edits.next_run(next, end, offset, LEAST_COPY) {
                snappy_literals(&edits.plain[next..run.start], out);
                snappy_emit_copy(run.len(), offset, out);
                next = run.end;
            }
            snappy_literals(&edits.plain[next..end], out);
            copied = at;
        }
        ahead.advance(end);
        text = end;
    }
    out.extend_from_slice(block.get(copied..)?);
    (text == block_end).then_some(text)
}

/// What a tag says of its element.
#[derive(Clone, Copy)]
struct Element {
    /// Bytes of text; zero where it takes a closer look.
    length: u8,
    /// Bytes of the offset behind the tag, as a mask of them.
    mask: u32,
    /// Bits of the offset in the tag.
    high: u32,
    /// From this tag to the next.
    size: u8,
}

static ELEMENTS: [Element; 256] = {
    let none = Element { length: 0, mask: 0, high: 0, size: 0 };
    let mut elements = [none; 256];
    let mut tag = 0;
    while tag < 256 {
        let bits = tag >> 2;
        elements[tag] = match tag & 0b11 {
            0b00 if bits < 60 => {
                Element { length: bits as u8 + 1, mask: 0, high: 0, size: bits as u8 + 2 }
            }
            0b00 => none,
            0b01 => {
                let (length, high) = ((bits & 7) as u8 + 4, (tag as u32 >> 5) << 8);
                Element { length, mask: 0xff, high, size: 2 }
            }
            0b10 => Element { length: bits as u8 + 1, mask: 0xffff, high: 0, size: 3 },
            _ => Element { length: bits as u8 + 1, mask: u32::MAX, high: 0, size: 5 },
        };
        tag += 1;
    }
    elements
};

/// Passes over elements that no change touches, without a branch that depends on their kind; gives
/// where the first other one and its text begin.
#[inline]
fn pass_over(
    block: &[u8],
    edits: &Edits<'_>,
    ahead: &Ahead<'_>,
    start: usize,
    (mut at, mut text): (usize, usize),
) -> (usize, usize) {
    while let Some(&[tag, b0, b1, b2, b3]) = block.get(at..).and_then(|it| it.first_chunk()) {
        let element = ELEMENTS[usize::from(tag)];
        let word = u32::from_le_bytes([b0, b1, b2, b3]) & element.mask;
        // Zero for literals: then the source is the text itself.
        let offset = (word | element.high) as usize;
        let end = text + usize::from(element.length);
        let is_wrong = offset > text - start || (offset == 0) != (element.mask == 0);
        if element.length == 0 || is_wrong || ahead.touch(end) || end > edits.plain.len() {
            break;
        }
        let there = text - offset;
        if edits.touch(there..there + usize::from(element.length)) {
            break;
        }
        (at, text) = (at + usize::from(element.size), end);
    }
    (at, text)
}

/// Six bits of the tag, or one to four bytes after it, less one.
fn snappy_literal_length(block: &[u8], at: &mut usize, bits: usize) -> Option<usize> {
    let Some(bytes) = bits.checked_sub(59).filter(|it| *it > 0) else { return Some(bits + 1) };
    let mut word = [0; 8];
    word[..bytes].copy_from_slice(block.get(*at..*at + bytes)?);
    *at += bytes;
    Some(usize::try_from(u64::from_le_bytes(word)).ok()? + 1)
}

/// A copy is 64 bytes long at the most, so literals in its place are too.
fn snappy_literals(literals: &[u8], out: &mut Vec<u8>) {
    match literals.len() {
        0 => return,
        short @ 1..=60 => out.push((short as u8 - 1) << 2),
        longer => out.extend_from_slice(&[60 << 2, longer as u8 - 1]),
    }
    out.extend_from_slice(literals);
}

fn snappy_emit_copy(length: usize, offset: usize, out: &mut Vec<u8>) {
    if (4..=11).contains(&length) && offset < 2048 {
        let tag = 1 | (length as u8 - 4) << 2 | (offset >> 8 << 5) as u8;
        out.extend_from_slice(&[tag, offset as u8]);
    } else if let Ok(offset) = u16::try_from(offset) {
        out.push(2 | (length as u8 - 1) << 2);
        out.extend_from_slice(&offset.to_le_bytes());
    } else {
        out.push(3 | (length as u8 - 1) << 2);
        out.extend_from_slice(&(offset as u32).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::{self, Codec, compress, decompress};

    /// Framings of every producer: blocks that stand alone or lean on those before, with checksums
    /// or without.
    fn framings() -> Vec<(Codec, Vec<u8>)> {
        let xerial = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
        let lz4 = |flags: u8, descriptor: u8| {
            (Codec::Lz4, vec![4, 0x22, 0x4d, 0x18, 0b0100_0000 | flags, descriptor])
        };
        vec![
            (Codec::Snappy, vec![]),
            (Codec::Snappy, xerial),
            lz4(0b10_0000, 0b0100_0000),
            lz4(0b11_0100, 0b0100_0000),
            lz4(0b10_0000, 0b0101_0000),
            lz4(0b10_0100, 0b0111_0000),
        ]
    }

    /// Text in which much comes again: pieces of a few that are drawn again and again.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![3 => Just(0_u8), 2 => b'a'..b'e', 1 => any::<u8>()];
        let pieces = prop::collection::vec(prop::collection::vec(byte, 1..40), 1..12);
        (pieces, prop::collection::vec(any::<prop::sample::Index>(), 1..4000)).prop_map(
            |(pieces, order)| order.iter().flat_map(|it| it.get(&pieces).clone()).collect(),
        )
    }

    fn check(codec: Codec, framing: &[u8], old: &[u8], new: &[u8], words: &[usize]) {
        let (mut packed, mut edited, mut back) = (Vec::new(), Vec::new(), Vec::new());
        compress(codec, old, framing, &mut packed);
        let mut buffers = Buffers::default();
        let edits = Edits::new(new, words.iter().copied(), &mut buffers);
        codec::edit(codec, &packed, &edits, &mut edited).expect("our own streams can be edited");
        decompress(codec, &edited, new.len(), &mut back).expect("what was edited can be read");
        assert!(back == new, "{codec:?} {framing:?}: the text differs");
        if codec == Codec::Lz4 {
            check_blocks(&edited, framing[4]);
        }
    }

    /// What LZ4 asks of the end of a block, which some decoders rely on: no match begins in its last
    /// twelve bytes, and the last five are literals.
    fn check_blocks(frame: &[u8], flags: u8) {
        let mut at = 7;
        loop {
            let size = word(frame, at).unwrap();
            at += 4;
            if size == 0 {
                return;
            }
            let block = &frame[at..at + (size & !PLAIN_BLOCK) as usize];
            at += block.len() + if flags & HAS_BLOCK_CHECKSUMS == 0 { 0 } else { 4 };
            if size & PLAIN_BLOCK != 0 {
                continue;
            }
            let (mut here, mut text, mut last_match) = (0, 0, None);
            loop {
                let token = block[here];
                here += 1;
                let literals = lz4_length(block, &mut here, token >> 4).unwrap();
                (here, text) = (here + literals, text + literals);
                if here == block.len() {
                    let Some(last) = last_match else { break };
                    assert!(literals >= LAST_LITERALS, "{literals} literals at the end");
                    assert!(text - last >= LAST_MATCH, "a match {} from the end", text - last);
                    break;
                }
                here += 2;
                last_match = Some(text);
                text += lz4_length(block, &mut here, token & 15).unwrap() + LEAST_MATCH;
            }
        }
    }

    #[test]
    fn changes_at_the_very_ends() {
        for (codec, framing) in framings() {
            for length in [4_usize, 5, 12, 13, 17, 64, 100, 70_000] {
                for period in [1, 2, 3, 7, 40] {
                    let old: Vec<u8> = (0..length).map(|it| (it % period) as u8).collect();
                    for at in [0, length / 2, length - 4, length.saturating_sub(9)] {
                        let at = at.min(length - 4);
                        let mut new = old.clone();
                        new[at..at + 4].copy_from_slice(&[200, 201, 202, 203]);
                        check(codec, &framing, &old, &new, &[at]);
                    }
                }
            }
        }
    }

    #[test]
    fn streams_that_are_cut_off_are_not_edited() {
        for (codec, framing) in framings() {
            let old = b"some text, some text, some text again".repeat(20);
            let mut packed = Vec::new();
            compress(codec, &old, &framing, &mut packed);
            let mut buffers = Buffers::default();
            let edits = Edits::new(&old, [5_usize].into_iter(), &mut buffers);
            for length in 0..packed.len() {
                let edited = codec::edit(codec, &packed[..length], &edits, &mut Vec::new());
                assert!(edited.is_none(), "{codec:?} cut at {length}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn what_is_edited_decodes_to_the_new_text(
            old in text(),
            changes in prop::collection::vec(
                (any::<prop::sample::Index>(), any::<[u8; 4]>(), 1_usize..=4),
                0..300,
            ),
        ) {
            let mut new = old.clone();
            let mut words = Vec::new();
            for (at, bytes, width) in changes {
                if old.len() < 4 {
                    break;
                }
                let at = at.index(old.len() - 3);
                new[at + 4 - width..at + 4].copy_from_slice(&bytes[..width]);
                words.push(at);
            }
            words.sort_unstable();
            for (codec, framing) in framings() {
                check(codec, &framing, &old, &new, &words);
            }
        }

        #[test]
        fn arbitrary_streams_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            plain in prop::collection::vec(any::<u8>(), 4..400),
        ) {
            for (codec, mut stream) in framings() {
                if codec == Codec::Lz4 {
                    stream.push(0);
                    stream.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                }
                stream.extend_from_slice(&bytes);
                let mut buffers = Buffers::default();
                let edits = Edits::new(&plain, [0_usize].into_iter(), &mut buffers);
                let _ = codec::edit(codec, &stream, &edits, &mut Vec::new());
            }
        }
    }
}
