//! Subjects whose mode or compatibility is changed for a while, and put back whatever happens.
//!
//! What they had is written into the artefact's folder before the first change, so that a restore
//! that was killed can be told from one that ended, and the next one puts back what that left.

use std::collections::BTreeMap;

use artifact::{Backup, layout};
use registry::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Own;
use crate::Result;

/// What a subject is to have in the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Original {
    pub(crate) mode: Own<String>,
    pub(crate) config: Own<Value>,
}

/// The file beside the artefact's manifest.
#[derive(Debug, Serialize, Deserialize)]
struct Journal {
    target: String,
    subjects: BTreeMap<String, Original>,
}

/// What an earlier restore into this target left, where it was killed.
pub(crate) async fn left_behind(
    backup: &Backup,
    target: &str,
) -> Result<BTreeMap<String, Original>> {
    let journal: Option<Journal> = backup.find_json(&layout::schemas_in_progress(target)).await?;
    Ok(journal.map(|it| it.subjects).unwrap_or_default())
}

pub(crate) struct Held<'a> {
    client: &'a Client,
    backup: &'a Backup,
    subjects: BTreeMap<String, Original>,
}

impl<'a> Held<'a> {
    /// Writes down what each subject is to have in the end, before anything is changed.
    pub(crate) async fn begin(
        client: &'a Client,
        backup: &'a Backup,
        subjects: BTreeMap<String, Original>,
    ) -> Result<Self> {
        if !subjects.is_empty() {
            let journal = Journal { target: client.url(), subjects: subjects.clone() };
            let object = layout::schemas_in_progress(&journal.target);
            backup.put_json(&object, &journal).await?;
            tracing::info!(
                "{} subjects are in another mode or compatibility while they are restored; what \
                 they had is in {}",
                subjects.len(),
                backup.store().place(&backup.key(&object))
            );
        }
        Ok(Self { client, backup, subjects })
    }

    /// What a killed restore changed.
    pub(crate) fn resume(
        client: &'a Client,
        backup: &'a Backup,
        subjects: BTreeMap<String, Original>,
    ) -> Self {
        Self { client, backup, subjects }
    }

    /// Changes mode and compatibility of all subjects.
    pub(crate) async fn change(&self) -> Result<()> {
        for (subject, original) in &self.subjects {
            if original.mode.is_touched() {
                self.client.set_mode(Some(subject), "IMPORT", true).await?;
            }
            if original.config.is_touched() {
                let none = json!({ "compatibilityLevel": "NONE" });
                self.client.set_config(Some(subject), &none).await?;
            }
        }
        Ok(())
    }

    /// Puts everything back; gives the subjects where that failed, and why.
    pub(crate) async fn put_back(mut self) -> Vec<(String, String)> {
        if self.subjects.is_empty() {
            return Vec::new();
        }
        let mut failed = Vec::new();
        for (subject, original) in std::mem::take(&mut self.subjects) {
            if let Err(why) = put_back(self.client, &subject, &original).await {
                failed.push((subject, why.to_string()));
            }
        }
        if failed.is_empty() {
            let object = layout::schemas_in_progress(&self.client.url());
            let key = self.backup.key(&object);
            if let Err(why) = self.backup.store().delete(&key).await {
                tracing::warn!("all modes are as they were, but {why}");
            }
        }
        failed
    }
}

async fn put_back(client: &Client, subject: &str, original: &Original) -> registry::Result<()> {
    match &original.config {
        Own::Set(config) => client.set_config(Some(subject), config).await?,
        Own::Removed => client.delete_config(subject).await?,
        Own::Untouched => {}
    }
    match &original.mode {
        Own::Set(mode) => client.set_mode(Some(subject), mode, true).await,
        Own::Removed => client.delete_mode(subject).await,
        Own::Untouched => Ok(()),
    }
}
