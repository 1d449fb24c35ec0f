//! In steady state a batch costs no allocation: buffers and the codecs' contexts serve again. (What C
//! libraries allocate by themselves is not seen here.)
#![allow(unsafe_code)] // The only way to look at an allocator is to be one.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{Plain, Shape, encode, framed};
use wire::codec::Codec;
use wire::translate::Parts;
use wire::{IdMap, Tally, Translator};

thread_local! {
    /// The tests' harness has threads of its own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    // While a thread ends there is nothing left to count in.
    let _ = ALLOCATIONS.try_with(|it| it.set(it.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[test]
fn a_batch_costs_no_allocation() {
    let records: Vec<Plain> = (0..300_u32)
        .map(|it| {
            Plain::new(Some(&framed(6, b"key")), Some(&framed(5, &it.to_be_bytes().repeat(40))))
        })
        .collect();
    for codec in Codec::ALL {
        let original = encode(&Shape { codec, ..Shape::default() }, &records);
        for (what, pairs) in
            [("every id changes", [(5, 0x0102_0304), (6, 7)]), ("none", [(1, 2), (3, 4)])]
        {
            let map = IdMap::new(pairs);
            let mut translator = Translator::new(Parts::BOTH, 1 << 26);
            let mut batches = vec![original.clone(); 8];
            for (number, batch) in batches.iter_mut().enumerate() {
                let before = ALLOCATIONS.get();
                let mut tally = Tally::default();
                translator.records(batch, &map, &mut tally);
                let made = ALLOCATIONS.get() - before;
                assert_eq!(tally.undecodable, 0);
                // The first ones make the buffers.
                assert!(number < 2 || made == 0, "{codec:?}, {what}: batch {number} made {made}");
            }
        }
    }
}
