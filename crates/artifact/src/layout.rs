//! Where each object of a backup lies, relative to `{prefix}/{backup_id}/`.

use crate::escape::segment;

/// Written last; a backup without it is unfinished.
pub const MANIFEST: &str = "manifest.json";
/// How schema ids changed in a restore.
pub const ID_MAP: &str = "id-map.json";
/// Which offsets consumer groups had committed.
pub const GROUPS: &str = "groups.json";
/// Which offsets of the target the source's offsets became in a restore.
pub const OFFSET_MAP: &str = "offset-map.json";
/// What groups had committed before each reset lies below it.
pub const OFFSETS_BEFORE: &str = "offsets-before/";
/// All objects of topics lie below it.
pub const TOPICS: &str = "topics/";
/// What each of several machines has captured lies below it.
pub const PARTS: &str = "parts/";
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

/// What one of several machines has captured.
pub fn part(index: u32, count: u32) -> String {
    format!("{PARTS}{index}-of-{count}.json")
}

/// The offsets that groups had before a restore changed them, by when.
pub fn offsets_before(time: &str) -> String {
    format!("{OFFSETS_BEFORE}{}.json", segment(time))
}

/// Another version of a JSON object, beside the one that an earlier manifest lists.
pub fn changed(object: &str, sha256: &str) -> String {
    let stem = object.strip_suffix(".json").unwrap_or(object);
    format!("{stem}.{}.json", &sha256[..16])
}

/// The folder of a partition's segments.
pub fn partition(topic: &str, partition: i32) -> String {
    format!("{TOPICS}{}/{partition}/", segment(topic))
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
