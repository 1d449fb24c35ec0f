//! The hot path against a slow, obvious twin: equal to the bit for whatever bytes.
//!
//! `CASES=10000000 cargo test --release -p wire --test patch` compares ten million batches.

#[path = "common/reference.rs"]
mod reference;

use std::collections::HashMap;

use wire::translate::Parts;
use wire::varint::{write_i32, write_i64};
use wire::{IdMap, Tally, Translator, crc};

/// Xorshift: the same batches in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.roll(most)).map(|_| self.roll(256) as u8).collect()
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize]
    }

    /// Something that has an id, could have one, or has none.
    fn payload(&mut self) -> Option<Vec<u8>> {
        let id = self.pick(&[1_u32, 2, 3, 4, 5, 900, 70_000, u32::MAX]).to_be_bytes();
        let most = self.pick(&[3, 40, 300, 20_000]);
        match self.roll(8) {
            0 => None,
            1 => Some(self.bytes(most)),
            2 => Some([&[0][..], &id[..3]].concat()),
            3 => Some([&[1][..], &[self.roll(3) as u8; 16], &self.bytes(3)].concat()),
            _ => Some([&[0][..], &id, &self.bytes(most)].concat()),
        }
    }

    fn record(&mut self, offset: i32) -> Vec<u8> {
        let mut body = vec![self.roll(2) as u8];
        let times = [0, 1, -1, 63, 64, 1 << 20, 1 << 40, i64::MIN, i64::MAX];
        write_i64(&mut body, self.pick(&times));
        write_i32(&mut body, self.pick(&[offset, offset, offset, i32::MAX, i32::MIN]));
        for _ in 0..2 {
            part(&mut body, self.payload().as_deref());
        }
        let headers = self.pick(&[0, 0, 0, 1, 2, 3]);
        write_i32(&mut body, headers);
        for _ in 0..headers {
            let names = [&b"__key_schema_id"[..], b"__value_schema_id", b"trace", b""];
            part(&mut body, Some(self.pick(&names)));
            part(&mut body, self.payload().as_deref());
        }
        let mut out = Vec::new();
        write_i32(&mut out, body.len() as i32);
        out.extend(body);
        out
    }

    fn batch(&mut self) -> Vec<u8> {
        let count = self.roll(6) as i32;
        let mut out = vec![0; 61];
        for offset in 0..count {
            let record = self.record(offset);
            out.extend(record);
        }
        out[16] = 2;
        let stated = count + self.pick(&[0, 0, 0, 0, 0, 0, 1, -1]);
        out[57..61].copy_from_slice(&stated.max(0).to_be_bytes());
        // Damage of every kind, mostly none.
        for _ in 0..self.pick(&[0, 0, 0, 1, 2]) {
            let at = 57 + self.roll(out.len() as u64 - 57) as usize;
            out[at] ^= 1 << self.roll(8);
        }
        if self.roll(10) == 0 {
            out.truncate(61 + self.roll(out.len() as u64 - 60) as usize);
        }
        let length = out.len() as i32 - 12;
        out[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc::crc32c(&out[21..]) ^ self.pick(&[0, 0, 0, 0x40]);
        out[17..21].copy_from_slice(&crc.to_be_bytes());
        out
    }
}

fn part(body: &mut Vec<u8>, part: Option<&[u8]>) {
    write_i32(body, part.map_or(-1, |it| it.len() as i32));
    body.extend(part.unwrap_or_default());
}

#[test]
fn the_hot_path_does_what_its_slow_twin_does() {
    let cases = std::env::var("CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(40_000_u64);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let pairs = HashMap::from([(1, 101), (2, 0x0102_0304), (3, 3), (4, 1), (70_000, 5), (5, 4)]);
    let guids = HashMap::from([([1; 16], [9; 16]), ([2; 16], *b"0123456789abcdef")]);
    let map = IdMap::new(pairs.clone()).with_guids(guids.clone());
    let (mut malformed, mut changed) = (0_u64, 0_u64);
    let mut translators = [(true, true), (true, false), (false, true)]
        .map(|(keys, values)| ((keys, values), Translator::new(Parts { keys, values }, 1 << 20)));
    for case in 0..cases {
        let batch = dice.batch();
        let (sides, translator) = &mut translators[(case % 3) as usize];
        let mut tally = Tally::default();
        let mut found = batch.clone();
        assert_eq!(translator.records(&mut found, &map, &mut tally), None);
        let count = i32::from_be_bytes(batch[57..61].try_into().unwrap());
        // A batch that says it is empty is passed over.
        let wanted = if count == 0 {
            Some((batch.clone(), 0, 0))
        } else {
            reference::translate(&batch, &pairs, &guids, *sides)
        };
        if let Some((wanted, translated, unmapped)) = wanted {
            assert!(found == wanted, "case {case}: {batch:?}");
            assert_eq!((tally.translated, tally.unmapped), (translated, unmapped), "{case}");
            assert_eq!(tally.undecodable, 0, "case {case}: {:?}", tally.first_error);
            changed += u64::from(translated > 0);
        } else {
            assert!(found == batch, "case {case}: a malformed batch was changed");
            assert_eq!((tally.translated, tally.unmapped), (0, 0), "case {case}");
            assert!(tally.undecodable == 1, "case {case}: {batch:?}");
            malformed += 1;
        }
    }
    println!("{cases} batches, {changed} with changed ids, {malformed} malformed");
    assert!(malformed > cases / 20 && changed > cases / 4, "{malformed} {changed}");
}
