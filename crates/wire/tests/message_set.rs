//! Message sets of magic 0 and 1, as `message-sets/make.py` wrote them with kafka-python.

mod common;

use common::decode;
use proptest::prelude::*;
use wire::message_set::upgrade;
use wire::translate::Parts;
use wire::{Batch, Error, IdMap, Tally, Translator};

const CODECS: [&str; 4] = ["none", "gzip", "snappy", "lz4"];
const LIMIT: usize = 1 << 20;

fn stored(magic: u8, codec: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/message-sets");
    std::fs::read(format!("{folder}/{magic}-{codec}.bin")).unwrap()
}

fn wanted() -> Vec<(Option<Vec<u8>>, Option<Vec<u8>>)> {
    let some = |bytes: &[u8]| Some(bytes.to_vec());
    vec![
        (some(b"a"), some(b"\0\0\0\0\x05first")),
        (None, some(b"no key")),
        (some(b"tombstone"), None),
        (some(b""), some(b"")),
        (some(b"last"), some(&[b'x'; 3000])),
    ]
}

#[test]
fn every_codec_becomes_a_batch_of_the_same_records() {
    for magic in [0, 1] {
        for codec in CODECS {
            let out = upgrade(&stored(magic, codec), LIMIT).unwrap();
            let header = Batch::parse(&out).unwrap().header;
            assert_eq!((header.base_offset, header.last_offset()), (100, 104), "{magic} {codec}");
            assert_eq!(header.codec().unwrap().name(), codec);
            let records = decode(&out);
            let found: Vec<_> =
                records.iter().map(|it| (it.key.clone(), it.value.clone())).collect();
            assert_eq!(found, wanted(), "{magic} {codec}");
            let time = |delta: i64| header.base_timestamp + delta;
            let times: Vec<i64> = records.iter().map(|it| time(it.timestamp_delta)).collect();
            let first = 1_700_000_000_000;
            let with_times: Vec<i64> = (first..first + 5).collect();
            assert_eq!(times, if magic == 0 { vec![-1; 5] } else { with_times });
        }
    }
}

/// The field after a translation of 5 to `target`, and what was counted.
fn translated(field: &[u8], target: u32) -> (Vec<u8>, Tally) {
    let (mut records, mut tally) = (field.to_vec(), Tally::default());
    let map = IdMap::new([(5, target)]);
    let mut translator = Translator::new(Parts::BOTH, LIMIT);
    let rebuilt = translator.records(&mut records, &map, &mut tally).map(<[u8]>::to_vec);
    (rebuilt.unwrap_or(records), tally)
}

#[test]
fn ids_are_translated_and_nothing_else_changes() {
    for magic in [0, 1] {
        for codec in CODECS {
            let original = stored(magic, codec);
            let (changed, tally) = translated(&original, 0x0102_0304);
            assert_eq!((tally.translated, tally.records, tally.undecodable), (1, 5, 0));
            let (out, before) =
                (upgrade(&changed, LIMIT).unwrap(), upgrade(&original, LIMIT).unwrap());
            let (mut found, mut wanted) = (decode(&out), decode(&before));
            assert_eq!(found[0].value.take().unwrap(), b"\0\x01\x02\x03\x04first");
            wanted[0].value.take();
            assert_eq!(found, wanted, "{magic} {codec}");
            // Back again, uncompressed to the byte.
            let map = IdMap::new([(0x0102_0304, 5)]);
            let mut back = changed.clone();
            let mut translator = Translator::new(Parts::BOTH, LIMIT);
            let rebuilt = translator.records(&mut back, &map, &mut Tally::default());
            let back = rebuilt.map(<[u8]>::to_vec).unwrap_or(back);
            assert_eq!(upgrade(&back, LIMIT).unwrap(), before, "{magic} {codec}");
            assert!(back == original || codec != "none", "{magic} {codec}");
            // What has no id to change stays to the byte.
            assert_eq!(translated(&original, 5).0, original);
            let mut translator = Translator::new(Parts { keys: true, values: false }, LIMIT);
            let (mut keys, mut tally) = (original.clone(), Tally::default());
            assert!(translator.records(&mut keys, &IdMap::new([(5, 9)]), &mut tally).is_none());
            assert_eq!((keys, tally.translated), (original.clone(), 0));
            let missing = Translator::new(Parts::BOTH, LIMIT).missing(&original, &IdMap::new([]));
            assert_eq!(missing.into_iter().collect::<Vec<_>>(), [5]);
        }
    }
}

/// Readers of Kafka 0.8 and 0.9 want the checksum of LZ4's frame header as it was wrong then.
#[test]
fn a_frame_of_the_first_lz4_keeps_its_kind_of_checksum() {
    let (changed, _) = translated(&stored(0, "lz4"), 9);
    let frame = &changed[26..];
    assert_eq!(frame[..4], [0x04, 0x22, 0x4d, 0x18]);
    let sum = |from: usize| (twox_hash::XxHash32::oneshot(0, &frame[from..6]) >> 8) as u8;
    assert_eq!(frame[6], sum(0));
    assert_ne!(frame[6], sum(4));
}

#[test]
fn what_lies_behind_a_message_set_is_translated_too() {
    let mut field = stored(1, "snappy");
    let behind = upgrade(&stored(1, "none"), LIMIT).unwrap();
    field.extend(&behind);
    let (changed, tally) = translated(&field, 700);
    assert_eq!((tally.translated, tally.records, tally.undecodable), (2, 10, 0));
    let last = &changed[changed.len() - behind.len()..];
    assert_eq!(decode(last)[0].value.as_deref(), Some(&b"\0\0\0\x02\xbcfirst"[..]));
}

#[test]
fn sets_one_after_the_other_become_one_batch() {
    let mut bytes = stored(1, "none");
    let mut later = stored(1, "gzip");
    later[..8].copy_from_slice(&120_i64.to_be_bytes());
    bytes.extend(later);
    let out = upgrade(&bytes, LIMIT).unwrap();
    let records = decode(&out);
    let offsets: Vec<i32> = records.iter().map(|it| it.offset_delta).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4, 16, 17, 18, 19, 20]);
    assert_eq!(Batch::parse(&out).unwrap().header.base_offset, 100);
}

#[test]
fn times_that_the_broker_set_are_the_outer_ones() {
    let mut bytes = stored(1, "gzip");
    bytes[17] |= 1 << 3;
    bytes[18..26].copy_from_slice(&42_i64.to_be_bytes());
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, &bytes[16..]) as u32;
    bytes[12..16].copy_from_slice(&crc.to_be_bytes());
    let out = upgrade(&bytes, LIMIT).unwrap();
    let header = Batch::parse(&out).unwrap().header;
    assert!(header.is_log_append_time());
    assert_eq!((header.base_timestamp, header.max_timestamp), (42, 42));
}

proptest! {
    #[test]
    fn damage_is_an_error(
        magic in 0_u8..2,
        codec in prop::sample::select(&CODECS[..]),
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let mut bytes = stored(magic, codec);
        // The CRC covers all of a message but its offset.
        let length = i32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
        let at = 8 + at.index(4 + length);
        bytes[at] ^= 1 << bit;
        prop_assert!(upgrade(&bytes, LIMIT).is_err());
        prop_assert_eq!(translated(&bytes, 9).0, bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = upgrade(&bytes, LIMIT);
        // The same with a CRC that fits.
        if bytes.len() > 30 {
            let length = bytes.len() as i32 - 12;
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[16] &= 1;
            let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, &bytes[16..]) as u32;
            bytes[12..16].copy_from_slice(&crc.to_be_bytes());
            let _ = upgrade(&bytes, LIMIT);
            translated(&bytes, 9);
        }
    }
}

#[test]
fn a_bomb_is_an_error() {
    assert_eq!(upgrade(&stored(1, "gzip"), 1000), Err(Error::Bomb { limit: 1000 }));
}
