//! What goes to and fro.

use testbed::batches::{self, Noise};
use wire::varint;

use crate::Row;

const BATCH: usize = 900_000;
/// The first id that records have; others follow it.
pub(crate) const OLD: u32 = 5;

/// A request, and its answer, both with their sizes in front.
pub(crate) struct Exchange {
    pub(crate) request: Vec<u8>,
    pub(crate) answer: Vec<u8>,
}

impl Exchange {
    pub(crate) fn new(row: Row) -> Self {
        let count = BATCH / row.record;
        let mut noise = Noise::default();
        let plain = batches::payload(count, row.record, |_, out| {
            let id = OLD + (noise.roll() % u64::from(row.ids)) as u32;
            out.push(0);
            out.extend(id.to_be_bytes());
            out.extend((5..row.record).map(|_| b'a' + (noise.roll() & 15) as u8));
        });
        let batch = batches::batch(row.codec, &plain, count);
        let (request, answer) = if row.fetch { fetch(&batch) } else { produce(&batch) };
        Self { request: sized(&request), answer: sized(&answer) }
    }

    /// What a load is counted by: the side that has the records.
    pub(crate) fn bytes(&self) -> usize {
        self.request.len().max(self.answer.len())
    }
}

fn sized(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as i32).to_be_bytes()[..], frame].concat()
}

/// Produce 9, and an answer without an error.
fn produce(batch: &[u8]) -> (Vec<u8>, Vec<u8>) {
    // Key 0, version 9, correlation id 1, no client id, no tags.
    let mut request = vec![0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0];
    // No transaction, acks=all, 30 s, one topic `t`, one partition 0.
    request.extend([0, 0xff, 0xff, 0, 0, 0x75, 0x30, 2, 2, b't', 2, 0, 0, 0, 0]);
    varint::write_u32(&mut request, batch.len() as u32 + 1);
    request.extend(batch);
    request.extend([0, 0, 0]);
    // No tags; topic `t`, partition 0, no error, offset 0; three times -1; no throttling.
    let mut answer = vec![0, 0, 0, 1, 0, 2, 2, b't', 2, 0, 0, 0, 0, 0, 0];
    answer.extend([0; 8]);
    answer.extend([0xff; 16]);
    answer.extend([1, 0, 0, 0, 0, 0, 0, 0, 0]);
    (request, answer)
}

/// Fetch 4, of which nobody looks into the request.
fn fetch(batch: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let request = vec![0, 1, 0, 4, 0, 0, 0, 1, 0xff, 0xff];
    // No throttling, one topic `t`, one partition 0, no error.
    let mut answer = vec![0, 0, 0, 1, 0, 0, 0, 0];
    answer.extend([0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    // High watermark, last stable offset, no aborted transactions.
    answer.extend([0; 16]);
    answer.extend([0, 0, 0, 0]);
    answer.extend((batch.len() as i32).to_be_bytes());
    answer.extend(batch);
    (request, answer)
}
