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
const NEW: u32 = 70_000;

fn main() {
    println!("codec   record    ns/record     GB/s   of memcpy");
    for size in [100, 1024, 10 * 1024] {
        row(Codec::None, size);
    }
    for codec in [Codec::Lz4, Codec::Snappy, Codec::Zstd, Codec::Gzip] {
        row(codec, 1024);
    }
}

fn row(codec: Codec, size: usize) {
    let (batch, records) = batch(codec, size);
    // Compressed batches cost so much more that a smaller set is as cold.
    let set = if codec == Codec::None { WORKING_SET } else { WORKING_SET / 8 };
    let count = (set / batch.len()).max(1);
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
    let mut plain = Vec::new();
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    for offset in 0..records {
        let mut body = vec![0];
        varint::write_i64(&mut body, 0);
        varint::write_i32(&mut body, offset as i32);
        varint::write_i32(&mut body, -1);
        varint::write_i32(&mut body, size as i32);
        body.push(0);
        body.extend(OLD.to_be_bytes());
        // Text-like: sixteen letters, so that codecs find something to do.
        body.extend((5..size).map(|_| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            b'a' + (noise & 15) as u8
        }));
        varint::write_i32(&mut body, 0);
        varint::write_i32(&mut plain, body.len() as i32);
        plain.extend(body);
    }
    let mut payload = Vec::new();
    codec::compress(codec, &plain, &[], &mut payload);
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
    (out, records)
}
