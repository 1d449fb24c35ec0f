//! A batch from one cluster's log, made into one that a producer may send to another.
//!
//! Brokers check what producers send (`LogValidator`): offsets must run from zero without holes, a
//! producer id must have been given out by this cluster, times are the producer's. So what belongs
//! to the source's log is taken off; records, keys, headers and times stay.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::batch::{self, Batch, CONTROL, Header, LOG_APPEND_TIME, TRANSACTIONAL, at};
use crate::codec::{self, Codecs};
use crate::crc::Difference;
use crate::partitioner::partition_of;
use crate::record::{Record, Records};
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
    if header.is_control() || header.count == 0 || window.misses(&header) {
        return Ok(None);
    }
    let mut out = batch.bytes.to_vec();
    let contiguous = i64::from(header.last_offset_delta) + 1 == i64::from(header.count);
    if !contiguous || header.is_log_append_time() || !window.holds_all_of(&header) {
        let in_window = |_, offset, time| window.holds(offset, time);
        if pack(batch, decompressed_limit, in_window, &mut out)? == 0 {
            return Ok(None);
        }
    }
    release(&mut out, &header);
    Ok(Some(out))
}

/// Takes off what belongs to the source's log.
fn release(out: &mut [u8], header: &Header) {
    // Outside the CRC.
    out[at::BASE_OFFSET..at::BASE_OFFSET + 8].copy_from_slice(&0_i64.to_be_bytes());
    out[at::LEADER_EPOCH..at::LEADER_EPOCH + 4].copy_from_slice(&(-1_i32).to_be_bytes());
    let attributes =
        header.attributes & !(TRANSACTIONAL | CONTROL | LOG_APPEND_TIME | DELETE_HORIZON);
    patch_header(out, attributes, [0xff; PRODUCER]);
}

/// Makes producible batches, one for each partition that its records go to: by their keys, as
/// Kafka's clients place them among `partitions`; records without a key go to `keyless`.
pub fn by_key(
    batch: &Batch<'_>,
    window: &Window,
    partitions: i32,
    keyless: i32,
    decompressed_limit: usize,
) -> Result<BTreeMap<i32, Vec<u8>>> {
    let header = batch.header;
    if header.is_control() || header.count == 0 || window.misses(&header) {
        return Ok(BTreeMap::new());
    }
    let payload = checked_payload(batch, decompressed_limit)?;
    let mut packers: BTreeMap<i32, Packer> = BTreeMap::new();
    each(batch, &payload, |record, offset, time| {
        if window.holds(offset, time) {
            let key = record.key.clone().map(|it| &payload[it]);
            let partition = key.map_or(keyless, |it| partition_of(it, partitions));
            let packer = packers.entry(partition).or_insert_with(|| Packer::new(&header));
            let delta = packer.count;
            packer.push(&payload, record, delta, time);
        }
    })?;
    let mut batches = BTreeMap::new();
    for (partition, packer) in packers {
        let mut out = Vec::new();
        packer.finish(batch, &mut out)?;
        release(&mut out, &header);
        batches.insert(partition, out);
    }
    Ok(batches)
}

/// How many records of a batch are in the window and lie before an offset.
pub fn count_before(
    batch: &Batch<'_>,
    window: &Window,
    offset: i64,
    decompressed_limit: usize,
) -> Result<i64> {
    let header = batch.header;
    if header.is_control() || header.base_offset >= offset || window.misses(&header) {
        return Ok(0);
    }
    if header.last_offset() < offset && window.holds_all_of(&header) {
        return Ok(i64::from(header.count));
    }
    let payload = checked_payload(batch, decompressed_limit)?;
    let mut count = 0;
    each(batch, &payload, |_, at, time| {
        count += i64::from(at < offset && window.holds(at, time));
    })?;
    Ok(count)
}

/// Which records, by time and by offset; the ends are not in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The first time that is in it, ms since 1970.
    pub start: Option<i64>,
    /// The first time that is not.
    pub end: Option<i64>,
    /// The first offset that is in it.
    pub first_offset: Option<i64>,
    /// The first offset that is not.
    pub end_offset: Option<i64>,
}

impl Window {
    /// Whether it leaves nothing out.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the header alone tells that no record is in it.
    pub fn misses(&self, header: &Header) -> bool {
        self.first_offset.is_some_and(|it| header.last_offset() < it)
            || self.end_offset.is_some_and(|it| header.base_offset >= it)
            || self.start.is_some_and(|it| header.max_timestamp < it)
    }

    fn holds(&self, offset: i64, time: i64) -> bool {
        within(time, self.start, self.end) && within(offset, self.first_offset, self.end_offset)
    }

    /// The base timestamp is the first record's, not the least: only without a start does the
    /// header tell.
    fn holds_all_of(&self, header: &Header) -> bool {
        let (first, last) = (header.base_offset, header.last_offset());
        self.start.is_none()
            && self.end.is_none_or(|it| header.max_timestamp < it)
            && within(first, self.first_offset, None)
            && within(last, None, self.end_offset)
    }
}

fn within(value: i64, start: Option<i64>, end: Option<i64>) -> bool {
    start.is_none_or(|it| value >= it) && end.is_none_or(|it| value < it)
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
    pack(&batch, decompressed_limit, |index, _, _| index < half, &mut first)?;
    pack(&batch, decompressed_limit, |index, _, _| index >= half, &mut second)?;
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

/// The batch without its first records.
pub fn without_first(bytes: &[u8], count: i32, decompressed_limit: usize) -> Result<Vec<u8>> {
    let mut rest = Vec::new();
    let batch = Batch::parse(bytes)?;
    pack(&batch, decompressed_limit, |index, _, _| index >= count, &mut rest)?;
    Ok(rest)
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

/// The batch of a log without its records before `offset`: they were deleted (DeleteRecords), though
/// the log has the batch whole.
pub fn starting_at(batch: &Batch<'_>, offset: i64, decompressed_limit: usize) -> Result<Vec<u8>> {
    let header = batch.header;
    let payload = checked_payload(batch, decompressed_limit)?;
    let mut packer =
        Packer::new(&Header { attributes: header.attributes & !LOG_APPEND_TIME, ..header });
    each(batch, &payload, |record, at, _| {
        if at >= offset {
            let time = header.base_timestamp.wrapping_add(record.timestamp_delta);
            packer.push(&payload, record, at.wrapping_sub(offset) as i32, time);
        }
    })?;
    let dropped = header.count - packer.count;
    if header.is_log_append_time() {
        packer.max_timestamp = header.max_timestamp;
    }
    // What compaction took off the end still counts as the batch's.
    packer.last_offset_delta = header.last_offset().wrapping_sub(offset) as i32;
    let mut out = Vec::new();
    packer.finish(batch, &mut out)?;
    if out.is_empty() {
        return Ok(out);
    }
    out[at::BASE_OFFSET..at::BASE_OFFSET + 8].copy_from_slice(&offset.to_be_bytes());
    if header.base_sequence >= 0 {
        let (id, epoch) = (header.producer_id, header.producer_epoch);
        let sequence = next_sequence(header.base_sequence, dropped);
        stamp(&mut out, Producer { id, epoch, sequence })?;
    }
    Ok(out)
}

/// Packs the records that `keeps` lets pass, by their index, offset and time, again. Gives their
/// number.
fn pack(
    batch: &Batch<'_>,
    decompressed_limit: usize,
    mut keeps: impl FnMut(i32, i64, i64) -> bool,
    out: &mut Vec<u8>,
) -> Result<i32> {
    let payload = checked_payload(batch, decompressed_limit)?;
    let mut packer = Packer::new(&batch.header);
    let mut index = 0;
    each(batch, &payload, |record, offset, time| {
        index += 1;
        if keeps(index - 1, offset, time) {
            let delta = packer.count;
            packer.push(&payload, record, delta, time);
        }
    })?;
    packer.finish(batch, out)
}

/// The records of a batch, once it is sure that they are what was sent.
fn checked_payload(batch: &Batch<'_>, decompressed_limit: usize) -> Result<Vec<u8>> {
    let codec = batch.header.codec()?;
    if !batch.crc_matches() {
        return Err(Error::BatchCrc);
    }
    let mut payload = Vec::new();
    codec::decompress(codec, batch.payload(), decompressed_limit, &mut payload)?;
    Ok(payload)
}

/// Every record with its offset and its time: the broker's, where that had set the times.
fn each(batch: &Batch<'_>, payload: &[u8], mut met: impl FnMut(&Record, i64, i64)) -> Result<()> {
    let header = batch.header;
    let mut records = Records::new(payload, header.count);
    while let Some(record) = records.next_record()? {
        let time = if header.is_log_append_time() {
            header.max_timestamp
        } else {
            header.base_timestamp.wrapping_add(record.timestamp_delta)
        };
        let offset = header.base_offset.wrapping_add(i64::from(record.offset_delta));
        met(&record, offset, time);
    }
    Ok(())
}

/// A batch that grows record by record.
struct Packer {
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
    last_offset_delta: i32,
    plain: Vec<u8>,
    body: Vec<u8>,
}

impl Packer {
    fn new(header: &Header) -> Self {
        let append_time = header.is_log_append_time();
        Self {
            base_timestamp: if append_time { header.max_timestamp } else { header.base_timestamp },
            max_timestamp: i64::MIN,
            count: 0,
            last_offset_delta: -1,
            plain: Vec::new(),
            body: Vec::new(),
        }
    }

    fn push(&mut self, payload: &[u8], record: &Record, offset_delta: i32, time: i64) {
        self.max_timestamp = self.max_timestamp.max(time);
        let body = &mut self.body;
        body.clear();
        // Record attributes: a byte that no version uses.
        body.push(0);
        varint::write_i64(body, time.wrapping_sub(self.base_timestamp));
        varint::write_i32(body, offset_delta);
        for part in [&record.key, &record.value] {
            match part {
                None => varint::write_i32(body, -1),
                Some(range) => {
                    varint::write_i32(body, range.len() as i32);
                    body.extend_from_slice(&payload[range.clone()]);
                }
            }
        }
        varint::write_i32(body, record.header_count);
        body.extend_from_slice(&payload[record.headers.clone()]);
        varint::write_i32(&mut self.plain, body.len() as i32);
        self.plain.extend_from_slice(body);
        (self.count, self.last_offset_delta) = (self.count + 1, offset_delta);
    }

    /// Writes the batch with the codec that `original` has, unless it has no record; gives their
    /// number.
    fn finish(&self, original: &Batch<'_>, out: &mut Vec<u8>) -> Result<i32> {
        if self.count == 0 {
            return Ok(0);
        }
        let mut head = original.bytes.to_vec();
        let mut set = |place: usize, bytes: &[u8]| {
            head[place..place + bytes.len()].copy_from_slice(bytes);
        };
        set(at::LAST_OFFSET_DELTA, &self.last_offset_delta.to_be_bytes());
        set(at::BASE_TIMESTAMP, &self.base_timestamp.to_be_bytes());
        set(at::MAX_TIMESTAMP, &self.max_timestamp.to_be_bytes());
        set(at::COUNT, &self.count.to_be_bytes());
        repack(&head, original.header.codec()?, &self.plain, &mut Codecs::default(), out);
        Ok(self.count)
    }
}
