//! A batch of the source's log becomes one that a broker takes from a producer.

mod common;

use common::{Plain, Shape, decode, encode};
use proptest::prelude::*;
use wire::Batch;
use wire::batch::{CONTROL, LOG_APPEND_TIME, TRANSACTIONAL};
use wire::rebatch::for_produce;

fn produced(bytes: &[u8]) -> Vec<u8> {
    for_produce(&Batch::parse(bytes).unwrap(), 1 << 26).unwrap().expect("it has records")
}

#[test]
fn control_and_empty_batches_are_not_produced() {
    let control = encode(
        &Shape { attributes: CONTROL | TRANSACTIONAL, ..Shape::default() },
        &[Plain::new(Some(b"\0\0\0\0"), Some(b"marker"))],
    );
    let empty = encode(&Shape::default(), &[]);
    for bytes in [control, empty] {
        assert_eq!(for_produce(&Batch::parse(&bytes).unwrap(), 1 << 20), Ok(None));
    }
}

#[test]
fn log_append_time_becomes_each_records_time() {
    let shape = Shape { attributes: LOG_APPEND_TIME, ..Shape::default() };
    let mut records = vec![Plain::new(None, Some(b"a")), Plain::new(None, Some(b"b"))];
    records[1].timestamp_delta = -500;
    records[1].offset_delta = 1;
    records[0].timestamp_delta = 40;
    let out = produced(&encode(&shape, &records));
    let batch = Batch::parse(&out).unwrap();
    assert_eq!(batch.header.attributes, 0);
    let times: Vec<_> =
        decode(&out).iter().map(|it| batch.header.base_timestamp + it.timestamp_delta).collect();
    // The broker's time is the batch's max timestamp (KIP-32).
    assert_eq!(times, [1_700_000_000_040; 2]);
    assert_eq!(batch.header.max_timestamp, 1_700_000_000_040);
}

proptest! {
    #[test]
    fn records_stay_and_the_source_goes(
        shape in common::shape(),
        mut records in common::records(),
        gaps in prop::collection::vec(0_i32..3, 60),
        transactional: bool,
    ) {
        let mut offset = 0;
        for (record, gap) in records.iter_mut().zip(gaps) {
            offset += gap;
            record.offset_delta = offset;
            offset += 1;
        }
        let attributes = if transactional { TRANSACTIONAL } else { 0 };
        let out = produced(&encode(&Shape { attributes, ..shape }, &records));
        let header = Batch::parse(&out).unwrap().header;
        prop_assert_eq!(header.base_offset, 0);
        prop_assert_eq!(header.last_offset_delta, records.len() as i32 - 1);
        prop_assert!(!header.is_transactional());
        let producer = (header.producer_id, header.producer_epoch, header.base_sequence);
        prop_assert_eq!(producer, (-1, -1, -1));
        for (index, record) in records.iter_mut().enumerate() {
            record.offset_delta = index as i32;
        }
        prop_assert_eq!(decode(&out), records);
    }

    #[test]
    fn damage_in_a_batch_that_is_kept_stays_detectable(
        shape in common::shape(),
        records in common::records(),
        flip in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode(&shape, &records);
        let at = 61 + flip.index(bytes.len() - 61);
        bytes[at] ^= 0x10;
        let out = for_produce(&Batch::parse(&bytes).unwrap(), 1 << 26);
        prop_assert!(out.is_err() || !Batch::parse(&out.unwrap().unwrap()).unwrap().crc_matches());
    }
}
