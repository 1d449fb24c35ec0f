//! Ids that records carry and no captured version has: of a subject that was deleted for good, or of
//! a version that was not selected. The registry may still know them.

use std::collections::BTreeSet;

use artifact::manifest::RegistryManifest;
use artifact::{Backup, layout};
use registry::Client;
use serde_json::json;
use wire::translate::Parts;

use crate::ids::Audit;
use crate::{AuditIds, Result, SchemasPlan};

/// What the copies of all partitions look for.
#[derive(Debug, Default)]
pub(crate) struct Audits {
    which: AuditIds,
    known: BTreeSet<u32>,
    subjects: BTreeSet<String>,
}

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

    pub(crate) fn of(&self, topic: &str) -> Audit<'_> {
        let has = |side: &str| match self.which {
            AuditIds::Never => false,
            AuditIds::OfSchemaTopics => self.subjects.contains(&format!("{topic}-{side}")),
            AuditIds::Always => true,
        };
        Audit::new(&self.known, Parts { keys: has("key"), values: has("value") })
    }
}

/// Asks the registry for each of them and captures those that it knows.
pub(crate) async fn fetch(
    client: &Client,
    unknown: BTreeSet<u32>,
    manifest: &mut RegistryManifest,
    backup: &Backup,
) -> Result<()> {
    for id in unknown {
        // Where there is none, data only looked like an id; `validate --deep` counts such.
        let Some(schema) = client.schema(id, ".").await? else { continue };
        let mut document = json!(schema);
        document["id"] = json!(id);
        let object = layout::audited(id);
        let sum = backup.put_json(&object, &document).await?;
        manifest.objects.insert(object.clone(), sum);
        manifest.id_mapping.default_context().insert(id.to_string(), object.clone());
        manifest.audited_ids.insert(id, object);
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
