//! Where each object of a backup lies, relative to `{prefix}/{backup_id}/`.

use crate::escape::segment;

/// Written last; a backup without it is unfinished.
pub const MANIFEST: &str = "manifest.json";
/// How schema ids changed in a restore.
pub const ID_MAP: &str = "id-map.json";
/// What was captured of the registry.
pub const REGISTRY_MANIFEST: &str = "schema-registry/_manifest.json";
/// Global compatibility and mode.
pub const GLOBAL_CONFIG: &str = "schema-registry/_global_config.json";

/// Subjects of one target whose mode or compatibility a restore has changed for a while, and what
/// they had.
pub fn schemas_in_progress(target: &str) -> String {
    format!("restore-in-progress/schemas-{}.json", segment(target))
}

/// Where the partitions of one cluster ended before records were restored; gone when all are.
pub fn records_in_progress(cluster_id: &str) -> String {
    format!("restore-in-progress/records-{}.json", segment(cluster_id))
}

/// A topic's partitions, replication and configs.
pub fn topic(topic: &str) -> String {
    format!("topics/{}/_topic.json", segment(topic))
}

/// Record batches of one partition, back to back, as the broker sent them.
pub fn segment_log(topic: &str, partition: i32, base_offset: i64) -> String {
    format!("topics/{}/{partition}/{base_offset:020}.log", segment(topic))
}

/// Counts, offsets, times, size and checksum of the segment beside it.
pub fn segment_facts(topic: &str, partition: i32, base_offset: i64) -> String {
    format!("topics/{}/{partition}/{base_offset:020}.json", segment(topic))
}

/// A subject's config and mode.
pub fn subject(subject: &str) -> String {
    format!("schema-registry/subjects/{}/_metadata.json", segment(subject))
}

/// A schema that no captured version has, by its id in the default context.
pub fn audited(id: u32) -> String {
    format!("schema-registry/ids/{id}.json")
}

/// One version of a subject.
pub fn version(subject: &str, version: u32) -> String {
    format!("schema-registry/subjects/{}/v{version}.json", segment(subject))
}
