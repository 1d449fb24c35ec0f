//! Segments: record batches of one partition, back to back, exactly as Kafka stores them.

use std::fmt;

use bytes::{Bytes, BytesMut};
use wire::batch::{Entries, Entry};
use wire::codec::DECOMPRESSED_LIMIT;
use wire::crc::Running;
use wire::{Batch, Header, message_set};

use crate::manifest::{SeenIds, Segment, SegmentFacts, Skipped};
use crate::store::Upload;
use crate::{Backup, Error, Result, layout};

/// Writes one segment and keeps count of it.
pub struct SegmentWriter<'a> {
    backup: &'a Backup,
    topic: &'a str,
    partition: i32,
    upload: Box<dyn Upload>,
    crc: Running,
    held: BytesMut,
    facts: Segment,
}

/// Batches are handed to the store in pieces of about this size.
const PIECE: usize = 1 << 20;

impl<'a> SegmentWriter<'a> {
    /// Begins the segment whose first batch starts at `base_offset`.
    pub async fn begin(
        backup: &'a Backup,
        topic: &'a str,
        partition: i32,
        base_offset: i64,
    ) -> Result<Self> {
        let key = backup.key(&layout::segment_log(topic, partition, base_offset));
        let upload = backup.store().upload(&key).await?;
        let facts = Segment {
            base_offset,
            last_offset: base_offset,
            batches: 0,
            records: 0,
            first_timestamp: i64::MAX,
            max_timestamp: i64::MIN,
            bytes: 0,
            crc32c: String::new(),
        };
        let (crc, held) = (Running::default(), BytesMut::new());
        Ok(Self { backup, topic, partition, upload, crc, held, facts })
    }

    /// Size so far.
    pub fn bytes(&self) -> u64 {
        self.facts.bytes
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.facts.records
    }

    /// Appends one whole batch, or one old message whose facts `header` tells.
    pub async fn append(&mut self, header: &Header, batch: &[u8]) -> Result<()> {
        let facts = &mut self.facts;
        facts.last_offset = header.last_offset();
        facts.batches += 1;
        facts.bytes += batch.len() as u64;
        if !header.is_control() && header.count > 0 {
            facts.records += header.count as u64;
            facts.first_timestamp = facts.first_timestamp.min(header.base_timestamp);
            facts.max_timestamp = facts.max_timestamp.max(header.max_timestamp);
        }
        self.crc.update(batch);
        self.held.extend_from_slice(batch);
        if self.held.len() >= PIECE {
            self.upload.write(self.held.split().freeze()).await?;
        }
        Ok(())
    }

    /// Makes the segment appear and its facts after it, with what was left out before its end and the
    /// ids that were met in it.
    pub async fn finish(mut self, skipped: &[Skipped], ids: SeenIds) -> Result<Segment> {
        self.upload.write(self.held.split().freeze()).await?;
        self.upload.finish().await?;
        self.facts.crc32c = format!("{:08x}", self.crc.value());
        if self.facts.records == 0 {
            (self.facts.first_timestamp, self.facts.max_timestamp) = (-1, -1);
        }
        let facts = layout::segment_facts(self.topic, self.partition, self.facts.base_offset);
        let skipped = skipped.to_vec();
        let all = SegmentFacts { segment: self.facts, skipped, ids };
        self.backup.put_json(&facts, &all).await?;
        Ok(all.segment)
    }
}

/// Reads a segment batch by batch, in bounded memory, and checks it against its facts at the end.
pub struct SegmentReader<'a> {
    backup: &'a Backup,
    key: String,
    facts: &'a Segment,
    chunk: u64,
    entries: u64,
    read: u64,
    held: BytesMut,
    crc: Running,
}

/// How much is read from the store at once, unless one batch is larger.
const CHUNK: u64 = 4 << 20;

/// Old messages that become one batch, bytes; a compressed one may be larger.
const MESSAGES: usize = 256 << 10;

/// Where the old messages at the start of `held` end that become one batch, and how many those are.
fn old_messages(held: &[u8]) -> (usize, u64) {
    let (mut end, mut count) = (0, 0);
    for entry in Entries::new(held) {
        match entry {
            Ok(Entry::Whole { end: next, magic: 0 | 1, .. }) if end == 0 || next <= MESSAGES => {
                (end, count) = (next, count + 1);
            }
            _ => break,
        }
    }
    (end, count)
}

impl<'a> SegmentReader<'a> {
    /// Nothing is read yet.
    pub fn new(backup: &'a Backup, topic: &str, partition: i32, facts: &'a Segment) -> Self {
        let key = backup.key(&layout::segment_log(topic, partition, facts.base_offset));
        let (held, crc) = (BytesMut::new(), Running::default());
        Self { backup, key, facts, chunk: CHUNK, entries: 0, read: 0, held, crc }
    }

    /// Reads no more than this at once, unless one batch is larger.
    #[must_use]
    pub fn reading(self, at_once: usize) -> Self {
        Self { chunk: CHUNK.min(at_once as u64).max(1), ..self }
    }

    /// Batches and old messages that were read so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The next batch, whole, also where the log has messages of magic 0 and 1; `None` after the last one, when size and checksum were right.
    pub async fn next_batch(&mut self) -> Result<Option<(Header, Bytes)>> {
        loop {
            match Entries::new(&self.held).next() {
                Some(Ok(Entry::Whole { end, magic: 2, .. })) => {
                    self.entries += 1;
                    let bytes = self.held.split_to(end).freeze();
                    let header = Batch::parse(&bytes).map_err(|why| self.damaged(&why))?.header;
                    return Ok(Some((header, bytes)));
                }
                Some(Ok(Entry::Whole { .. })) => {
                    let (end, count) = old_messages(&self.held);
                    self.entries += count;
                    let messages = self.held.split_to(end);
                    let batch = message_set::upgrade(&messages, DECOMPRESSED_LIMIT);
                    let bytes: Bytes = batch.map_err(|why| self.damaged(&why))?.into();
                    let header = Batch::parse(&bytes).map_err(|why| self.damaged(&why))?.header;
                    return Ok(Some((header, bytes)));
                }
                Some(Err(why)) => return Err(self.damaged(&why)),
                Some(Ok(Entry::Partial { .. })) if self.read == self.facts.bytes => {
                    return Err(self.damaged(&"its last batch is cut off"));
                }
                None if self.read == self.facts.bytes => {
                    let crc32c = format!("{:08x}", self.crc.value());
                    if crc32c != self.facts.crc32c {
                        return Err(self.damaged(&"its CRC-32C does not match"));
                    }
                    return Ok(None);
                }
                Some(Ok(Entry::Partial { .. })) | None => self.fill().await?,
            }
        }
    }

    async fn fill(&mut self) -> Result<()> {
        let end = (self.read + self.chunk).min(self.facts.bytes);
        let bytes = self.backup.store().get_range(&self.key, self.read..end).await?;
        if bytes.is_empty() {
            let why = format!("it has {} bytes where {} were written", self.read, self.facts.bytes);
            return Err(self.damaged(&why));
        }
        self.crc.update(&bytes);
        self.read += bytes.len() as u64;
        self.held.extend_from_slice(&bytes);
        Ok(())
    }

    /// An error that names this segment.
    pub fn damaged(&self, why: &dyn fmt::Display) -> Error {
        let place = self.backup.store().place(&self.key);
        Error::Damaged { place, why: why.to_string() }
    }
}
