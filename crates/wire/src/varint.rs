//! Kafka's variable-length integers: protobuf's base-128 groups, zigzag where signed.

use crate::{Error, Result};

/// Reads an UNSIGNED_VARINT; gives the value and the bytes it took.
///
/// Like Kafka's `ByteUtils`, five bytes are the most and bits past the 32nd are an error.
#[inline]
pub fn read_u32(bytes: &[u8]) -> Result<(u32, usize)> {
    // One-byte integers are by far the most common in record batches.
    if let Some(&first) = bytes.first()
        && first < 0x80
    {
        return Ok((u32::from(first), 1));
    }
    let (value, length) = read(bytes, 5)?;
    u32::try_from(value).map(|value| (value, length)).map_err(|_| Error::Varint(5))
}

/// Reads the unsigned form of a VARLONG; gives the value and the bytes it took, ten at the most.
#[inline]
pub fn read_u64(bytes: &[u8]) -> Result<(u64, usize)> {
    read(bytes, 10)
}

#[inline]
fn read(bytes: &[u8], most: usize) -> Result<(u64, usize)> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().take(most).enumerate() {
        let group = u64::from(byte & 0x7f);
        if index == 9 && group > 1 {
            return Err(Error::Varint(most));
        }
        value |= group << (7 * index);
        if byte < 0x80 {
            return Ok((value, index + 1));
        }
    }
    if bytes.len() < most {
        let (needed, left) = (bytes.len() as u64 + 1, bytes.len() as u64);
        return Err(Error::Truncated { what: "a variable-length integer", needed, left });
    }
    Err(Error::Varint(most))
}

/// Appends an UNSIGNED_VARINT.
pub fn write_u32(out: &mut Vec<u8>, value: u32) {
    write_u64(out, u64::from(value));
}

/// Appends the unsigned form of a VARLONG.
pub fn write_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a VARINT (zigzag).
pub fn write_i32(out: &mut Vec<u8>, value: i32) {
    write_u32(out, ((value << 1) ^ (value >> 31)) as u32);
}

/// Appends a VARLONG (zigzag).
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    write_u64(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Undoes the zigzag of a VARINT.
#[inline]
pub fn unzigzag32(value: u32) -> i32 {
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

/// Undoes the zigzag of a VARLONG.
#[inline]
pub fn unzigzag64(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn overlong_and_cut_integers_are_errors() {
        assert_eq!(read_u32(&[0xff; 5]), Err(Error::Varint(5)));
        assert_eq!(read_u32(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(Error::Varint(5)));
        assert_eq!(read_u64(&[0xff; 11]), Err(Error::Varint(10)));
        assert!(matches!(read_u32(&[0x80, 0x80]), Err(Error::Truncated { .. })));
        assert!(matches!(read_u32(&[]), Err(Error::Truncated { .. })));
    }

    proptest! {
        #[test]
        fn every_integer_comes_back(a: i32, b: i64) {
            let mut out = Vec::new();
            write_i32(&mut out, a);
            let (value, length) = read_u32(&out).unwrap();
            prop_assert_eq!((unzigzag32(value), length), (a, out.len()));
            out.clear();
            write_i64(&mut out, b);
            let (value, length) = read_u64(&out).unwrap();
            prop_assert_eq!((unzigzag64(value), length), (b, out.len()));
        }
    }
}
