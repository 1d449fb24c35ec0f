//! Config and mode: what the target is to have in the end, and what is changed in between.

use std::collections::{BTreeMap, BTreeSet};

use registry::model::context;
use serde_json::{Value, json};

use super::held::Original;
use super::survey::Target;
use super::{
    Compatibility, Ids, Outcome, Own, RegistryPlan, SchemaStep, Strategy, SubjectSettings,
};
use crate::source::{Schemas, Settings};

/// What subjects are to have in the end, and what is changed in between.
pub(super) fn of_subjects(
    plan: &RegistryPlan,
    source: &Schemas,
    target: &Target,
    steps: &[SchemaStep],
) -> (Vec<SubjectSettings>, BTreeMap<String, Original>) {
    let written: BTreeSet<&str> = steps
        .iter()
        .filter(|it| it.outcome == Outcome::Restore)
        .map(|it| it.target_subject.as_str())
        .collect();
    let mut settings = Vec::new();
    let mut finals: BTreeMap<String, (Option<String>, Option<Value>)> = BTreeMap::new();
    for (subject, own) in &source.settings {
        let name = plan.rename.subject(subject);
        let ours = !target.is_live(&name) || plan.strategy == Strategy::Overwrite;
        let (mode, config) = (target.mode(&name), target.config(&name));
        let offers_modes = target.global_mode.is_some();
        let wanted_config = match &plan.compatibility {
            // Apicurio, which offers no modes, tells a level also where a subject has none.
            Compatibility::FromBackup if ours && !offers_modes => {
                own.config.clone().or_else(|| config.clone())
            }
            Compatibility::FromBackup if ours => own.config.clone(),
            Compatibility::Level(level) if written.contains(&*name) => {
                Some(json!({ "compatibilityLevel": level }))
            }
            _ => config.clone(),
        };
        let wanted_mode = if ours && offers_modes { own.mode.clone() } else { mode.clone() };
        settings.push(SubjectSettings {
            subject: name.clone(),
            config: Own::of(wanted_config.clone()).only_if(wanted_config != config),
            mode: Own::of(wanted_mode.clone()).only_if(wanted_mode != mode),
        });
        finals.insert(name, (wanted_mode, wanted_config));
    }
    let mut held = BTreeMap::new();
    let import = plan.ids == Ids::Force;
    if import || plan.force_register {
        for subject in written {
            // Subjects of audited ids have no settings of their own.
            let (mode, config) = finals.remove(subject).unwrap_or_default();
            let original = Original {
                mode: Own::of(mode).only_if(import),
                config: Own::of(config).only_if(!import),
            };
            held.insert(subject.to_owned(), original);
        }
    }
    (settings, held)
}

/// Global settings go into an empty registry only, a context's into an empty context: what is in
/// use keeps its own.
pub(super) fn wide(
    plan: &RegistryPlan,
    source: &Schemas,
    target: &Target,
) -> Vec<(Option<String>, Settings)> {
    let mut wide = Vec::new();
    if target.names.is_empty() {
        wide.push((None, source.global.own.clone()));
    }
    for (name, settings) in &source.global.contexts {
        let name = plan.rename.context(name);
        if name != "." && !target.names.iter().any(|it| context(it) == name) {
            wide.push((Some(format!(":{name}:")), settings.clone()));
        }
    }
    wide
}
