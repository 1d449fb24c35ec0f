//! Message sets of magic 0 and 1, as `message-sets/make.py` wrote them with kafka-python.

mod common;

use common::decode;
use proptest::prelude::*;
use wire::message_set::upgrade;
use wire::{Batch, Error};

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
        }
    }
}

#[test]
fn a_bomb_is_an_error() {
    assert_eq!(upgrade(&stored(1, "gzip"), 1000), Err(Error::Bomb { limit: 1000 }));
}
