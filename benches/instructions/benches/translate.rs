//! How many instructions translating a batch takes, counted by Valgrind: noise can't touch that. A
//! count above its limit fails: limits are three percent above what was counted when they were set, and
//! a change that is worth more instructions raises them.

use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use wire::codec::Codec;
use wire::translate::Parts;
use wire::{IdMap, Tally, Translator};

#[path = "../../../crates/testbed/src/batches.rs"]
mod batches;

const BATCH: usize = 900_000;

struct Input {
    translator: Translator,
    map: IdMap,
    batch: Vec<u8>,
}

/// A batch whose every id changes, and a translator that has its buffers.
fn input(codec: Codec, size: usize) -> Input {
    let records = BATCH / size;
    let batch = batches::batch(codec, &batches::letters(5, records, size), records);
    let map = IdMap::new([(5, 60_000)]);
    let mut translator = Translator::new(Parts { keys: false, values: true }, 1 << 26);
    translator.records(&mut batch.clone(), &map, &mut Tally::default());
    Input { translator, map, batch }
}

fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::with_args(["--cache-sim=no"]);
    callgrind.hard_limits([(EventKind::Ir, instructions)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

#[library_benchmark]
#[bench::none_100(args = (Codec::None, 100), setup = input, config = at_most(1_600_000))]
#[bench::none_1024(args = (Codec::None, 1024), setup = input, config = at_most(161_000))]
#[bench::none_10240(args = (Codec::None, 10_240), setup = input, config = at_most(18_800))]
#[bench::lz4_100(args = (Codec::Lz4, 100), setup = input, config = at_most(7_770_000))]
#[bench::lz4_1024(args = (Codec::Lz4, 1024), setup = input, config = at_most(2_590_000))]
#[bench::snappy_100(args = (Codec::Snappy, 100), setup = input, config = at_most(19_200_000))]
#[bench::snappy_1024(args = (Codec::Snappy, 1024), setup = input, config = at_most(3_240_000))]
fn translate(mut input: Input) -> Input {
    let mut tally = Tally::default();
    input.translator.records(&mut input.batch, &input.map, &mut tally);
    assert!(tally.translated > 0);
    // What is given back is dropped outside of the count.
    input
}

library_benchmark_group!(name = batches_of_900_kb; benchmarks = translate);
main!(library_benchmark_groups = batches_of_900_kb);
