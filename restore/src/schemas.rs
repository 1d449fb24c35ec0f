//! Schemas into the target: planned by asking only, then done in dependency order.

mod apply;
mod checks;
mod held;
mod plan;
mod settings;
mod survey;

use std::collections::BTreeMap;
use std::fmt;

use artifact::manifest::VersionKey;
use registry::{Client, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::id_map::MapFile;

pub(crate) use apply::apply;
use held::Original;
pub(crate) use held::left_behind;
pub(crate) use plan::{canonical_of, key_of, plan};

use crate::Rename;
use crate::source::Settings;

/// Where the schemas go, and how.
#[derive(Debug)]
pub struct RegistryPlan {
    /// The target.
    pub client: Client,
    /// What to do where the target has versions of a subject already.
    pub strategy: Strategy,
    /// What becomes of the ids.
    pub ids: Ids,
    /// New names.
    pub rename: Rename,
    /// The subjects' own compatibility in the target.
    pub compatibility: Compatibility,
    /// Set NONE for each subject while it is registered.
    pub force_register: bool,
    /// A map from elsewhere, laid over what is learned.
    pub given_map: MapFile,
    /// Write the id map into the artefact's folder.
    pub write_map: bool,
}

impl RegistryPlan {
    /// Adds what is missing, and lets the target give out the ids.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            strategy: Strategy::default(),
            ids: Ids::default(),
            rename: Rename::default(),
            compatibility: Compatibility::default(),
            force_register: false,
            given_map: MapFile::default(),
            write_map: true,
        }
    }
}

/// What to do where the target has versions of a subject already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Add what is missing, touch nothing that is there.
    #[default]
    Preserve,
    /// Make the subject as it is in the backup.
    Overwrite,
    /// Leave every subject alone that has versions.
    Skip,
}

/// What becomes of the ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ids {
    /// The target gives them out; records may only be restored where they come out the same.
    #[default]
    Assigned,
    /// The target gives them out, and those in the records are translated.
    Rewrite,
    /// They and the version numbers stay as they are (IMPORT mode).
    Force,
}

/// The subjects' own compatibility in the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Compatibility {
    /// As in the backup.
    #[default]
    FromBackup,
    /// Whatever the target has.
    Untouched,
    /// This level.
    Level(String),
}

/// What is to be done with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is registered.
    Restore,
    /// The target has it.
    Exists,
    /// The strategy leaves its subject alone, and the target has no such schema there.
    Skip,
    /// It can't be registered.
    Refuse,
}

/// One version of the backup and what becomes of it.
#[derive(Debug, Clone, Serialize)]
pub struct SchemaStep {
    /// The version in the source.
    #[serde(flatten)]
    pub source: VersionKey,
    /// Its id in the source.
    pub source_id: u32,
    /// The subject in the target.
    pub target_subject: String,
    /// The version in the target: exact where it exists or is forced, expected otherwise.
    pub target_version: Option<u32>,
    /// The id in the target; none where the target will give one out.
    pub target_id: Option<u32>,
    /// What is done.
    pub outcome: Outcome,
    /// Why it is skipped or refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Soft-deleted in the source, and to be so in the target.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// With its references as the target names them.
    #[serde(skip)]
    pub(crate) version: Version,
    /// It exists, but is to be soft-deleted.
    #[serde(skip)]
    pub(crate) delete_existing: bool,
}

/// A version of the target that goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Removal {
    /// The version in the target.
    #[serde(flatten)]
    pub version: VersionKey,
    /// Another schema takes its number: an import replaces it. Otherwise it is soft-deleted.
    pub replaced: bool,
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.replaced { "replaced" } else { "soft-deleted" };
        write!(f, "{} in the target is {how}", self.version)
    }
}

/// All that is going to be done to the target registry.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    pub(crate) steps: Vec<SchemaStep>,
    pub(crate) removals: Vec<Removal>,
    /// Settings of the whole (`None`) and of contexts (`:.eu:`).
    pub(crate) wide_settings: Vec<(Option<String>, Settings)>,
    /// Settings of subjects: what each is to have.
    pub(crate) settings: Vec<SubjectSettings>,
    /// Changed for a while.
    pub(crate) held: BTreeMap<String, Original>,
    /// The target's own mode; `None` where it offers none.
    pub(crate) global_mode: Option<String>,
}

/// A subject and what it is to have.
#[derive(Debug)]
pub(crate) struct SubjectSettings {
    pub(crate) subject: String,
    pub(crate) config: Own<Value>,
    pub(crate) mode: Own<String>,
}

/// What a subject is to have of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Own<T> {
    /// Whatever it has.
    Untouched,
    /// Nothing.
    Removed,
    /// This.
    Set(T),
}

impl<T> Own<T> {
    /// Nothing where there is no value.
    fn of(value: Option<T>) -> Self {
        value.map_or(Self::Removed, Self::Set)
    }

    fn only_if(self, condition: bool) -> Self {
        if condition { self } else { Self::Untouched }
    }

    pub(crate) fn shown(&self) -> Own<String>
    where
        T: ToString,
    {
        match self {
            Self::Untouched => Own::Untouched,
            Self::Removed => Own::Removed,
            Self::Set(value) => Own::Set(value.to_string()),
        }
    }

    fn is_touched(&self) -> bool {
        !matches!(self, Self::Untouched)
    }
}
