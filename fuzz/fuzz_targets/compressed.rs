//! A compressed batch must hold, after its translation, what the same batch holds uncompressed: lz4 and
//! snappy streams are edited, and this is their proof.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::codec::{self, Codec};
use wire::translate::Parts;
use wire::{IdMap, Tally, Translator, crc, varint};

const LIMIT: usize = 1 << 20;
/// The first bytes of a stream decide its framing: xerial blocks, LZ4 flags and block sizes.
const FRAMINGS: [(Codec, &[u8]); 8] = [
    (Codec::None, &[]),
    (Codec::Gzip, &[]),
    (Codec::Zstd, &[]),
    (Codec::Snappy, &[]),
    (Codec::Snappy, b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"),
    (Codec::Lz4, &[]),
    (Codec::Lz4, &[4, 0x22, 0x4d, 0x18, 0b0111_0100, 0b0100_0000]),
    (Codec::Lz4, &[4, 0x22, 0x4d, 0x18, 0b0110_0000, 0b0111_0000]),
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&[choice, size, repeat], text)) = bytes.split_first_chunk() else { return };
    let (codec, framing) = FRAMINGS[usize::from(choice % 8)];
    let mut plain = Vec::new();
    let mut count = 0_i32;
    // What comes again makes matches.
    for _ in 0..1 + usize::from(repeat % 16) {
        for value in text.chunks(1 + usize::from(size)) {
            let mut body = vec![0, 0, 0, 1];
            varint::write_i32(&mut body, value.len() as i32 + 5);
            body.extend([0, 0, 0, 0, value[0] % 32]);
            body.extend(value);
            body.push(0);
            varint::write_i32(&mut plain, body.len() as i32);
            plain.extend(body);
            count += 1;
        }
    }
    if plain.len() > LIMIT {
        return;
    }
    let map = IdMap::new((0..24_u32).map(|id| (id, id.wrapping_mul(0x0101_0107) & 0x7fff_ffff)));
    let translate = |codec: Codec, framing: &[u8]| {
        let mut payload = Vec::new();
        codec::compress(codec, &plain, framing, &mut payload);
        let number = Codec::ALL.iter().position(|it| *it == codec).expect("it is one of them");
        let mut batch = vec![0; 61];
        batch[8..12].copy_from_slice(&(payload.len() as i32 + 49).to_be_bytes());
        batch[16] = 2;
        batch[21..23].copy_from_slice(&(number as i16).to_be_bytes());
        batch[57..61].copy_from_slice(&count.to_be_bytes());
        batch.extend(payload);
        let checksum = crc::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&checksum.to_be_bytes());
        let mut tally = Tally::default();
        let mut translator = Translator::new(Parts::BOTH, 4 * LIMIT);
        let rebuilt = translator.records(&mut batch, &map, &mut tally).map(<[u8]>::to_vec);
        let batch = rebuilt.unwrap_or(batch);
        let stored = u32::from_be_bytes([batch[17], batch[18], batch[19], batch[20]]);
        assert_eq!(stored, crc::crc32c(&batch[21..]), "the CRC");
        let mut back = Vec::new();
        codec::decompress(codec, &batch[61..], 4 * LIMIT, &mut back).expect("it can be read");
        (back, tally)
    };
    assert!(translate(codec, framing) == translate(Codec::None, &[]), "{codec:?} {framing:?}");
});
