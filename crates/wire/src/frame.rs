//! Frames: the header of a request, and a frame rebuilt when one of its parts changes size.

use std::ops::Range;

use crate::cursor::Cursor;
use crate::{Result, varint};

/// The start of every request header, whatever its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestStart {
    /// Which API.
    pub api_key: i16,
    /// Which version of it.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
}

/// Bytes of [`RequestStart`]; the same in all header versions, so an unknown API can be passed on.
pub const REQUEST_START: usize = 8;

impl RequestStart {
    /// Reads it from the first bytes after the frame's size.
    pub fn parse(frame: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new(frame);
        Ok(Self {
            api_key: cursor.i16("a request's API key")?,
            api_version: cursor.i16("a request's API version")?,
            correlation_id: cursor.i32("a request's correlation id")?,
        })
    }
}

/// Where the body of a request begins: after the client id and, in header version 2, the tags.
///
/// `client_id` is a plain nullable string in every header version that has it, flexible or not.
pub fn request_body(frame: &[u8], flexible: bool) -> Result<usize> {
    let mut cursor = Cursor::starting_at(frame, REQUEST_START);
    let client_id = cursor.i16("the length of a client id")?;
    cursor.skip(usize::try_from(client_id).unwrap_or(0), "a client id")?;
    if flexible {
        cursor.skip_tags()?;
    }
    Ok(cursor.position())
}

/// Where the body of a response begins: after the correlation id and, in header version 1, the tags.
pub fn response_body(frame: &[u8], flexible: bool) -> Result<usize> {
    let mut cursor = Cursor::new(frame);
    cursor.i32("a response's correlation id")?;
    if flexible {
        cursor.skip_tags()?;
    }
    Ok(cursor.position())
}

/// A part of a frame and the bytes that take its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The bytes that go.
    pub range: Range<usize>,
    /// The bytes that come.
    pub bytes: Vec<u8>,
}

impl Edit {
    /// How many bytes longer the frame gets.
    pub fn growth(&self) -> isize {
        self.bytes.len() as isize - self.range.len() as isize
    }
}

/// The frame with all edits made; they must lie in ascending order and apart.
pub fn splice(frame: &[u8], edits: &[Edit]) -> Vec<u8> {
    let growth: isize = edits.iter().map(Edit::growth).sum();
    let mut out = Vec::with_capacity(frame.len().saturating_add_signed(growth));
    let mut at = 0;
    for edit in edits {
        out.extend_from_slice(&frame[at..edit.range.start]);
        out.extend_from_slice(&edit.bytes);
        at = edit.range.end;
    }
    out.extend_from_slice(&frame[at..]);
    out
}

/// Sets the size in front of a frame that was written anew.
pub fn set_size(sized: &mut [u8]) {
    let size = (sized.len() - 4) as i32;
    sized[..4].copy_from_slice(&size.to_be_bytes());
}

/// The same, where the frame is handed on.
pub fn resized(mut sized: Vec<u8>) -> Vec<u8> {
    set_size(&mut sized);
    sized
}

/// Writes a byte string or RECORDS field: its length, compact in flexible versions, then its bytes.
pub fn write_bytes(content: &[u8], flexible: bool, out: &mut Vec<u8>) {
    if flexible {
        varint::write_u32(out, content.len() as u32 + 1);
    } else {
        out.extend_from_slice(&(content.len() as i32).to_be_bytes());
    }
    out.extend_from_slice(content);
}

/// A string field: its length, INT16 or compact in flexible versions, then its bytes.
pub fn text_field(content: &str, flexible: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 3);
    if flexible {
        varint::write_u32(&mut out, content.len() as u32 + 1);
    } else {
        out.extend_from_slice(&(content.len() as i16).to_be_bytes());
    }
    out.extend_from_slice(content.as_bytes());
    out
}
