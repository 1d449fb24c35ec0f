//! A batch of the source's log becomes one that a broker takes from a producer.

mod common;

use common::{Plain, Shape, decode, encode};
use proptest::prelude::*;
use wire::Batch;
use wire::batch::{CONTROL, LOG_APPEND_TIME, TRANSACTIONAL};
use wire::partitioner::partition_of;
use wire::rebatch::{
    Producer, Window, by_key, count_before, for_produce, next_sequence, split, stamp, without_first,
};

fn produced(bytes: &[u8]) -> Vec<u8> {
    for_produce(&Batch::parse(bytes).unwrap(), &Window::default(), 1 << 26)
        .unwrap()
        .expect("it has records")
}

#[test]
fn control_and_empty_batches_are_not_produced() {
    let control = encode(
        &Shape { attributes: CONTROL | TRANSACTIONAL, ..Shape::default() },
        &[Plain::new(Some(b"\0\0\0\0"), Some(b"marker"))],
    );
    let empty = encode(&Shape::default(), &[]);
    for bytes in [control, empty] {
        assert_eq!(
            for_produce(&Batch::parse(&bytes).unwrap(), &Window::default(), 1 << 20),
            Ok(None)
        );
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
        let out = for_produce(&Batch::parse(&bytes).unwrap(), &Window::default(), 1 << 26);
        prop_assert!(out.is_err() || !Batch::parse(&out.unwrap().unwrap()).unwrap().crc_matches());
    }
}

proptest! {
    /// A window keeps the records whose time and offset are in it, in their order; placed by their
    /// keys, they are all there, and equal keys are together.
    #[test]
    fn a_window_is_exact_to_the_record(
        shape in common::shape(),
        mut records in common::records(),
        start in prop::option::of(-50_i64..50),
        end in prop::option::of(-50_i64..50),
        first_offset in prop::option::of(-5_i64..70),
        end_offset in prop::option::of(-5_i64..70),
        partitions in 1..5_i32,
        before in -5_i64..70,
    ) {
        let shape = Shape { base_offset: 1000, ..shape };
        for (offset, record) in records.iter_mut().enumerate() {
            record.offset_delta = offset as i32;
            record.timestamp_delta %= 60;
        }
        let bytes = encode(&shape, &records);
        let batch = Batch::parse(&bytes).unwrap();
        let of = |it: Option<i64>| it.map(|it| shape.base_timestamp.wrapping_add(it));
        let at = |it: Option<i64>| it.map(|it| 1000 + it);
        let window = Window {
            start: of(start),
            end: of(end),
            first_offset: at(first_offset),
            end_offset: at(end_offset),
        };
        let within = |it: i64, start: Option<i64>, end: Option<i64>| {
            start.is_none_or(|start| it >= start) && end.is_none_or(|end| it < end)
        };
        let inside = |it: &&Plain| {
            within(it.timestamp_delta, start, end)
                && within(it.offset_delta.into(), first_offset, end_offset)
        };
        let mut wanted: Vec<Plain> = records.iter().filter(inside).cloned().collect();
        let counted = count_before(&batch, &window, 1000 + before, 1 << 26).unwrap();
        let ahead = wanted.iter().filter(|it| i64::from(it.offset_delta) < before).count();
        prop_assert_eq!(counted, ahead as i64);

        let placed = by_key(&batch, &window, partitions, 0, 1 << 26).unwrap();
        let mut all = 0;
        for (partition, bytes) in &placed {
            for (found, it) in decode(bytes).iter().enumerate() {
                prop_assert_eq!(it.offset_delta as usize, found);
                let key = it.key.as_deref();
                prop_assert_eq!(key.map_or(0, |key| partition_of(key, partitions)), *partition);
                all += 1;
            }
            let some = without_first(bytes, 1, 1 << 26).unwrap();
            let left = if some.is_empty() { 0 } else { decode(&some).len() };
            prop_assert_eq!(left, decode(bytes).len() - 1);
        }
        prop_assert_eq!(all, wanted.len());
        for (offset, record) in wanted.iter_mut().enumerate() {
            record.offset_delta = offset as i32;
        }
        match for_produce(&batch, &window, 1 << 26).unwrap() {
            None => prop_assert!(wanted.is_empty()),
            Some(out) => {
                prop_assert_eq!(decode(&out), wanted);
                let header = Batch::parse(&out).unwrap().header;
                prop_assert_eq!(header.count, header.last_offset_delta + 1);
            }
        }
    }

    /// Two halves hold what the whole did, and their sequence numbers run on.
    #[test]
    fn halves_make_the_whole(shape in common::shape(), mut records in common::records()) {
        for (offset, record) in records.iter_mut().enumerate() {
            record.offset_delta = offset as i32;
        }
        let mut bytes = encode(&shape, &records);
        let producer = Producer { id: 7, epoch: 1, sequence: i32::MAX - 1 };
        stamp(&mut bytes, producer).unwrap();
        prop_assert!(Batch::parse(&bytes).unwrap().crc_matches());
        let Some([first, second]) = split(&bytes, 1 << 26).unwrap() else {
            prop_assert!(records.len() < 2);
            return Ok(());
        };
        let (heads, tails) = (decode(&first), decode(&second));
        prop_assert_eq!(heads.len() + tails.len(), records.len());
        for (found, wanted) in heads.iter().chain(&tails).zip(&records) {
            prop_assert_eq!((&found.key, &found.value, &found.headers, found.timestamp_delta),
                (&wanted.key, &wanted.value, &wanted.headers, wanted.timestamp_delta));
        }
        let header = |bytes: &[u8]| Batch::parse(bytes).unwrap().header;
        let (one, two) = (header(&first), header(&second));
        prop_assert_eq!(one.base_sequence, producer.sequence);
        prop_assert_eq!(two.base_sequence, next_sequence(producer.sequence, one.count));
        prop_assert_eq!((two.producer_id, two.producer_epoch), (7, 1));
    }
}
