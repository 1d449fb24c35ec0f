//! Any bytes through every decompressor, within its limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::codec::{Codec, decompress};

fuzz_target!(|input: (u8, &[u8])| {
    let codec = Codec::ALL[usize::from(input.0) % Codec::ALL.len()];
    let mut out = Vec::new();
    let limit = 1 << 20;
    if decompress(codec, input.1, limit, &mut out).is_ok() {
        assert!(out.len() <= limit);
    }
});
