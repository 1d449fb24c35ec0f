//! A batch from one cluster's log, made into one that a producer may send to another.
//!
//! Brokers check what producers send (`LogValidator`): offsets must run from zero without holes, a
//! producer id must have been given out by this cluster, times are the producer's. So what belongs
//! to the source's log is taken off; records, keys, headers and times stay.

use crate::batch::{self, Batch, CONTROL, Header, LOG_APPEND_TIME, TRANSACTIONAL, at};
use crate::codec;
use crate::crc::Difference;
use crate::record::Records;
use crate::translate::repack;
use crate::{Error, Result, varint};

/// Attribute bit 6: the base timestamp is when the cleaner may drop tombstones (KIP-534).
const DELETE_HORIZON: i16 = 1 << 6;

/// Makes the batch producible, with those of its records whose time `keeps` lets pass; `None` where
/// none is left: control batches, batches that compaction emptied.
///
/// A batch whose offsets run without holes and whose times are its producer's keeps its records
/// byte for byte, and its CRC follows the few header bytes that change, so damage stays detectable.
/// Others are decoded, renumbered and packed again, after a check of their CRC.
pub fn for_produce(
    batch: &Batch<'_>,
    window: &Window,
    decompressed_limit: usize,
) -> Result<Option<Vec<u8>>> {
    let header = batch.header;
    if header.is_control() || header.count == 0 {
        return Ok(None);
    }
    let mut out = batch.bytes.to_vec();
    let contiguous = i64::from(header.last_offset_delta) + 1 == i64::from(header.count);
    if !contiguous || header.is_log_append_time() || !window.holds_all_of(&header) {
        let in_window = |_, time| window.holds(time);
        if pack(batch, decompressed_limit, in_window, &mut out)? == 0 {
            return Ok(None);
        }
    }
    // Outside the CRC.
    out[at::BASE_OFFSET..at::BASE_OFFSET + 8].copy_from_slice(&0_i64.to_be_bytes());
    out[at::LEADER_EPOCH..at::LEADER_EPOCH + 4].copy_from_slice(&(-1_i32).to_be_bytes());
    let attributes =
        header.attributes & !(TRANSACTIONAL | CONTROL | LOG_APPEND_TIME | DELETE_HORIZON);
    patch_header(&mut out, attributes, [0xff; PRODUCER]);
    Ok(Some(out))
}

/// Which records by their time, ms since 1970; the end is not in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// The first time that is in it.
    pub start: Option<i64>,
    /// The first time that is not.
    pub end: Option<i64>,
}

impl Window {
    fn holds(&self, time: i64) -> bool {
        self.start.is_none_or(|it| time >= it) && self.end.is_none_or(|it| time < it)
    }

    /// The base timestamp is the first record's, not the least: only without a start does the
    /// header tell.
    fn holds_all_of(&self, header: &Header) -> bool {
        self.start.is_none() && self.end.is_none_or(|it| header.max_timestamp < it)
    }
}

/// Who produces, and the sequence number of a batch's first record (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// Given out by the cluster.
    pub id: i64,
    /// With it.
    pub epoch: i16,
    /// Counts the records of one partition.
    pub sequence: i32,
}

/// Says who produces the batch; its CRC follows.
pub fn stamp(batch: &mut [u8], producer: Producer) -> Result<()> {
    let header = Batch::parse(batch)?.header;
    let mut bytes = [0; PRODUCER];
    bytes[..8].copy_from_slice(&producer.id.to_be_bytes());
    bytes[8..10].copy_from_slice(&producer.epoch.to_be_bytes());
    bytes[10..].copy_from_slice(&producer.sequence.to_be_bytes());
    patch_header(batch, header.attributes, bytes);
    Ok(())
}

/// Two batches of half the records each, for a broker that takes no larger ones; `None` for a
/// single record. Sequence numbers run on.
pub fn split(bytes: &[u8], decompressed_limit: usize) -> Result<Option<[Vec<u8>; 2]>> {
    let batch = Batch::parse(bytes)?;
    let header = batch.header;
    if header.count < 2 {
        return Ok(None);
    }
    let half = header.count / 2;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    pack(&batch, decompressed_limit, |index, _| index < half, &mut first)?;
    pack(&batch, decompressed_limit, |index, _| index >= half, &mut second)?;
    let producer = Producer {
        id: header.producer_id,
        epoch: header.producer_epoch,
        sequence: next_sequence(header.base_sequence, half),
    };
    if header.producer_id >= 0 {
        stamp(&mut second, producer)?;
    }
    Ok(Some([first, second]))
}

/// The sequence number after `count` records: it begins again after 2^31-1.
pub fn next_sequence(sequence: i32, count: i32) -> i32 {
    ((i64::from(sequence) + i64::from(count)) & i64::from(i32::MAX)) as i32
}

/// Bytes of producer id, epoch and base sequence, side by side.
const PRODUCER: usize = 14;

/// Sets attributes and producer, and moves the CRC along.
fn patch_header(out: &mut [u8], attributes: i16, producer: [u8; PRODUCER]) {
    let mut head = [0; batch::HEADER];
    head.copy_from_slice(&out[..batch::HEADER]);
    head[at::ATTRIBUTES..at::ATTRIBUTES + 2].copy_from_slice(&attributes.to_be_bytes());
    head[at::PRODUCER_ID..at::COUNT].copy_from_slice(&producer);
    let mut difference = Difference::default();
    // The attributes and the two bytes behind them, then the 14 bytes of the producer.
    for word in [at::ATTRIBUTES, 43, 47, 51, 53] {
        let old: [u8; 4] = out[word..word + 4].try_into().expect("a word of the header");
        let new: [u8; 4] = head[word..word + 4].try_into().expect("a word of the header");
        difference.word(word, old, new);
        out[word..word + 4].copy_from_slice(&new);
    }
    let stored = u32::from_be_bytes(head[at::CRC..at::CRC + 4].try_into().expect("four bytes"));
    let crc = stored ^ difference.finish(out.len());
    out[at::CRC..at::CRC + 4].copy_from_slice(&crc.to_be_bytes());
}

/// Packs the records that `keeps` lets pass, by their index and time, again: with offsets from zero
/// and, where the broker had set the times, with its time as each record's own. Gives their number.
fn pack(
    batch: &Batch<'_>,
    decompressed_limit: usize,
    mut keeps: impl FnMut(i32, i64) -> bool,
    out: &mut Vec<u8>,
) -> Result<i32> {
    let header = batch.header;
    if !batch.crc_matches() {
        let (codec, why) = (header.codec()?.name(), "the batch's CRC does not match".to_owned());
        return Err(Error::Decompress { codec, why });
    }
    let mut payload = Vec::new();
    codec::decompress(header.codec()?, batch.payload(), decompressed_limit, &mut payload)?;

    let append_time = header.is_log_append_time();
    let base_timestamp = if append_time { header.max_timestamp } else { header.base_timestamp };
    let mut max_timestamp = i64::MIN;
    let mut plain = Vec::with_capacity(payload.len() + 16);
    let mut body = Vec::new();
    let mut records = Records::new(&payload, header.count);
    let (mut index, mut offset) = (0, 0);
    while let Some(record) = records.next_record()? {
        let delta = if append_time { 0 } else { record.timestamp_delta };
        let time = base_timestamp.wrapping_add(delta);
        index += 1;
        if !keeps(index - 1, time) {
            continue;
        }
        max_timestamp = max_timestamp.max(time);
        body.clear();
        // Record attributes: a byte that no version uses.
        body.push(0);
        varint::write_i64(&mut body, delta);
        varint::write_i32(&mut body, offset);
        for part in [&record.key, &record.value] {
            match part {
                None => varint::write_i32(&mut body, -1),
                Some(range) => {
                    varint::write_i32(&mut body, range.len() as i32);
                    body.extend_from_slice(&payload[range.clone()]);
                }
            }
        }
        varint::write_i32(&mut body, record.header_count);
        body.extend_from_slice(&payload[record.headers.clone()]);
        varint::write_i32(&mut plain, body.len() as i32);
        plain.extend_from_slice(&body);
        offset += 1;
    }
    if offset == 0 {
        return Ok(0);
    }
    let mut head = batch.bytes.to_vec();
    let mut set = |place: usize, bytes: &[u8]| {
        head[place..place + bytes.len()].copy_from_slice(bytes);
    };
    set(at::LAST_OFFSET_DELTA, &(offset - 1).to_be_bytes());
    set(at::BASE_TIMESTAMP, &base_timestamp.to_be_bytes());
    set(at::MAX_TIMESTAMP, &max_timestamp.to_be_bytes());
    set(at::COUNT, &offset.to_be_bytes());
    repack(&head, header.codec()?, &plain, out);
    Ok(offset)
}
