//! What the target has, asked once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::held::Original;
use super::{Own, RegistryPlan};
use crate::source::Schemas;

/// What the target has of the subjects concerned.
pub(super) struct Target {
    /// Live versions, and all, by subject; only subjects that have any.
    pub(super) subjects: BTreeMap<String, Numbers>,
    /// Names of all subjects with versions, deleted ones too.
    pub(super) names: BTreeSet<String>,
    pub(super) live: BTreeSet<String>,
    pub(super) modes: BTreeMap<String, Option<String>>,
    pub(super) configs: BTreeMap<String, Option<Value>>,
    /// `None` where the registry offers no modes.
    pub(super) global_mode: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) live: Vec<u32>,
    pub(super) all: Vec<u32>,
}

impl Target {
    pub(super) async fn survey(
        plan: &RegistryPlan,
        source: &Schemas,
        left_behind: &BTreeMap<String, Original>,
    ) -> registry::Result<Self> {
        let client = &plan.client;
        let live: BTreeSet<String> = client.subjects(false).await?.into_iter().collect();
        let names: BTreeSet<String> = client.subjects(true).await?.into_iter().collect();
        let global_mode = client.mode(None).await?;
        let mut target = Self {
            subjects: BTreeMap::new(),
            modes: BTreeMap::new(),
            configs: BTreeMap::new(),
            live,
            names,
            global_mode,
        };
        let wanted: BTreeSet<String> =
            source.versions.keys().map(|key| plan.rename.subject(&key.subject)).collect();
        for name in wanted {
            if !target.names.contains(&name) {
                continue;
            }
            let numbers = Numbers {
                live: client.versions(&name, false).await?.unwrap_or_default(),
                all: client.versions(&name, true).await?.unwrap_or_default(),
            };
            // What a killed restore left is put back first.
            let before = left_behind.get(&name);
            let mode = match before.map_or(&Own::Untouched, |it| &it.mode) {
                Own::Set(mode) => Some(mode.clone()),
                Own::Untouched if target.global_mode.is_some() => client.mode(Some(&name)).await?,
                Own::Untouched | Own::Removed => None,
            };
            let config = match before.map_or(&Own::Untouched, |it| &it.config) {
                Own::Set(config) => Some(config.clone()),
                Own::Untouched => client.config(Some(&name)).await?,
                Own::Removed => None,
            };
            target.modes.insert(name.clone(), mode);
            target.configs.insert(name.clone(), config);
            target.subjects.insert(name, numbers);
        }
        Ok(target)
    }

    pub(super) fn numbers(&self, subject: &str) -> &Numbers {
        static NONE: Numbers = Numbers { live: Vec::new(), all: Vec::new() };
        self.subjects.get(subject).unwrap_or(&NONE)
    }

    pub(super) fn is_live(&self, subject: &str) -> bool {
        self.live.contains(subject)
    }

    pub(super) fn mode(&self, subject: &str) -> Option<String> {
        self.modes.get(subject).cloned().flatten()
    }

    pub(super) fn config(&self, subject: &str) -> Option<Value> {
        self.configs.get(subject).cloned().flatten()
    }
}
