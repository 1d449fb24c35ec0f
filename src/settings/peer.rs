//! Keys of OSO kafka-backup's settings that mean something there. Its files load here unchanged:
//! what has no meaning here is told once, and what is not there yet is refused rather than ignored.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::job::Job;

/// A key that is accepted, whatever it holds.
#[derive(Debug, Clone, Default)]
pub struct Accepted(bool);

impl<'de> Deserialize<'de> for Accepted {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(from)?;
        Ok(Self(true))
    }
}

impl Serialize for Accepted {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_none()
    }
}

impl Accepted {
    /// Whether the file has it.
    fn is_given(&self) -> bool {
        self.0
    }

    /// Not worth showing.
    pub fn is_absent(&self) -> bool {
        !self.0
    }
}

const RAW: &str = "batches are kept as their producer sent them";
const STORE: &str = "checkpoints lie in the store itself";

impl Job {
    /// The keys that have no meaning here, and why.
    pub(super) fn without_meaning(&self) -> Vec<(&'static str, &'static str)> {
        let connection = "connections are opened as they are needed, without Nagle's delay";
        let source = self.source.as_ref().map(|it| &it.connection);
        let target = self.target.as_ref().map(|it| &it.connection);
        let (backup, restore) = (&self.backup, &self.restore);
        let offsets = "a segment has the source's own offsets";
        let all = [
            ("source.connection", source, connection),
            ("target.connection", target, connection),
            ("backup.compression", Some(&backup.compression), RAW),
            ("backup.include_offset_headers", Some(&backup.include_offset_headers), offsets),
            ("backup.source_cluster_id", Some(&backup.source_cluster_id), "the cluster is asked"),
            (
                "backup.poll_interval_ms",
                Some(&backup.poll_interval_ms),
                "a continuous backup looks again after segment_max_age_secs",
            ),
            ("backup.checkpoint_interval_secs", Some(&backup.checkpoint_interval_secs), STORE),
            ("offset_storage", Some(&self.offset_storage), STORE),
            ("metrics", Some(&self.metrics), "jobs print what they did, and have no port yet"),
            ("restore.produce_batch_size", Some(&restore.produce_batch_size), RAW),
            ("restore.checkpoint_state", Some(&restore.checkpoint_state), STORE),
            ("restore.checkpoint_interval_secs", Some(&restore.checkpoint_interval_secs), STORE),
            (
                "restore.offset_report",
                Some(&restore.offset_report),
                "it is offset-map.json in the backup",
            ),
        ];
        let given = all.into_iter().filter(|(_, it, _)| it.is_some_and(Accepted::is_given));
        given.map(|(key, _, why)| (key, why)).collect()
    }

    /// A key that asks for what is not there yet: ignoring it would restore or back up less than the
    /// user believes.
    pub(super) fn not_there_yet(&self) -> Option<&'static str> {
        let asked = [
            ("restore.include_original_offset_header", self.restore.include_original_offset_header),
            (
                "restore.rate_limit_records_per_sec",
                self.restore.rate_limit_records_per_sec.is_given(),
            ),
        ];
        asked.into_iter().find(|(_, asked)| *asked).map(|(key, _)| key)
    }
}
