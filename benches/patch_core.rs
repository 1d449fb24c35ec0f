//! What translating costs beside copying the same bytes: `cargo bench --bench patch_core`.
//!
//! Batches of 900 kB, every value with an id that changes, 64 MiB in all, so that neither side finds
//! them in a cache. Each pass translates there or back; the median of the passes is shown.

use std::hint::black_box;
use std::time::{Duration, Instant};

use wire::codec::{self, Codec};
use wire::translate::Parts;
use wire::{IdMap, Tally, Translator, crc, varint};

const WORKING_SET: usize = 64 << 20;
const BATCH: usize = 900_000;
const PASSES: usize = 21;
const OLD: u32 = 5;
const NEW: u32 = 60_000;

fn main() {
    println!("codec   record    ns/record     GB/s   of memcpy");
    for size in [100, 1024, 10 * 1024] {
        row(Codec::None, size);
    }
    println!();
    println!(
        "Compressed: what translating costs of decompressing and compressing with the same library"
    );
    println!("codec   text    record  ids  bytes      GB/s   ratio    size");
    for codec in [Codec::Lz4, Codec::Snappy, Codec::Zstd, Codec::Gzip] {
        let is_edited = matches!(codec, Codec::Lz4 | Codec::Snappy);
        for text in [Text::Random, Text::Json, Text::Avro] {
            for size in [100, 1024] {
                let ids = if is_edited { &[1_u32, 16][..] } else { &[1][..] };
                for &ids in ids {
                    let widths = if is_edited { &[1_u32, 4][..] } else { &[1][..] };
                    for &width in widths {
                        compressed(codec, text, size, ids, width);
                    }
                }
            }
        }
    }
}

/// What the records are like.
#[derive(Debug, Clone, Copy)]
enum Text {
    Random,
    Json,
    Avro,
}

/// Batches with `ids` schema ids by turns, whose new ones differ in `width` bytes.
fn compressed(codec: Codec, text: Text, size: usize, ids: u32, width: u32) {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let records = (BATCH / size).max(1);
    let plain = payload(records, size, &mut noise, |offset, noise, out| {
        out.push(0);
        out.extend((1 + offset as u32 % ids).to_be_bytes());
        text.fill(offset, size, noise, out);
    });
    let original = pack(codec, &plain, records);
    let new = |id: u32| if width == 1 { id + 100 } else { 0x0102_0304 + id * 0x0101_0101 };
    let map = IdMap::new((1..=ids).map(|id| (id, new(id))));
    let mut translator = Translator::new(Parts { keys: false, values: true }, 1 << 26);
    let count = if codec == Codec::Gzip || codec == Codec::Zstd { 4 } else { 16 };
    let (mut translating, mut packing) = (Vec::new(), Vec::new());
    let (mut back, mut again) = (Vec::new(), Vec::new());
    let mut rebuilt = Vec::new();
    // By turns, so that other work on the machine meets both.
    for _ in 0..9 {
        let mut batches: Vec<Vec<u8>> = (0..count).map(|_| original.clone()).collect();
        let start = Instant::now();
        for batch in &mut batches {
            let new = translator.records(batch, &map, &mut Tally::default());
            rebuilt = new.expect("every id changes");
        }
        translating.push(start.elapsed());
        let start = Instant::now();
        for batch in &batches {
            let packed = &batch[61..];
            codec::decompress(codec, packed, 1 << 26, &mut back).expect("it was just compressed");
            codec::compress(codec, &back, packed, &mut again);
        }
        packing.push(start.elapsed());
    }
    // What the same library makes of the new text.
    codec::decompress(codec, &rebuilt[61..], 1 << 26, &mut back).expect("it was just written");
    codec::compress(codec, &back, &rebuilt[61..], &mut again);
    let (translating, packing) = (median(translating).as_secs_f64(), median(packing).as_secs_f64());
    println!(
        "{:<7} {:<7} {size:>6} {ids:>4} {width:>6} {:>9.2} {:>6.2}x {:>6.2}%",
        codec.name(),
        format!("{text:?}"),
        (plain.len() * count) as f64 / translating / 1e9,
        translating / packing,
        ((rebuilt.len() - 61) as f64 / again.len() as f64 - 1.0) * 100.0,
    );
}

impl Text {
    /// Brings a value to `size` bytes, in whole fields.
    fn fill(self, offset: usize, size: usize, noise: &mut Noise, out: &mut Vec<u8>) {
        let end = out.len() + size - 5;
        while out.len() < end {
            match self {
                Self::Random => out.push(noise.next() as u8),
                Self::Json => {
                    let (id, cents) = (noise.next() % 100_000, noise.next() % 10_000);
                    let field = format!(
                        "{{\"order\":{},\"customer\":\"c-{id:05}\",\"amount\":{cents},\"currency\":\"EUR\",",
                        offset + 1_000_000
                    );
                    out.extend(field.into_bytes());
                }
                Self::Avro => {
                    // Small zigzag integers, zeros for absent fields, short strings.
                    out.extend([2, (noise.next() % 200) as u8, 0, 0, 0, 0, 12]);
                    out.extend((0..6).map(|_| b'A' + (noise.next() % 26) as u8));
                    out.extend([0, 0, 2, (noise.next() % 4) as u8]);
                }
            }
        }
        out.truncate(end);
    }
}

/// Xorshift.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
}

fn row(codec: Codec, size: usize) {
    let (batch, records) = batch(codec, size);
    let count = (WORKING_SET / batch.len()).max(1);
    let mut batches: Vec<Vec<u8>> = (0..count).map(|_| batch.clone()).collect();
    let there = IdMap::new([(OLD, NEW)]);
    let back = IdMap::new([(NEW, OLD)]);
    let mut translator = Translator::new(Parts { keys: false, values: true }, 1 << 26);
    let mut passes = Vec::with_capacity(PASSES);
    for pass in 0..PASSES {
        let map = if pass % 2 == 0 { &there } else { &back };
        let mut tally = Tally::default();
        let start = Instant::now();
        for batch in &mut batches {
            if let Some(rebuilt) = translator.records(batch, map, &mut tally) {
                *batch = rebuilt;
            }
        }
        passes.push(start.elapsed());
        assert_eq!(tally.translated, (records * count) as u64, "every id changes");
    }
    let translating = median(passes);
    let bytes: usize = batches.iter().map(Vec::len).sum();
    let mut copy = vec![0; bytes];
    let copying = median((0..PASSES).map(|_| memcpy(&batches, &mut copy)).collect());
    println!(
        "{:<7} {size:>6} {:>12.2} {:>8.2} {:>10.2}x",
        codec.name(),
        translating.as_secs_f64() * 1e9 / (records * count) as f64,
        bytes as f64 / translating.as_secs_f64() / 1e9,
        copying.as_secs_f64() / translating.as_secs_f64(),
    );
}

fn memcpy(batches: &[Vec<u8>], copy: &mut [u8]) -> Duration {
    let start = Instant::now();
    let mut rest = &mut *copy;
    for batch in batches {
        let (here, behind) = rest.split_at_mut(batch.len());
        here.copy_from_slice(batch);
        rest = behind;
    }
    black_box(copy);
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A batch of values of `size` bytes, each with the old id in front, and how many there are.
fn batch(codec: Codec, size: usize) -> (Vec<u8>, usize) {
    let records = (BATCH / size).max(1);
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let plain = payload(records, size, &mut noise, |_, noise, out| {
        out.push(0);
        out.extend(OLD.to_be_bytes());
        out.extend((5..size).map(|_| b'a' + (noise.next() & 15) as u8));
    });
    (pack(codec, &plain, records), records)
}

/// Records with such values and no keys.
fn payload(
    records: usize,
    size: usize,
    noise: &mut Noise,
    value: impl Fn(usize, &mut Noise, &mut Vec<u8>),
) -> Vec<u8> {
    let mut plain = Vec::new();
    for offset in 0..records {
        let mut body = vec![0];
        varint::write_i64(&mut body, 0);
        varint::write_i32(&mut body, offset as i32);
        varint::write_i32(&mut body, -1);
        varint::write_i32(&mut body, size as i32);
        value(offset, noise, &mut body);
        varint::write_i32(&mut body, 0);
        varint::write_i32(&mut plain, body.len() as i32);
        plain.extend(body);
    }
    plain
}

fn pack(codec: Codec, plain: &[u8], records: usize) -> Vec<u8> {
    // As the Java client frames them: xerial blocks for snappy.
    let framing: &[u8] = match codec {
        Codec::Snappy => b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01",
        _ => &[],
    };
    let mut payload = Vec::new();
    codec::compress(codec, plain, framing, &mut payload);
    let number = Codec::ALL.iter().position(|it| *it == codec).expect("it is one of them");
    let mut out = vec![0; 61];
    out[8..12].copy_from_slice(&(payload.len() as i32 + 49).to_be_bytes());
    out[16] = 2;
    out[21..23].copy_from_slice(&(number as i16).to_be_bytes());
    out[23..27].copy_from_slice(&(records as i32 - 1).to_be_bytes());
    out[43..57].fill(0xff);
    out[57..61].copy_from_slice(&(records as i32).to_be_bytes());
    out.extend(payload);
    let crc = crc::crc32c(&out[21..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    out
}
