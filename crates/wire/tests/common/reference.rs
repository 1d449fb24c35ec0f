//! Translating, slow and obvious: what [`wire::Translator`] is compared with, here and by a fuzzer.
//! It shares no code with it but the checksum of whole bytes.

use std::collections::HashMap;

/// Replaces the ids of one uncompressed batch; `None` where it is malformed.
pub(crate) fn translate(
    batch: &[u8],
    ids: &HashMap<u32, u32>,
    guids: &HashMap<[u8; 16], [u8; 16]>,
    (keys, values): (bool, bool),
) -> Option<(Vec<u8>, u64, u64)> {
    let count = i32::from_be_bytes(batch.get(57..61)?.try_into().ok()?);
    if count < 0 {
        return None;
    }
    let mut out = batch.to_vec();
    let mut reader = Reader { bytes: batch, at: 61 };
    let (mut translated, mut unmapped) = (0, 0);
    let mut id = |out: &mut Vec<u8>, at: usize| {
        let old = u32::from_be_bytes(batch[at..at + 4].try_into().unwrap());
        match ids.get(&old) {
            Some(new) if *new != old => {
                out[at..at + 4].copy_from_slice(&new.to_be_bytes());
                translated += 1;
            }
            Some(_) => {}
            None => unmapped += 1,
        }
    };
    let mut guids_changed = 0;
    for _ in 0..count {
        let length = usize::try_from(reader.int(5)?).ok()?;
        let end = reader.at.checked_add(length).filter(|end| *end <= batch.len())?;
        let mut body = Reader { bytes: &batch[..end], at: reader.at };
        body.take(1)?;
        body.int(10)?;
        body.int(5)?;
        let key = body.part()?;
        let value = body.part()?;
        let headers = body.int(5)?;
        if headers < 0 || headers as usize > end - body.at {
            return None;
        }
        let (mut key_framed, mut value_framed) = (false, false);
        let mut found = Vec::new();
        for _ in 0..headers {
            let name = body.part()??;
            let value = body.part()?;
            let wanted = match &batch[name.0..name.1] {
                b"__key_schema_id" => {
                    key_framed = true;
                    keys
                }
                b"__value_schema_id" => {
                    value_framed = true;
                    values
                }
                _ => continue,
            };
            found.extend(value.filter(|_| wanted));
        }
        if body.at != end {
            return None;
        }
        let prefixed = |(start, end): &(usize, usize)| end - start >= 5 && batch[*start] == 0;
        if keys && !key_framed {
            key.iter().filter(|it| prefixed(it)).for_each(|it| id(&mut out, it.0 + 1));
        }
        if values && !value_framed {
            value.iter().filter(|it| prefixed(it)).for_each(|it| id(&mut out, it.0 + 1));
        }
        for (start, end) in found {
            if prefixed(&(start, end)) {
                id(&mut out, start + 1);
            } else if end - start >= 17 && batch[start] == 1 {
                let old: [u8; 16] = batch[start + 1..start + 17].try_into().unwrap();
                if let Some(new) = guids.get(&old) {
                    out[start + 1..start + 17].copy_from_slice(new);
                    guids_changed += 1;
                }
            }
        }
        reader.at = end;
    }
    if reader.at != batch.len() {
        return None;
    }
    // A wrong checksum stays wrong by the same bits.
    let stored = u32::from_be_bytes(batch[17..21].try_into().unwrap());
    let crc = stored ^ wire::crc::crc32c(&batch[21..]) ^ wire::crc::crc32c(&out[21..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    Some((out, translated + guids_changed, unmapped))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Option<(usize, usize)> {
        let start = self.at;
        self.at = start.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        Some((start, self.at))
    }

    /// A zigzag integer of `most` bytes at the most: 5 for 32 bits, 10 for 64.
    fn int(&mut self, most: usize) -> Option<i64> {
        let mut value = 0_u128;
        for index in 0..most {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u128::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                let bits = if most == 5 { 32 } else { 64 };
                let value = u64::try_from(value).ok().filter(|it| bits == 64 || *it >> 32 == 0)?;
                return Some((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        None
    }

    /// Nullable bytes: `None` in the inner option for null.
    #[allow(clippy::option_option, reason = "malformed, null, and bytes are three")]
    fn part(&mut self) -> Option<Option<(usize, usize)>> {
        match self.int(5)? {
            -1 => Some(None),
            length => Some(Some(self.take(usize::try_from(length).ok()?)?)),
        }
    }
}
