//! Whether an artefact is what was written, and whether it has the schemas of its records.

use std::collections::{BTreeMap, BTreeSet};

use artifact::manifest::{Groups, IdMapping, RegistryManifest, Segment, TopicFacts};
use artifact::{Backup, SegmentReader, layout};
use serde::Serialize;
use serde_json::Value;
use wire::translate::{Part, Parts};
use wire::{Batch, Header};

use crate::Result;
use crate::ids::IdReader;

/// What was looked at and what is wrong with it.
#[derive(Debug, Default, Serialize)]
pub struct Validation {
    /// Everything that is wrong, one line each; none in a good backup.
    pub problems: Vec<String>,
    /// Offsets that were deleted before they could be captured, one line each: the artefact is whole,
    /// its source was not.
    pub gaps: Vec<String>,
    /// JSON objects whose size and checksum were checked.
    pub objects: usize,
    /// Segments whose size was checked; with `deep` their checksums and batches too.
    pub segments: usize,
    /// Whether every record was read.
    pub deep: bool,
    /// With `deep`, the schema ids of each topic's records.
    pub topics: Vec<TopicIds>,
}

/// The schema ids of a topic's records.
#[derive(Debug, Serialize)]
pub struct TopicIds {
    /// The topic.
    pub name: String,
    /// Records that were read.
    pub records: u64,
    /// The ids of keys.
    pub keys: Ids,
    /// The ids of values.
    pub values: Ids,
}

/// The ids on one side of a topic's records.
#[derive(Debug, Default, Serialize)]
pub struct Ids {
    /// Ids whose schema the artefact has, and how many records have each.
    pub captured: BTreeMap<u32, u64>,
    /// Ids whose schema it lacks. Where it has none of a side's ids, that side is more likely plain
    /// data that begins with a zero byte, and no problem.
    pub missing: BTreeMap<u32, u64>,
}

/// Checks every object; with `deep` also every batch and record.
///
/// # Errors
///
/// Where there is no finished backup, or the store fails. Damage is a problem, not an error.
pub async fn validate(backup: &Backup, deep: bool) -> Result<Validation> {
    let manifest = backup.manifest().await?;
    let mut validation = Validation { deep, ..Validation::default() };
    let mut known = BTreeSet::new();
    if let Some(part) = &manifest.schema_registry {
        validation.objects += 1;
        match backup.json::<RegistryManifest>(layout::REGISTRY_MANIFEST, &part.manifest).await {
            Err(why) => validation.problem(&why)?,
            Ok(registry) => {
                for (object, sum) in &registry.objects {
                    validation.objects += 1;
                    if let Err(why) = backup.json::<Value>(object, sum).await {
                        validation.problem(&why)?;
                    }
                }
                known = default_ids(&registry.id_mapping);
            }
        }
    }
    if let Some(sum) = &manifest.groups {
        validation.objects += 1;
        if let Err(why) = backup.json::<Groups>(layout::GROUPS, sum).await {
            validation.problem(&why)?;
        }
    }
    for topic in &manifest.topics {
        validation.objects += 1;
        let object = layout::topic(&topic.name);
        if let Err(why) = backup.json::<TopicFacts>(&object, &topic.facts).await {
            validation.problem(&why)?;
        }
        let mut reading = Reading::new(&known);
        for partition in &topic.partitions {
            for gap in partition.gaps() {
                validation.gaps.push(format!(
                    "{}-{}: offsets {} to {} were deleted before they could be captured",
                    topic.name, partition.partition, gap.from, gap.to
                ));
            }
            for segment in &partition.segments {
                validation.segments += 1;
                let checked = if deep {
                    reading.segment(backup, &topic.name, partition.partition, segment).await
                } else {
                    backup.check_size(&topic.name, partition.partition, segment).await
                };
                if let Err(why) = checked {
                    validation.problem(&why)?;
                }
            }
        }
        if deep && manifest.schema_registry.is_some() {
            validation.topics.push(reading.finish(&topic.name, &mut validation.problems));
        }
    }
    Ok(validation)
}

impl Validation {
    /// Damage is what we look for; a store that fails is an error of its own.
    fn problem(&mut self, why: &artifact::Error) -> Result<()> {
        match why {
            artifact::Error::Store(artifact::StoreError::Failed { action, place, why }) => {
                let (place, why) = (place.clone(), why.clone());
                let failed = artifact::StoreError::Failed { action, place, why };
                Err(artifact::Error::Store(failed).into())
            }
            other => {
                self.problems.push(other.to_string());
                Ok(())
            }
        }
    }
}

/// A record's id means the default context, unless its client was told of another.
fn default_ids(mapping: &IdMapping) -> BTreeSet<u32> {
    let ids = match mapping {
        IdMapping::One(ids) => Some(ids),
        IdMapping::ByContext(contexts) => contexts.get("."),
    };
    ids.into_iter().flatten().filter_map(|(id, _)| id.parse().ok()).collect()
}

/// Reads a topic's records.
struct Reading<'a> {
    known: &'a BTreeSet<u32>,
    reader: IdReader,
    records: u64,
    keys: Ids,
    values: Ids,
}

impl<'a> Reading<'a> {
    fn new(known: &'a BTreeSet<u32>) -> Self {
        let (reader, records, keys, values) = Default::default();
        Self { known, reader, records, keys, values }
    }

    async fn segment(
        &mut self,
        backup: &Backup,
        topic: &str,
        partition: i32,
        segment: &Segment,
    ) -> artifact::Result<()> {
        let mut reader = SegmentReader::new(backup, topic, partition, segment);
        let mut records = 0;
        while let Some((header, bytes)) = reader.next_batch().await? {
            records += self.batch(header, &bytes).map_err(|why| {
                let offset = header.base_offset;
                reader.damaged(&format_args!("the record batch at offset {offset}: {why}"))
            })?;
        }
        let batches = reader.entries();
        if (batches, records) == (segment.batches, segment.records) {
            return Ok(());
        }
        let (wanted, wanted_records) = (segment.batches, segment.records);
        Err(reader.damaged(&format_args!(
            "it holds {records} records in {batches} batches where {wanted_records} in {wanted} \
             were written"
        )))
    }

    /// The records in the batch; none in one that holds a transaction's marker.
    fn batch(&mut self, header: Header, bytes: &[u8]) -> std::result::Result<u64, String> {
        let batch = Batch { header, bytes };
        if !batch.crc_matches() {
            return Err("its CRC does not match".to_owned());
        }
        if header.is_control() {
            return Ok(0);
        }
        let (known, keys, values) = (self.known, &mut self.keys, &mut self.values);
        let read = self.reader.read(&batch, Parts::BOTH, |found| {
            let side = if found.part == Part::Key { &mut *keys } else { &mut *values };
            let there = known.contains(&found.id);
            *(if there { &mut side.captured } else { &mut side.missing })
                .entry(found.id)
                .or_default() += 1;
        });
        read.map_err(|why| why.to_string())?;
        self.records += header.count as u64;
        Ok(header.count as u64)
    }

    fn finish(self, topic: &str, problems: &mut Vec<String>) -> TopicIds {
        for (side, ids) in [("keys", &self.keys), ("values", &self.values)] {
            if ids.captured.is_empty() {
                continue;
            }
            for (id, records) in &ids.missing {
                problems.push(format!(
                    "topic {topic}: {records} {side} have schema id {id}, whose schema is not in \
                     the artefact"
                ));
            }
        }
        let (records, keys, values) = (self.records, self.keys, self.values);
        TopicIds { name: topic.to_owned(), records, keys, values }
    }
}
