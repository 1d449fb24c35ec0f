//! The shape of Kafka messages, as tables, and one bounded walk over any of them.
//!
//! A table (see [`crate::shapes`]) lists a message's fields with the versions that carry them, as
//! Kafka's own JSON definitions do. [`Message::walk`] steps through the bytes by that table, checks
//! every count and length against what is there, and reports the fields that have a [`Role`]. It
//! builds nothing, so a hostile message costs no memory, and what it accepts is safe to give to a
//! generated decoder.

use std::ops::Range;

use crate::cursor::Cursor;
use crate::{Error, Result};

/// A request or response body, without its header.
#[derive(Debug)]
pub struct Message {
    /// Its name in Kafka's definitions.
    pub name: &'static str,
    /// Lowest and highest version in the table.
    pub versions: (i16, i16),
    /// First version with compact lengths and tagged fields (KIP-482).
    pub flexible_from: i16,
    /// Its fields in the order of the wire.
    pub fields: &'static [Field],
    /// Tagged fields of the outermost structure that matter here.
    pub tagged: &'static [Tagged],
}

/// A field and the versions that carry it.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// What the field means to us.
    pub role: Role,
    /// How it is written.
    pub kind: Kind,
    /// First version.
    pub since: i16,
    /// Last version.
    pub until: i16,
}

/// A tagged field.
#[derive(Debug)]
pub struct Tagged {
    /// Its tag.
    pub tag: u32,
    /// First version that defines it.
    pub since: i16,
    /// How its content is written.
    pub kind: Kind,
}

/// How a field is written.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// INT8, INT16, INT32, INT64, BOOLEAN or FLOAT64: this many bytes.
    Int(usize),
    /// 16 bytes.
    Uuid,
    /// STRING, nullable or not; compact in flexible versions.
    Text,
    /// BYTES or RECORDS, nullable or not; compact in flexible versions.
    Bytes,
    /// An array of integers of this many bytes.
    Ints(usize),
    /// An array of strings.
    Texts,
    /// An array of structures, nullable or not.
    Array(&'static [Field]),
    /// A structure that stands alone.
    Struct(&'static [Field]),
}

/// The fields that some part of this project looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Stepped over.
    Other,
    /// Topic name.
    Topic,
    /// Topic id (KIP-516).
    TopicId,
    /// Partition index.
    Partition,
    /// Error code of the message or of the partition.
    ErrorCode,
    /// What a broker says beside an error code.
    ErrorMessage,
    /// Record batches or message sets.
    Records,
    /// `acks` of a Produce request.
    Acks,
    /// High watermark.
    HighWatermark,
    /// Last stable offset.
    LastStableOffset,
    /// Log start offset.
    LogStartOffset,
    /// Producer id of an aborted transaction.
    AbortedProducer,
    /// First offset of an aborted transaction.
    AbortedFirstOffset,
    /// Broker id that the next host and port belong to.
    NodeId,
    /// Broker host.
    Host,
    /// Broker port.
    Port,
    /// What kind of nodes DescribeCluster lists: 1 brokers, 2 controllers (KIP-919).
    EndpointType,
    /// A tagged field listed in [`Message::tagged`]: its size and content.
    TagSize,
}

/// One field met on the walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    /// What it means.
    pub role: Role,
    /// All its bytes, a length prefix included.
    pub field: Range<usize>,
    /// What it holds.
    pub value: Value,
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// An integer.
    Int(i64),
    /// Where the bytes of a string, byte string, UUID or tagged field lie.
    Bytes(Range<usize>),
    /// A null string or byte string.
    Null,
}

impl Field {
    /// A field of every version.
    pub const fn new(role: Role, kind: Kind) -> Self {
        Self { role, kind, since: 0, until: i16::MAX }
    }

    /// A field that means nothing to us.
    pub const fn other(kind: Kind) -> Self {
        Self::new(Role::Other, kind)
    }

    /// The same field from `version` on.
    #[must_use]
    pub const fn since(self, version: i16) -> Self {
        Self { since: version, ..self }
    }

    /// The same field up to `version`.
    #[must_use]
    pub const fn until(self, version: i16) -> Self {
        Self { until: version, ..self }
    }
}

impl Message {
    /// Whether the table covers `version`.
    pub fn knows(&self, version: i16) -> bool {
        (self.versions.0..=self.versions.1).contains(&version)
    }

    /// Whether lengths are compact and structures end with tags in `version`.
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }

    /// Walks the body that starts at byte `from` of `bytes` to its end and reports the fields that
    /// have a role. Bytes after the last field are an error: a table that does not fit is noticed.
    pub fn walk(
        &self,
        bytes: &[u8],
        from: usize,
        version: i16,
        met: &mut dyn FnMut(Met),
    ) -> Result<()> {
        if !self.knows(version) {
            let (min, max) = self.versions;
            return Err(Error::Version { name: self.name, version, min, max });
        }
        let flexible = self.is_flexible(version);
        let mut walk = Walk { cursor: Cursor::starting_at(bytes, from), version, flexible, met };
        walk.fields(self.fields)?;
        if flexible {
            walk.tags(self.tagged)?;
        }
        match walk.cursor.left() {
            0 => Ok(()),
            left => {
                let value = left as i64;
                Err(Error::OutOfRange { what: "the number of bytes after a message", value })
            }
        }
    }

    /// Checks every count and length without looking at a field.
    pub fn check(&self, bytes: &[u8], from: usize, version: i16) -> Result<()> {
        self.walk(bytes, from, version, &mut |_| ())
    }
}

struct Walk<'a, 'm> {
    cursor: Cursor<'a>,
    version: i16,
    flexible: bool,
    met: &'m mut dyn FnMut(Met),
}

impl Walk<'_, '_> {
    /// Recursion is as deep as the table is nested, whatever the bytes say.
    fn structure(&mut self, fields: &'static [Field]) -> Result<()> {
        self.fields(fields)?;
        if self.flexible { self.cursor.skip_tags() } else { Ok(()) }
    }

    fn fields(&mut self, fields: &'static [Field]) -> Result<()> {
        for field in fields {
            if (field.since..=field.until).contains(&self.version) {
                self.field(field.role, &field.kind)?;
            }
        }
        Ok(())
    }

    fn field(&mut self, role: Role, kind: &Kind) -> Result<()> {
        let start = self.cursor.position();
        let value = match kind {
            Kind::Int(1) => Value::Int(self.cursor.i8("an INT8")?.into()),
            Kind::Int(2) => Value::Int(self.cursor.i16("an INT16")?.into()),
            Kind::Int(4) => Value::Int(self.cursor.i32("an INT32")?.into()),
            Kind::Int(_) => Value::Int(self.cursor.i64("an INT64")?),
            Kind::Uuid => Value::Bytes(self.cursor.skip(16, "a UUID")?),
            Kind::Text => self.text()?,
            Kind::Bytes => {
                let length = self.long_length("a byte string's length")?;
                self.value(length, "a byte string")?
            }
            Kind::Ints(width) => {
                let count = self.count()?;
                let size = count.saturating_mul(*width);
                Value::Bytes(self.cursor.skip(size, "an array of integers")?)
            }
            Kind::Texts => {
                for _ in 0..self.count()? {
                    self.text()?;
                }
                return Ok(());
            }
            Kind::Array(fields) => {
                for _ in 0..self.count()? {
                    self.structure(fields)?;
                }
                return Ok(());
            }
            Kind::Struct(fields) => return self.structure(fields),
        };
        if role != Role::Other {
            (self.met)(Met { role, field: start..self.cursor.position(), value });
        }
        Ok(())
    }

    fn text(&mut self) -> Result<Value> {
        let length = if self.flexible {
            self.long_length("a string's length")?
        } else {
            length(i64::from(self.cursor.i16("a string's length")?), "a string's length")?
        };
        self.value(length, "a string")
    }

    fn value(&mut self, length: Option<usize>, what: &'static str) -> Result<Value> {
        match length {
            None => Ok(Value::Null),
            Some(length) => Ok(Value::Bytes(self.cursor.skip(length, what)?)),
        }
    }

    /// UNSIGNED_VARINT of length + 1 in flexible versions, INT32 before; null is 0 and -1.
    fn long_length(&mut self, what: &'static str) -> Result<Option<usize>> {
        let stated = if self.flexible {
            i64::from(self.cursor.uvarint()?) - 1
        } else {
            i64::from(self.cursor.i32(what)?)
        };
        length(stated, what)
    }

    /// The elements of an array. Each takes a byte at least, so a larger count can't be true.
    fn count(&mut self) -> Result<usize> {
        let count = self.long_length("an array's count")?.unwrap_or(0);
        if count > self.cursor.left() {
            let (needed, left) = (count as u64, self.cursor.left() as u64);
            return Err(Error::Truncated { what: "an array", needed, left });
        }
        Ok(count)
    }

    fn tags(&mut self, known: &'static [Tagged]) -> Result<()> {
        for _ in 0..self.cursor.uvarint()? {
            let tag = self.cursor.uvarint()?;
            let start = self.cursor.position();
            let size = self.cursor.uvarint()? as usize;
            let content = self.cursor.clone().skip(size, "a tagged field")?;
            let known = known.iter().find(|it| it.tag == tag && it.since <= self.version);
            let Some(known) = known else {
                self.cursor.skip(size, "a tagged field")?;
                continue;
            };
            let (field, value) = (start..content.start, Value::Bytes(content.clone()));
            (self.met)(Met { role: Role::TagSize, field, value });
            self.field(Role::Other, &known.kind)?;
            if self.cursor.position() != content.end {
                let value = size as i64;
                return Err(Error::OutOfRange { what: "a tagged field's size", value });
            }
        }
        Ok(())
    }
}

fn length(stated: i64, what: &'static str) -> Result<Option<usize>> {
    match stated {
        -1 => Ok(None),
        0.. => Ok(Some(stated as usize)),
        value => Err(Error::OutOfRange { what, value }),
    }
}
