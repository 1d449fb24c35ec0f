//! Every message table over any bytes: errors, never a panic or a large allocation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{frame, shapes};

fuzz_target!(|input: (u8, i16, &[u8])| {
    let (choice, version, bytes) = input;
    let message = shapes::ALL[usize::from(choice) % shapes::ALL.len()];
    for flexible in [false, true] {
        if let Ok(body) = frame::request_body(bytes, flexible) {
            let _ = message.check(bytes, body, version);
        }
        if let Ok(body) = frame::response_body(bytes, flexible) {
            let _ = message.check(bytes, body, version);
        }
    }
});
