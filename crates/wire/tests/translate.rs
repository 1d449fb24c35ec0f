//! What a translation may change, and what it must leave alone.

mod common;

use common::{Plain, Shape, decode, encode, framed};
use proptest::prelude::*;
use wire::codec::Codec;
use wire::rebatch::Window;
use wire::translate::{Part, Parts};
use wire::{Batch, IdMap, Tally, Translator};

fn translate(records: &[u8], map: &IdMap, parts: Parts) -> (Vec<u8>, Tally) {
    let mut bytes = records.to_vec();
    let mut tally = Tally::default();
    let rebuilt =
        Translator::new(parts, 1 << 26).records(&mut bytes, map, &mut tally).map(<[u8]>::to_vec);
    (rebuilt.unwrap_or(bytes), tally)
}

/// What the rules of the design page make of one record, written a second time and plainly.
fn expected(record: &Plain, map: &IdMap, parts: Parts) -> Plain {
    let mut record = record.clone();
    let swap = |part: &mut Option<Vec<u8>>| {
        if let Some([0, a, b, c, d, ..]) = part.as_deref()
            && let Some(id) = map.target(u32::from_be_bytes([*a, *b, *c, *d]))
        {
            part.as_mut().unwrap()[1..5].copy_from_slice(&id.to_be_bytes());
        }
    };
    let mut sides = [
        (&b"__key_schema_id"[..], parts.keys, &mut record.key),
        (&b"__value_schema_id"[..], parts.values, &mut record.value),
    ];
    for (name, wanted, payload) in &mut sides {
        if !*wanted {
            continue;
        }
        let mut in_header = false;
        for (_, value) in record.headers.iter_mut().filter(|(it, _)| it == name) {
            in_header = true;
            swap(value);
        }
        if !in_header {
            swap(payload);
        }
    }
    record
}

#[test]
fn prefix_ids_change_and_nothing_else() {
    let map = IdMap::new([(5, 105), (6, 0x0102_0304)]);
    let records = [
        Plain::new(Some(&framed(6, b"key")), Some(&framed(5, b"value"))),
        Plain::new(Some(b"\0\0\0\x05"), Some(b"plain text")),
        Plain::new(None, None),
        Plain::new(Some(b""), Some(&framed(7, b"unknown"))),
    ];
    let (out, tally) = translate(&encode(&Shape::default(), &records), &map, Parts::BOTH);
    let out = decode(&out);
    assert_eq!(out[0].key.as_deref(), Some(&framed(0x0102_0304, b"key")[..]));
    assert_eq!(out[0].value.as_deref(), Some(&framed(105, b"value")[..]));
    assert_eq!(out[1..], records[1..]);
    assert_eq!((tally.records, tally.translated, tally.unmapped), (4, 2, 1));
    let unmapped = tally.first_unmapped.unwrap();
    assert_eq!((unmapped.id, unmapped.part), (7, Part::Value));
}

/// KIP-like headers of Confluent's newer serializers; see registry-facts.
#[test]
fn an_id_in_a_header_leaves_the_payload_alone() {
    let map = IdMap::new([(5, 105)]);
    let guid = [&[1][..], &[7; 16]].concat();
    let payload = framed(5, b"not a prefix");
    let records = [
        Plain::new(None, Some(&payload)).header(b"__value_schema_id", &framed(5, b"")),
        Plain::new(None, Some(&payload)).header(b"__value_schema_id", &guid),
        // The other part's header says nothing about this one.
        Plain::new(Some(&payload), Some(&payload)).header(b"__key_schema_id", &guid),
    ];
    let (out, _) = translate(&encode(&Shape::default(), &records), &map, Parts::BOTH);
    let out = decode(&out);
    assert_eq!(out[0].value.as_ref(), Some(&payload));
    assert_eq!(out[0].headers[0].1.as_deref(), Some(&framed(105, b"")[..]));
    assert_eq!(out[1], records[1]);
    assert_eq!(out[2].key.as_ref(), Some(&payload));
    assert_eq!(out[2].value.as_deref(), Some(&framed(105, b"not a prefix")[..]));
}

#[test]
fn a_guid_in_a_header_is_replaced_where_the_map_has_it() {
    let guid = |kind: u8, byte: u8| [&[kind][..], &[byte; 16], b"indexes"].concat();
    let map = IdMap::new([(5, 105)]).with_guids([([7; 16], [9; 16])]);
    let record = |header: &[u8]| {
        Plain::new(None, Some(&framed(5, b"not a prefix"))).header(b"__value_schema_id", header)
    };
    let records = [record(&guid(1, 7)), record(&guid(1, 8)), record(&guid(2, 7))];
    for codec in Codec::ALL {
        let shape = Shape { codec, ..Shape::default() };
        let (out, tally) = translate(&encode(&shape, &records), &map, Parts::BOTH);
        let wanted = [record(&guid(1, 9)), record(&guid(1, 8)), record(&guid(2, 7))];
        assert_eq!(decode(&out), wanted, "{codec:?}");
        assert_eq!((tally.translated, tally.unmapped), (1, 0));
        let keys_only = Parts { keys: true, values: false };
        assert_eq!(decode(&translate(&out, &map, keys_only).0), wanted);
    }
}

#[test]
fn control_batches_partial_tails_and_old_messages_pass_untouched() {
    let map = IdMap::new([(5, 105)]);
    let record = [Plain::new(None, Some(&framed(5, b"x")))];
    let control = encode(&Shape { attributes: 1 << 5 | 1 << 4, ..Shape::default() }, &record);
    assert_eq!(translate(&control, &map, Parts::BOTH).0, control);

    let whole = encode(&Shape::default(), &record);
    for cut in 1..whole.len() {
        let field = [&whole[..], &whole[..cut]].concat();
        let (out, tally) = translate(&field, &map, Parts::BOTH);
        assert_eq!(out[whole.len()..], whole[..cut]);
        assert_eq!((tally.translated, tally.undecodable), (1, 0), "cut at {cut}");
    }

    let mut old = whole.clone();
    old[16] = 1;
    let (out, tally) = translate(&old, &map, Parts::BOTH);
    assert_eq!((out, tally.undecodable), (old, 1));
}

#[test]
fn a_compressed_batch_without_a_changed_id_keeps_its_bytes() {
    let records = [Plain::new(None, Some(&framed(5, &[9; 500])))];
    for codec in Codec::ALL {
        let bytes = encode(&Shape { codec, ..Shape::default() }, &records);
        for map in [IdMap::default(), IdMap::new([(5, 5)])] {
            let mut copy = bytes.clone();
            let mut tally = Tally::default();
            let mut translator = Translator::new(Parts::BOTH, 1 << 20);
            let rebuilt = translator.records(&mut copy, &map, &mut tally).map(<[u8]>::to_vec);
            assert_eq!((rebuilt, copy), (None, bytes.clone()), "{codec:?}");
        }
    }
}

#[test]
fn a_bomb_is_counted_and_passes() {
    let records = [Plain::new(None, Some(&framed(5, &vec![0; 1 << 20])))];
    let mut bytes = encode(&Shape { codec: Codec::Zstd, ..Shape::default() }, &records);
    let mut tally = Tally::default();
    let map = IdMap::new([(5, 6)]);
    let mut translator = Translator::new(Parts::BOTH, 4096);
    let rebuilt = translator.records(&mut bytes, &map, &mut tally);
    assert_eq!((rebuilt, tally.undecodable), (None, 1));
    assert_eq!(tally.first_error, Some(wire::Error::Bomb { limit: 4096 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn only_ids_change(
        batches in prop::collection::vec((common::shape(), common::records()), 1..4),
        pairs in prop::collection::hash_map(0_u32..40, 0_u32..0x7fff_ffff, 0..40),
        keys: bool,
        values: bool,
    ) {
        let (map, parts) = (IdMap::new(pairs), Parts { keys, values });
        let field: Vec<u8> = batches.iter().flat_map(|(shape, it)| encode(shape, it)).collect();
        let (out, tally) = translate(&field, &map, parts);
        prop_assert_eq!(tally.undecodable, 0);

        let mut rest = &out[..];
        for (shape, records) in &batches {
            let length = 12 + i32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
            let (batch, after) = rest.split_at(length);
            rest = after;
            let want: Vec<_> = records.iter().map(|it| expected(it, &map, parts)).collect();
            prop_assert_eq!(decode(batch), want);
            // Everything of the header but length and CRC.
            let before = encode(shape, records);
            prop_assert_eq!(&batch[..8], &before[..8]);
            prop_assert_eq!(&batch[12..17], &before[12..17]);
            prop_assert_eq!(&batch[21..61], &before[21..61]);
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn the_inverse_map_gives_the_original_bytes(
        records in common::records(),
        targets in Just((100_u32..140).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let map = IdMap::new((0..40).zip(targets));
        let back = map.inverse().unwrap();
        // An id that the map lacks but its inverse has would not come back.
        let part_ok = |part: &Option<Vec<u8>>| !matches!(part.as_deref(),
            Some([0, 0, 0, 0, 100..140, ..]));
        prop_assume!(records.iter().all(|it| part_ok(&it.key) && part_ok(&it.value)
            && it.headers.iter().all(|(_, value)| part_ok(value))));
        let bytes = encode(&Shape::default(), &records);
        let (there, _) = translate(&bytes, &map, Parts::BOTH);
        let (back, _) = translate(&there, &back, Parts::BOTH);
        prop_assert_eq!(back, bytes);
    }

    #[test]
    fn a_corrupt_batch_stays_corrupt(
        shape in common::shape(),
        records in common::records(),
        flip in any::<prop::sample::Index>(),
        bit in 0_u32..8,
    ) {
        let mut bytes = encode(&shape, &records);
        let at = 17 + flip.index(bytes.len() - 17);
        bytes[at] ^= 1_u8 << bit;
        let map = IdMap::new((0..40).map(|id| (id, id + 1000)));
        let (out, _) = translate(&bytes, &map, Parts::BOTH);
        let out = Batch::parse(&out);
        prop_assert!(out.is_err() || !out.unwrap().crc_matches());
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        shape in common::shape(),
        records in common::records(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let map = IdMap::new((0..40).map(|id| (id, id + 1000)));
        let _ = translate(&bytes, &map, Parts::BOTH);
        let mut batch = encode(&shape, &records);
        for (at, byte) in damage {
            let at = at.index(batch.len());
            batch[at] = byte;
        }
        let _ = translate(&batch, &map, Parts::BOTH);
        if let Ok(batch) = Batch::parse(&batch) {
            let _ = wire::rebatch::for_produce(&batch, &Window::default(), 1 << 20);
            let _ = wire::rebatch::split(&bytes, 1 << 20);
        }
    }
}
