//! Any RECORDS field through the translation and the way back to a producer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::batch::{Entries, Entry};
use wire::translate::Parts;
use wire::{Batch, IdMap, Tally, Translator, rebatch};

fuzz_target!(|bytes: &[u8]| {
    let map = IdMap::new((0..64).map(|id| (id, id + 1000)));
    let mut records = bytes.to_vec();
    let mut tally = Tally::default();
    let rebuilt = Translator::new(Parts::BOTH, 1 << 20).records(&mut records, &map, &mut tally);
    if tally.translated == 0 {
        assert!(rebuilt.is_none() && records == bytes, "nothing was translated, yet it changed");
    }
    for entry in Entries::new(bytes).flatten() {
        if let Entry::Whole { start, end, magic: 2 } = entry
            && let Ok(batch) = Batch::parse(&bytes[start..end])
        {
            let _ = rebatch::for_produce(&batch, &rebatch::Window::default(), 1 << 20);
            let _ = rebatch::split(batch.bytes, 1 << 20);
        }
    }
});
