//! `kafka-backup describe`

use artifact::manifest::{Groups, RegistryManifest, Why};
use artifact::{Backup, Manifest, layout};
use serde::Serialize;

use super::{Format, print_json, size};
use crate::exit::Failure;
use crate::open;

/// Prints what a finished backup holds.
pub async fn run(path: &str, backup_id: &str, format: Format) -> Result<(), Failure> {
    let backup = Backup::new(open::store_at(path).await?, backup_id);
    let manifest = backup.manifest().await?;
    Description::read(&backup, manifest).await?.print(format);
    Ok(())
}

/// What a backup holds, as it is shown.
#[derive(Debug, Serialize)]
pub struct Description {
    pub(super) backup_id: String,
    pub(super) place: String,
    pub(super) started_at: String,
    pub(super) finished_at: String,
    pub(super) runs: u32,
    cluster_id: Option<String>,
    pub(super) topics: Vec<Topic>,
    /// Consumer groups with offsets in these topics; none where the cluster does not list them.
    pub(super) groups: Option<Vec<String>>,
    schema_registry: SchemaRegistry,
}

#[derive(Debug, Serialize)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) partitions: usize,
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Offsets that were deleted before they could be captured.
    pub(super) gaps: Vec<Gap>,
    /// Offsets of aborted transactions, left out.
    pub(super) aborted: u64,
}

/// Offsets from one to another, both in it.
#[derive(Debug, Serialize)]
pub(super) struct Gap {
    partition: i32,
    from: i64,
    to: i64,
}

/// The gaps of a topic.
fn gaps(topic: &artifact::manifest::Topic) -> impl Iterator<Item = Gap> {
    topic.partitions.iter().flat_map(|it| {
        let partition = it.partition;
        it.gaps().map(move |it| Gap { partition, from: it.from, to: it.to })
    })
}

#[derive(Debug, Default, Serialize)]
struct SchemaRegistry {
    enabled: bool,
    subjects_count: usize,
    schemas_count: usize,
    subjects: Vec<Subject>,
}

#[derive(Debug, Serialize)]
struct Subject {
    name: String,
    versions: Vec<u32>,
    latest_id: Option<u32>,
}

impl Description {
    /// Reads what the manifest only points to.
    pub async fn read(backup: &Backup, manifest: Manifest) -> Result<Self, Failure> {
        let schema_registry = match &manifest.schema_registry {
            None => SchemaRegistry::default(),
            Some(part) => {
                let registry: RegistryManifest =
                    backup.json(layout::REGISTRY_MANIFEST, &part.manifest).await?;
                let subjects = registry.subjects.into_iter().map(|it| Subject {
                    latest_id: it.versions.last().map(|it| it.id),
                    versions: it.versions.iter().map(|it| it.version).collect(),
                    name: it.name,
                });
                SchemaRegistry {
                    enabled: true,
                    subjects_count: registry.subjects_count,
                    schemas_count: registry.schemas_count,
                    subjects: subjects.collect(),
                }
            }
        };
        let topics = manifest.topics.iter().map(|it| Topic {
            name: it.name.clone(),
            partitions: it.partitions.len(),
            records: it.records(),
            bytes: it.bytes(),
            gaps: gaps(it).collect(),
            aborted: it.skipped(Why::Aborted),
        });
        let groups = match &manifest.groups {
            Some(sum) => {
                let groups: Groups = backup.json(layout::GROUPS, sum).await?;
                Some(groups.groups.into_keys().collect())
            }
            None => None,
        };
        Ok(Self {
            place: backup.place(),
            topics: topics.collect(),
            backup_id: manifest.backup_id,
            started_at: manifest.started_at,
            finished_at: manifest.finished_at,
            runs: manifest.runs,
            groups,
            cluster_id: manifest.cluster_id,
            schema_registry,
        })
    }

    /// Prints it.
    pub fn print(&self, format: Format) {
        if format == Format::Json {
            return print_json(self);
        }
        println!("backup {} in {}", self.backup_id, self.place);
        let runs = if self.runs == 1 { String::new() } else { format!(" by run {}", self.runs) };
        println!("  started {}, finished {}{runs}", self.started_at, self.finished_at);
        let (records, bytes) =
            self.topics.iter().fold((0, 0), |sum, it| (sum.0 + it.records, sum.1 + it.bytes));
        println!("topics: {}, records: {records}, {}", self.topics.len(), size(bytes));
        for it in &self.topics {
            let (name, partitions, records) = (&it.name, it.partitions, it.records);
            println!("  {name}: {partitions} partitions, {records} records, {}", size(it.bytes));
            for Gap { partition, from, to } in &it.gaps {
                println!("    GAP {name}-{partition}: offsets {from} to {to} were deleted before");
            }
            if it.aborted > 0 {
                println!("    {} offsets of aborted transactions are left out", it.aborted);
            }
        }
        if let Some(groups) = &self.groups {
            println!("consumer groups: {}", groups.len());
            for group in groups {
                println!("  {group}");
            }
        }
        let registry = &self.schema_registry;
        if !registry.enabled {
            println!("schema registry: not captured");
            return;
        }
        let (subjects, schemas) = (registry.subjects_count, registry.schemas_count);
        println!("schema registry: {subjects} subjects, {schemas} versions");
        for it in &registry.subjects {
            let versions: Vec<String> = it.versions.iter().map(u32::to_string).collect();
            let id = it.latest_id.map(|id| format!(", latest id {id}")).unwrap_or_default();
            println!("  {}: versions {}{id}", it.name, versions.join(", "));
        }
    }
}
