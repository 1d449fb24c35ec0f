//! Record batches for benches, built by hand and byte by byte.

use wire::codec::{self, Codec};
use wire::{crc, varint};

/// Xorshift: the same bytes in every run.
#[derive(Debug, Clone)]
pub struct Noise(u64);

impl Default for Noise {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Noise {
    /// The next number, of 53 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
}

/// The payload of a batch: records without keys and headers, whose values of `size` bytes `value`
/// writes, each with its number.
pub fn payload(count: usize, size: usize, mut value: impl FnMut(usize, &mut Vec<u8>)) -> Vec<u8> {
    let mut plain = Vec::new();
    for offset in 0..count {
        let mut body = vec![0];
        varint::write_i64(&mut body, 0);
        varint::write_i32(&mut body, offset as i32);
        varint::write_i32(&mut body, -1);
        varint::write_i32(&mut body, size as i32);
        value(offset, &mut body);
        varint::write_i32(&mut body, 0);
        varint::write_i32(&mut plain, body.len() as i32);
        plain.extend(body);
    }
    plain
}

/// Values with this schema id, and text of sixteen letters in which codecs find something to do.
pub fn letters(id: u32, count: usize, size: usize) -> Vec<u8> {
    let mut noise = Noise::default();
    payload(count, size, |_, out| {
        out.push(0);
        out.extend(id.to_be_bytes());
        out.extend((5..size).map(|_| b'a' + (noise.roll() & 15) as u8));
    })
}

/// The batch of a payload, framed as the Java client does.
///
/// # Panics
///
/// Never: every codec has its number.
pub fn batch(codec: Codec, plain: &[u8], count: usize) -> Vec<u8> {
    let framing: &[u8] = match codec {
        Codec::Snappy => b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01",
        _ => &[],
    };
    let mut payload = Vec::new();
    codec::compress(codec, plain, framing, &mut payload);
    let number = Codec::ALL.iter().position(|it| *it == codec).expect("it is one of them");
    let mut out = vec![0; wire::batch::HEADER];
    out[8..12].copy_from_slice(&(payload.len() as i32 + 49).to_be_bytes());
    out[16] = 2;
    out[21..23].copy_from_slice(&(number as i16).to_be_bytes());
    out[23..27].copy_from_slice(&(count as i32 - 1).to_be_bytes());
    out[43..57].fill(0xff);
    out[57..61].copy_from_slice(&(count as i32).to_be_bytes());
    out.extend(payload);
    let checksum = crc::crc32c(&out[21..]);
    out[17..21].copy_from_slice(&checksum.to_be_bytes());
    out
}
