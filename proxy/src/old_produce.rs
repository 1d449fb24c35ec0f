//! Produce 0 to 2: message sets, of clients before Kafka 0.11. Kafka 4 takes them no more. Ids in them
//! are not translated here, so they are refused in words that such a client understands.

use wire::cursor::Cursor;
use wire::frame::{self, RequestStart};

/// The versions that carry message sets.
pub(crate) const VERSIONS: std::ops::RangeInclusive<i16> = 0..=2;
/// UNSUPPORTED_VERSION
const UNSUPPORTED_VERSION: i16 = 35;
const NO_OFFSET: i64 = -1;

/// The answer that refuses every partition; `None` with acks=0, which hears none.
pub(crate) fn refusal(request: &[u8], start: RequestStart) -> wire::Result<Option<Vec<u8>>> {
    let body = frame::request_body(request, false)?;
    let mut cursor = Cursor::starting_at(request, body);
    let acks = cursor.i16("acks")?;
    cursor.i32("the timeout")?;
    let mut out = vec![0; 4];
    out.extend(start.correlation_id.to_be_bytes());
    let topics = cursor.i32("the number of topics")?;
    out.extend(topics.max(0).to_be_bytes());
    for _ in 0..topics {
        let length = cursor.i16("the length of a topic's name")?;
        let name = cursor.skip(usize::try_from(length).unwrap_or(0), "a topic's name")?;
        out.extend(length.max(0).to_be_bytes());
        out.extend_from_slice(&request[name]);
        let partitions = cursor.i32("the number of partitions")?;
        out.extend(partitions.max(0).to_be_bytes());
        for _ in 0..partitions {
            out.extend(cursor.i32("a partition")?.to_be_bytes());
            let length = cursor.i32("the length of a message set")?;
            cursor.skip(usize::try_from(length).unwrap_or(0), "a message set")?;
            out.extend(UNSUPPORTED_VERSION.to_be_bytes());
            out.extend(NO_OFFSET.to_be_bytes());
            if start.api_version == 2 {
                // The time of LogAppendTime.
                out.extend((-1_i64).to_be_bytes());
            }
        }
    }
    if start.api_version > 0 {
        // Throttle time.
        out.extend(0_i32.to_be_bytes());
    }
    Ok((acks != 0).then(|| frame::resized(out)))
}
