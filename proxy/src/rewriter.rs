//! Ids in frames, replaced: which fields of a message hold records, what the rules say of their topics, and
//! the frame that becomes of it.

use std::ops::Range;
use std::sync::Arc;

use wire::Tally;
use wire::frame;
use wire::message::{Met, Role, Value};
use wire::translate::Id;

use crate::connection::End;
use crate::pending::Rejection;
use crate::pool::{self, Pooled};
use crate::rules::{Known, Treatments};
use crate::{Fetch, Shared};

/// Which way records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the broker.
    Written,
    /// To the client.
    Read,
}

/// Translates one direction of one connection.
pub(crate) struct Rewriter<'a> {
    shared: &'a Shared,
    direction: Direction,
    treatments: Treatments<'a>,
}

/// What became of a frame.
#[derive(Default)]
pub(crate) struct Rewritten {
    /// The frame anew, where a part of it changed size; otherwise it was patched in place.
    pub(crate) rebuilt: Rebuilt,
    pub(crate) rejected: Vec<Rejection>,
    pub(crate) first_rejected: Option<(Arc<str>, i32, u32)>,
}

impl<'a> Rewriter<'a> {
    pub(crate) fn new(shared: &'a Shared, direction: Direction) -> Self {
        let settings = &shared.settings;
        Self {
            shared,
            direction,
            treatments: Treatments::new(&settings.rewrite.rules, &shared.topics, &shared.metrics),
        }
    }

    /// Translates the RECORDS fields of a frame whose size stands in front. Where a rule says so, a
    /// partition with an id that the map lacks is emptied: the broker refuses it with
    /// INVALID_RECORD, as it refuses any Produce without a batch, and takes the others.
    pub(crate) async fn rewrite(
        &mut self,
        sized: &mut [u8],
        fields: &Fields,
        flexible: bool,
    ) -> Result<Rewritten, End> {
        // One map from the frame's start to its end, even if it is replaced meanwhile.
        let mut loaded = Arc::clone(&self.shared.maps.current());
        let limit = self.shared.settings.max_decompressed_bytes;
        let settings = &self.shared.settings.rewrite;
        let reads = self.direction == Direction::Read;
        let goes_back = reads && settings.fetch == Fetch::Reverse;
        let mut rewritten = Rewritten::default();
        for field in &fields.records {
            let Some((role, topic)) = &field.topic else { continue };
            let topic = 4 + topic.start..4 + topic.end;
            let Known { name, treatment, counters } =
                self.treatments.of(*role, &sized[topic.clone()])?;
            if !treatment.parts.keys && !treatment.parts.values {
                continue;
            }
            let end = match &settings.until {
                Some(until) if reads => {
                    until.get(&*name).and_then(|it| it.get(&field.partition)).copied().unwrap_or(0)
                }
                _ => i64::MAX,
            };
            let records = 4 + field.content.start..4 + field.content.end;
            let context = treatment.context;
            if treatment.resolves() && !goes_back {
                let missing = pool::with_translator(limit, |translator| {
                    translator.look_at(treatment.parts);
                    translator.look_before(end);
                    translator.missing(&sized[records.clone()], &loaded.contexts[context].ids)
                });
                if !missing.is_empty() {
                    self.shared.resolve(context, &missing).await;
                    loaded = Arc::clone(&self.shared.maps.current());
                }
            }
            let both = &loaded.contexts[context];
            let map = if goes_back { &both.back } else { &both.ids };
            let range = 4 + field.field.start..4 + field.field.end;
            let rejects = !reads && treatment.rejects();
            let mut tally = Tally::default();
            pool::with_translator(limit, |translator| {
                translator.look_at(treatment.parts);
                translator.look_before(end);
                let (before, rest) = sized.split_at_mut(records.start);
                let changed = translator.records(&mut rest[..records.len()], map, &mut tally);
                let is_rejected = rejects && tally.first_unmapped.is_some();
                match changed {
                    _ if is_rejected => rewritten.rebuilt.replace(before, range, &[], flexible),
                    Some(changed) => rewritten.rebuilt.replace(before, range, changed, flexible),
                    None => {}
                }
            });
            if let (true, Some(unmapped)) = (rejects, tally.first_unmapped) {
                let message = rejection(unmapped, &name, field.partition);
                tracing::warn!("rejected: {message}");
                self.shared.metrics.rejected.inc();
                let topic = sized[topic].to_vec();
                rewritten.rejected.push(Rejection { topic, partition: field.partition, message });
                let first = (name, field.partition, unmapped.id);
                rewritten.first_rejected.get_or_insert(first);
                continue;
            }
            counters.count(&tally);
            count(&tally, self.shared);
        }
        rewritten.rebuilt.finish(sized);
        Ok(rewritten)
    }
}

/// The RECORDS fields of a message, and which partition each belongs to.
#[derive(Default)]
pub(crate) struct Fields {
    topic: Option<(Role, Range<usize>)>,
    partition: i32,
    records: Vec<RecordsField>,
}

struct RecordsField {
    topic: Option<(Role, Range<usize>)>,
    partition: i32,
    /// With its length in front.
    field: Range<usize>,
    content: Range<usize>,
}

impl Fields {
    /// One field of the walk, in its order.
    pub(crate) fn meet(&mut self, met: Met) {
        match met {
            Met { role: role @ (Role::Topic | Role::TopicId), value: Value::Bytes(at), .. } => {
                self.topic = Some((role, at));
            }
            Met { role: Role::Partition, value: Value::Int(number), .. } => {
                self.partition = number as i32;
            }
            Met { role: Role::Records, field, value: Value::Bytes(content) } => {
                let (topic, partition) = (self.topic.clone(), self.partition);
                self.records.push(RecordsField { topic, partition, field, content });
            }
            _ => {}
        }
    }
}

/// A frame in which RECORDS fields were replaced.
#[derive(Default)]
pub(crate) struct Rebuilt {
    frame: Pooled,
    /// Up to here the old frame is in the new one; 0 where nothing was replaced.
    copied: usize,
}

impl Rebuilt {
    /// Puts new content in the place of the field in `range`; `before` is the frame up to its content,
    /// at least.
    fn replace(&mut self, before: &[u8], range: Range<usize>, content: &[u8], flexible: bool) {
        let out = if self.copied == 0 { self.frame.take() } else { self.frame.more() };
        out.extend_from_slice(&before[self.copied..range.start]);
        frame::write_bytes(content, flexible, out);
        self.copied = range.end;
    }

    fn finish(&mut self, sized: &[u8]) {
        if self.copied > 0 {
            let out = self.frame.more();
            out.extend_from_slice(&sized[self.copied..]);
            frame::set_size(out);
        }
    }

    /// The new frame, where something was replaced.
    pub(crate) fn frame(&mut self) -> Option<&mut [u8]> {
        (self.copied > 0).then(|| &mut self.frame.more()[..])
    }
}

/// What the producer is told.
fn rejection(unmapped: Id, topic: &str, partition: i32) -> String {
    let Id { part, id, offset_delta, .. } = unmapped;
    format!(
        "schema id {id} in the {part:?} of record {offset_delta} of the batch for \
         {topic}-{partition} is not in the id map of schema-proxy"
    )
}

fn count(tally: &Tally, shared: &Shared) {
    let metrics = &shared.metrics;
    metrics.records.inc_by(tally.records);
    metrics.translated.inc_by(tally.translated);
    metrics.unmapped.inc_by(tally.unmapped);
    metrics.undecodable.inc_by(tally.undecodable);
    if let Some(unmapped) = tally.first_unmapped
        && shared.unmapped.first_time(unmapped.id)
    {
        let (id, part) = (unmapped.id, unmapped.part);
        tracing::warn!("schema id {id} in a {part:?} is not in the id map and passes as it is");
    }
    if let Some(why) = &tally.first_error {
        metrics.decode_errors.with_label_values(&[why.kind()]).inc();
        tracing::warn!("a record batch passes as it is: {why}");
    }
}
