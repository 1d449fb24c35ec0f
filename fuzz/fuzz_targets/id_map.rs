//! Any text as a map file; what loads is written and loads again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::id_map::MapFile;

fuzz_target!(|text: &str| {
    if let Ok(file) = MapFile::parse(text) {
        assert_eq!(MapFile::parse(&file.to_json()).expect("we wrote it"), file);
    }
});
