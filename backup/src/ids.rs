//! The schema ids in a batch's records.

use std::collections::BTreeSet;

use artifact::manifest::SeenIds;
use wire::Batch;
use wire::codec::{self, Codec, DECOMPRESSED_LIMIT};
use wire::translate::{Id, Part, Parts, ids};

/// Reads batches; its buffer serves one after the other.
#[derive(Debug, Default)]
pub(crate) struct IdReader {
    plain: Vec<u8>,
}

impl IdReader {
    /// Tells every id of the batch's records; a transaction's marker has none.
    pub(crate) fn read(
        &mut self,
        batch: &Batch<'_>,
        parts: Parts,
        found: impl FnMut(Id),
    ) -> wire::Result<()> {
        let header = batch.header;
        if header.is_control() {
            return Ok(());
        }
        let codec = header.codec()?;
        let payload = if codec == Codec::None {
            batch.payload()
        } else {
            codec::decompress(codec, batch.payload(), DECOMPRESSED_LIMIT, &mut self.plain)?;
            &self.plain
        };
        ids(payload, header.count, parts, found)
    }
}

/// More different ids than this in one segment are no ids, but data that begins with a zero byte.
const MOST: usize = 10_000;

/// Gathers the ids of one partition that no captured subject has.
#[derive(Debug)]
pub(crate) struct Audit<'a> {
    known: &'a BTreeSet<u32>,
    parts: Parts,
    reader: IdReader,
    unknown: SeenIds,
    /// Those of the segment that is being written.
    in_segment: SeenIds,
}

impl<'a> Audit<'a> {
    /// Goes on with what an earlier run has found.
    pub(crate) fn new(known: &'a BTreeSet<u32>, parts: Parts, unknown: SeenIds) -> Self {
        let (reader, in_segment) = Default::default();
        Self { known, parts, reader, unknown, in_segment }
    }

    /// A batch that can't be read is kept as it is: `validate --deep` names it.
    pub(crate) fn look(&mut self, batch: &Batch<'_>) {
        if !self.parts.keys && !self.parts.values {
            return;
        }
        let (known, unknown) = (self.known, &mut self.in_segment);
        let read = self.reader.read(batch, self.parts, |found| {
            let side = match found.part {
                Part::Key => &mut unknown.keys,
                Part::Value => &mut unknown.values,
            };
            if side.len() < MOST && !known.contains(&found.id) {
                side.insert(found.id);
            }
        });
        if let Err(why) = read {
            let offset = batch.header.base_offset;
            tracing::debug!("the schema ids at offset {offset} can't be read: {why}");
        }
    }

    /// The unknown ids since the last call: those of a segment that ends.
    pub(crate) fn end_segment(&mut self) -> SeenIds {
        let ids = std::mem::take(&mut self.in_segment);
        if self.unknown.keys.len() + self.unknown.values.len() < MOST {
            self.unknown.extend(&ids);
        }
        ids
    }

    pub(crate) fn unknown(self) -> SeenIds {
        self.unknown
    }
}
