//! A batch from one cluster's log, made into one that a producer may send to another.
//!
//! Brokers check what producers send (`LogValidator`): offsets must run from zero without holes, a
//! producer id must have been given out by this cluster, times are the producer's. So what belongs
//! to the source's log is taken off; records, keys, headers and times stay.

use crate::batch::{self, Batch, CONTROL, LOG_APPEND_TIME, TRANSACTIONAL, at};
use crate::codec;
use crate::crc::Difference;
use crate::record::Records;
use crate::translate::repack;
use crate::{Error, Result, varint};

/// Attribute bit 6: the base timestamp is when the cleaner may drop tombstones (KIP-534).
const DELETE_HORIZON: i16 = 1 << 6;

/// Makes the batch producible; `None` for control batches and those that compaction emptied.
///
/// A batch whose offsets run without holes and whose times are its producer's keeps its records
/// byte for byte, and its CRC follows the few header bytes that change, so damage stays detectable.
/// Others are decoded, renumbered and packed again, after a check of their CRC.
pub fn for_produce(batch: &Batch<'_>, decompressed_limit: usize) -> Result<Option<Vec<u8>>> {
    let header = batch.header;
    if header.is_control() || header.count == 0 {
        return Ok(None);
    }
    let mut out = batch.bytes.to_vec();
    let contiguous = i64::from(header.last_offset_delta) + 1 == i64::from(header.count);
    if !contiguous || header.is_log_append_time() {
        renumber(batch, decompressed_limit, &mut out)?;
    }
    // Outside the CRC.
    out[at::BASE_OFFSET..at::BASE_OFFSET + 8].copy_from_slice(&0_i64.to_be_bytes());
    out[at::LEADER_EPOCH..at::LEADER_EPOCH + 4].copy_from_slice(&(-1_i32).to_be_bytes());
    let attributes =
        header.attributes & !(TRANSACTIONAL | CONTROL | LOG_APPEND_TIME | DELETE_HORIZON);
    patch_header(&mut out, attributes);
    Ok(Some(out))
}

/// Sets the attributes, takes the producer's id, epoch and sequence off, and moves the CRC along.
fn patch_header(out: &mut [u8], attributes: i16) {
    let mut head = [0; batch::HEADER];
    head.copy_from_slice(&out[..batch::HEADER]);
    head[at::ATTRIBUTES..at::ATTRIBUTES + 2].copy_from_slice(&attributes.to_be_bytes());
    head[at::PRODUCER_ID..at::COUNT].fill(0xff);
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

/// Packs the records again, with offsets from zero and, where the broker had set the times, with
/// its time as each record's own.
fn renumber(batch: &Batch<'_>, decompressed_limit: usize, out: &mut Vec<u8>) -> Result<()> {
    let header = batch.header;
    if !batch.crc_matches() {
        let (codec, why) = (header.codec()?.name(), "the batch's CRC does not match".to_owned());
        return Err(Error::Decompress { codec, why });
    }
    let mut payload = Vec::new();
    codec::decompress(header.codec()?, batch.payload(), decompressed_limit, &mut payload)?;

    let append_time = header.is_log_append_time();
    let base_timestamp = if append_time { header.max_timestamp } else { header.base_timestamp };
    let mut plain = Vec::with_capacity(payload.len() + 16);
    let mut body = Vec::new();
    let mut records = Records::new(&payload, header.count);
    let mut offset = 0;
    while let Some(record) = records.next_record()? {
        body.clear();
        // Record attributes: a byte that no version uses.
        body.push(0);
        varint::write_i64(&mut body, if append_time { 0 } else { record.timestamp_delta });
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
    let mut head = batch.bytes.to_vec();
    head[at::LAST_OFFSET_DELTA..at::LAST_OFFSET_DELTA + 4]
        .copy_from_slice(&(header.count - 1).to_be_bytes());
    head[at::BASE_TIMESTAMP..at::BASE_TIMESTAMP + 8].copy_from_slice(&base_timestamp.to_be_bytes());
    repack(&head, header.codec()?, &plain, out);
    Ok(())
}
