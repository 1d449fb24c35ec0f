//! Any RECORDS field through the translation, which must do what its slow twin does, and the way back
//! to a producer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::batch::{Entries, Entry};
use wire::translate::Parts;
use wire::{Batch, IdMap, Tally, Translator, message_set, rebatch};

#[path = "../../crates/wire/tests/common/reference.rs"]
mod reference;

fuzz_target!(|bytes: &[u8]| {
    let map = IdMap::new((0..64).map(|id| (id, id + 1000)));
    let mut records = bytes.to_vec();
    let mut tally = Tally::default();
    let mut translator = Translator::new(Parts::BOTH, 1 << 20);
    let rebuilt = translator.records(&mut records, &map, &mut tally).is_some();
    if tally.translated == 0 {
        assert!(!rebuilt && records == bytes, "nothing was translated, yet it changed");
    }
    let _ = message_set::upgrade(bytes, 1 << 20);
    for entry in Entries::new(bytes).flatten() {
        if let Entry::Whole { start, end, magic: 2 } = entry
            && let Ok(batch) = Batch::parse(&bytes[start..end])
        {
            twin(batch.bytes, &map);
            let _ = rebatch::for_produce(&batch, &rebatch::Window::default(), 1 << 20);
            let _ = rebatch::split(batch.bytes, 1 << 20);
        }
    }
});

fn twin(batch: &[u8], map: &IdMap) {
    let header = Batch::parse(batch).expect("it was parsed before").header;
    if header.is_control() || header.count == 0 || header.attributes & 0b111 != 0 {
        return;
    }
    let mut found = batch.to_vec();
    let mut tally = Tally::default();
    Translator::new(Parts::BOTH, 1 << 20).records(&mut found, map, &mut tally);
    let wanted =
        reference::translate(batch, &map.pairs().into_iter().collect(), &[].into(), (true, true));
    let wanted = wanted.map_or_else(|| batch.to_vec(), |(bytes, ..)| bytes);
    assert!(found == wanted, "the hot path and its twin differ");
}
