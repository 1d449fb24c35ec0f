//! What takes much memory and is needed for a moment: a thread keeps it for whichever connection comes
//! next, so that idle connections hold nothing and busy ones allocate nothing.

use std::cell::RefCell;

use wire::Translator;
use wire::translate::Parts;

/// Buffers that a thread keeps.
const MOST_BUFFERS: usize = 8;
/// Larger ones are rare, and freed.
const LARGEST: usize = 4 << 20;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static TRANSLATOR: RefCell<Option<Translator>> = const { RefCell::new(None) };
}

/// A buffer, from the thread that needs it first to the one where it is given back.
#[derive(Debug, Default)]
pub(crate) struct Pooled {
    buffer: Option<Vec<u8>>,
}

impl Pooled {
    /// The buffer, empty.
    pub(crate) fn take(&mut self) -> &mut Vec<u8> {
        let buffer = self
            .buffer
            .get_or_insert_with(|| BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default());
        buffer.clear();
        buffer
    }

    /// The buffer as it is.
    pub(crate) fn more(&mut self) -> &mut Vec<u8> {
        self.buffer.get_or_insert_default()
    }

    pub(crate) fn give_back(&mut self) {
        let Some(buffer) = self.buffer.take().filter(|it| it.capacity() <= LARGEST) else { return };
        BUFFERS.with_borrow_mut(|all| {
            if all.len() < MOST_BUFFERS {
                all.push(buffer);
            }
        });
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Does something with the thread's translator.
pub(crate) fn with_translator<T>(limit: usize, work: impl FnOnce(&mut Translator) -> T) -> T {
    TRANSLATOR.with_borrow_mut(|kept| {
        let translator = kept.get_or_insert_with(|| Translator::new(Parts::BOTH, limit));
        translator.limit_to(limit);
        let done = work(translator);
        if translator.memory() > LARGEST * 4 {
            *kept = None;
        }
        done
    })
}
