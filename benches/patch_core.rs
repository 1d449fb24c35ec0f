//! What translating costs beside copying the same bytes: `cargo bench --bench patch_core`.
//!
//! Batches of 900 kB, every value with an id that changes, 64 MiB in all, so that neither side finds
//! them in a cache. Each pass translates there or back; the median of the passes is shown, and written
//! to `target/patch_core.json`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::batches::{self, Noise};
use wire::codec::{Codec, Codecs};
use wire::translate::Parts;
use wire::{IdMap, Tally, Translator};

const WORKING_SET: usize = 64 << 20;
const BATCH: usize = 900_000;
const PASSES: usize = 21;
const OLD: u32 = 5;
const NEW: u32 = 60_000;

fn main() {
    println!("codec   record    ns/record     GB/s   of memcpy");
    let mut figures = Vec::new();
    for size in [100, 1024, 10 * 1024] {
        figures.push(row(Codec::None, size));
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
                        figures.push(compressed(codec, text, size, ids, width));
                    }
                }
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/patch_core.json");
    let figures = serde_json::to_string_pretty(&figures).expect("its keys are strings");
    std::fs::write(path, figures).expect("the target folder can be written");
}

/// What the records are like.
#[derive(Debug, Clone, Copy)]
enum Text {
    Random,
    Json,
    Avro,
}

/// Batches with `ids` schema ids by turns, whose new ones differ in `width` bytes.
fn compressed(codec: Codec, text: Text, size: usize, ids: u32, width: u32) -> Value {
    let mut noise = Noise::default();
    let records = (BATCH / size).max(1);
    let plain = batches::payload(records, size, |offset, out| {
        out.push(0);
        out.extend((1 + offset as u32 % ids).to_be_bytes());
        text.fill(offset, size, &mut noise, out);
    });
    let original = batches::batch(codec, &plain, records);
    let new = |id: u32| if width == 1 { id + 100 } else { 0x0102_0304 + id * 0x0101_0101 };
    let map = IdMap::new((1..=ids).map(|id| (id, new(id))));
    let mut translator = Translator::new(Parts { keys: false, values: true }, 1 << 26);
    let count = if codec == Codec::Gzip || codec == Codec::Zstd { 4 } else { 16 };
    let (mut translating, mut packing) = (Vec::new(), Vec::new());
    let (mut back, mut again) = (Vec::new(), Vec::new());
    let (mut rebuilt, mut codecs) = (Vec::new(), Codecs::default());
    // By turns, so that other work on the machine meets both.
    for _ in 0..9 {
        let mut batches: Vec<Vec<u8>> = (0..count).map(|_| original.clone()).collect();
        let start = Instant::now();
        for batch in &mut batches {
            let new = translator.records(batch, &map, &mut Tally::default());
            rebuilt.clear();
            rebuilt.extend_from_slice(new.expect("every id changes"));
        }
        translating.push(start.elapsed());
        let start = Instant::now();
        for batch in &batches {
            let packed = &batch[61..];
            codecs.decompress(codec, packed, 1 << 26, &mut back).expect("it was just compressed");
            codecs.compress(codec, &back, packed, &mut again);
        }
        packing.push(start.elapsed());
    }
    // What the same library makes of the new text.
    codecs.decompress(codec, &rebuilt[61..], 1 << 26, &mut back).expect("it was just written");
    codecs.compress(codec, &back, &rebuilt[61..], &mut again);
    let (translating, packing) = (median(translating).as_secs_f64(), median(packing).as_secs_f64());
    let (name, text) = (codec.name(), format!("{text:?}"));
    let gigabytes = (plain.len() * count) as f64 / translating / 1e9;
    let (ratio, packed) = (translating / packing, (rebuilt.len() - 61) as f64);
    let growth = (packed / again.len() as f64 - 1.0) * 100.0;
    println!(
        "{name:<7} {text:<7} {size:>6} {ids:>4} {width:>6} {gigabytes:>9.2} {ratio:>6.2}x {growth:>6.2}%"
    );
    json!({
        "kind": "compressed", "codec": name, "text": text, "record": size, "ids": ids, "width": width,
        "gigabytes_per_second": gigabytes, "of_repacking": ratio, "growth_percent": growth,
    })
}

impl Text {
    /// Brings a value to `size` bytes, in whole fields.
    fn fill(self, offset: usize, size: usize, noise: &mut Noise, out: &mut Vec<u8>) {
        let end = out.len() + size - 5;
        while out.len() < end {
            match self {
                Self::Random => out.push(noise.roll() as u8),
                Self::Json => {
                    let (id, cents) = (noise.roll() % 100_000, noise.roll() % 10_000);
                    let field = format!(
                        "{{\"order\":{},\"customer\":\"c-{id:05}\",\"amount\":{cents},\"currency\":\"EUR\",",
                        offset + 1_000_000
                    );
                    out.extend(field.into_bytes());
                }
                Self::Avro => {
                    // Small zigzag integers, zeros for absent fields, short strings.
                    out.extend([2, (noise.roll() % 200) as u8, 0, 0, 0, 0, 12]);
                    out.extend((0..6).map(|_| b'A' + (noise.roll() % 26) as u8));
                    out.extend([0, 0, 2, (noise.roll() % 4) as u8]);
                }
            }
        }
        out.truncate(end);
    }
}

fn row(codec: Codec, size: usize) -> Value {
    let records = (BATCH / size).max(1);
    let batch = batches::batch(codec, &batches::letters(OLD, records, size), records);
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
                batch.clear();
                batch.extend_from_slice(rebuilt);
            }
        }
        passes.push(start.elapsed());
        assert_eq!(tally.translated, (records * count) as u64, "every id changes");
    }
    let translating = median(passes);
    let bytes: usize = batches.iter().map(Vec::len).sum();
    let mut copy = vec![0; bytes];
    let copying = median((0..PASSES).map(|_| memcpy(&batches, &mut copy)).collect());
    let name = codec.name();
    let nanoseconds = translating.as_secs_f64() * 1e9 / (records * count) as f64;
    let gigabytes = bytes as f64 / translating.as_secs_f64() / 1e9;
    let ratio = copying.as_secs_f64() / translating.as_secs_f64();
    println!("{name:<7} {size:>6} {nanoseconds:>12.2} {gigabytes:>8.2} {ratio:>10.2}x");
    json!({
        "kind": "core", "codec": name, "record": size, "nanoseconds_a_record": nanoseconds,
        "gigabytes_per_second": gigabytes, "of_memcpy": ratio,
    })
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
