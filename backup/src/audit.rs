//! Ids that records carry and no captured version has: of a subject that was deleted for good, or of
//! a version that was not selected. The registry may still know them.

use std::collections::{BTreeMap, BTreeSet};

use artifact::manifest::{RegistryManifest, SeenIds};
use artifact::{Backup, layout};
use registry::Client;
use serde_json::json;
use wire::translate::Parts;

use crate::ids::Audit;
use crate::schemas::keep_audited;
use crate::{AuditIds, Result, SchemasPlan};

/// What the copies of all partitions look for.
#[derive(Debug, Default)]
pub(crate) struct Audits {
    which: AuditIds,
    known: BTreeSet<u32>,
    subjects: BTreeSet<String>,
}

/// The ids in the records of each topic that no captured version has.
pub(crate) type Seen = BTreeMap<String, SeenIds>;

impl Audits {
    pub(crate) fn new(captured: Option<(&SchemasPlan, &RegistryManifest)>) -> Self {
        let Some((plan, manifest)) = captured else {
            return Self { which: AuditIds::Never, ..Self::default() };
        };
        // A record's id means the default context, unless its client was told of another.
        let default = manifest.subjects.iter().filter(|it| !it.name.starts_with(":."));
        let known = default.clone().flat_map(|it| it.versions.iter().map(|it| it.id)).collect();
        let subjects = default.map(|it| it.name.clone()).collect();
        Self { which: plan.audit_ids, known, subjects }
    }

    /// One that knows nothing yet: another machine captures the schemas, later.
    pub(crate) fn without_schemas(plan: Option<&SchemasPlan>) -> Self {
        let audits = plan.is_some_and(|it| it.audit_ids != AuditIds::Never);
        let which = if audits { AuditIds::Always } else { AuditIds::Never };
        Self { which, ..Self::default() }
    }

    /// Those of the ids that are asked for and unknown.
    pub(crate) fn unknown(&self, seen: Seen) -> BTreeSet<u32> {
        let mut unknown = BTreeSet::new();
        for (topic, ids) in seen {
            let Parts { keys, values } = self.parts(&topic);
            let sides = [(keys, ids.keys), (values, ids.values)];
            unknown.extend(sides.into_iter().filter(|(asked, _)| *asked).flat_map(|(_, ids)| ids));
        }
        unknown.difference(&self.known).copied().collect()
    }

    pub(crate) fn of(&self, topic: &str, found: &SeenIds) -> Audit<'_> {
        Audit::new(&self.known, self.parts(topic), found.clone())
    }

    fn parts(&self, topic: &str) -> Parts {
        let has = |side: &str| match self.which {
            AuditIds::Never => false,
            AuditIds::OfSchemaTopics => self.subjects.contains(&format!("{topic}-{side}")),
            AuditIds::Always => true,
        };
        Parts { keys: has("key"), values: has("value") }
    }
}

/// Asks the registry for each of them and captures those that it knows.
pub(crate) async fn fetch(
    client: &Client,
    unknown: impl IntoIterator<Item = u32>,
    manifest: &mut RegistryManifest,
    backup: &Backup,
) -> Result<()> {
    for id in unknown {
        // Where there is none, data only looked like an id; `validate --deep` counts such.
        let Some(schema) = client.schema(id, ".").await? else { continue };
        let mut document = json!(schema);
        document["id"] = json!(id);
        let sum = backup.put_json(&layout::audited(id), &document).await?;
        keep_audited(manifest, id, sum);
    }
    if let Some(first) = manifest.audited_ids.keys().next() {
        tracing::info!(
            "{} ids in the records have no captured version (the first is {first}); their schemas \
             were captured by id",
            manifest.audited_ids.len()
        );
    }
    Ok(())
}
