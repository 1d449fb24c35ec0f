//! Topic and subject names as path segments.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// A name as one safe path segment: what is not `[A-Za-z0-9_.-]` becomes `%XX`.
///
/// Names are told apart by content, so a name that is too long for a file name (subjects have no
/// limit) keeps its start and gets its SHA-256; the full name stands in the JSON beside it.
pub fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    // `.` and `..` are no names, and a leading `_` is kept for our own files.
    let special = name.chars().all(|it| it == '.') || name.starts_with('_');
    for (index, byte) in name.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if plain && !(special && index == 0) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a String can't fail");
        }
    }
    if out.is_empty() {
        return "%".to_owned();
    }
    if out.len() > LONGEST {
        let digest = hex(&Sha256::digest(name));
        out.truncate(LONGEST - digest.len() - 2);
        return format!("{out}%%{digest}");
    }
    out
}

/// Leaves room for `.json` and a temporary file's ending within the usual 255 bytes.
const LONGEST: usize = 200;

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        write!(out, "{byte:02x}").expect("writing to a String can't fail");
        out
    })
}

/// The name of a segment that [`segment`] made, unless it was cut or is not one of ours.
pub fn name(segment: &str) -> Option<String> {
    if segment == "%" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_would_escape_stay_inside() {
        assert_eq!(segment("orders-value"), "orders-value");
        assert_eq!(segment(".."), "%2E.");
        assert_eq!(segment("a/b"), "a%2Fb");
        assert_eq!(segment("_metadata"), "%5Fmetadata");
        assert_eq!(segment(":.ctx1:orders"), "%3A.ctx1%3Aorders");
        assert_eq!(segment(""), "%");
        let (long, longer) = ("x".repeat(300), "x".repeat(301));
        assert!(segment(&long).len() <= LONGEST);
        assert_ne!(segment(&long), segment(&longer));
    }

    proptest! {
        #[test]
        fn every_name_is_safe_and_comes_back(text in "\\PC{0,60}") {
            let segment = segment(&text);
            let safe = |it: u8| it.is_ascii_alphanumeric() || b"._-%".contains(&it);
            prop_assert!(segment.bytes().all(safe));
            prop_assert!(!segment.is_empty() && segment != "." && segment != "..");
            prop_assert!(segment.len() <= LONGEST);
            if !segment.contains("%%") {
                prop_assert_eq!(name(&segment), Some(text));
            }
        }
    }
}
