//! Zstandard (KIP-110).

use zstd::bulk::Compressor;
use zstd::zstd_safe::{
    DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, compress_bound, get_error_name,
};

use super::{Codec, Room, damaged};
use crate::Result;

#[derive(Default)]
pub(super) struct Contexts {
    decompressor: Option<DCtx<'static>>,
    compressor: Option<Compressor<'static>>,
}

/// The largest window a frame may ask for: 2^27 bytes, zstd's own default limit.
const WINDOW_LOG: u32 = 27;
/// Kafka's default level; a frame does not tell its own.
const LEVEL: i32 = 3;
/// The least by which the text grows at once, a block's size.
const STEP: usize = 128 * 1024;

impl Contexts {
    pub(super) fn decompress(&mut self, input: &[u8], room: &mut Room<'_>) -> Result<()> {
        let failed = |code| damaged(Codec::Zstd, &get_error_name(code));
        let context = match &mut self.decompressor {
            Some(context) => {
                context.reset(ResetDirective::SessionOnly).map_err(failed)?;
                context
            }
            none => {
                let mut context = DCtx::create();
                context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).map_err(failed)?;
                none.insert(context)
            }
        };
        let mut from = InBuffer::around(input);
        loop {
            // Twice as much each time, so that a large batch is not copied at every step.
            let next = room.up_to(STEP.max(room.filled));
            let size = next.len();
            let mut to = OutBuffer::around(next);
            let due = context.decompress_stream(&mut to, &mut from).map_err(failed)?;
            let written = to.pos();
            room.fill(written)?;
            if from.pos == input.len() && written < size {
                // Zero at the end of a frame.
                let whole = due == 0;
                return if whole { Ok(()) } else { Err(damaged(Codec::Zstd, &"it is cut off")) };
            }
        }
    }

    pub(super) fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        let compressor =
            self.compressor.get_or_insert_with(|| Compressor::new(LEVEL).expect("3 is a level"));
        out.reserve(compress_bound(plain.len()));
        compressor.compress_to_buffer(plain, out).expect("the bound holds any input");
    }
}
