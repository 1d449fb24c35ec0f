//! What would be done, found out by requests that change nothing.

use std::collections::{BTreeMap, BTreeSet};

use artifact::manifest::VersionKey;
use registry::canonical::Canonical;
use registry::model::context;
use registry::{Client, Reference, Schema, Version};
use serde_json::{Value, json};

use super::held::Original;
use super::{
    Compatibility, Deletion, Ids, Outcome, Planned, RegistryPlan, SchemaStep, Strategy,
    SubjectSettings,
};
use crate::rename::reference;
use crate::source::{Schemas, Settings};

/// Plans everything; what can't be done is refused in its step and named in the failures.
pub(crate) async fn plan(
    plan: &RegistryPlan,
    source: &Schemas,
    left_behind: &BTreeMap<String, Original>,
    failures: &mut Vec<String>,
) -> registry::Result<Planned> {
    let target = Target::survey(plan, source, left_behind).await?;
    check_names(plan, source, failures);
    let mut planner = Planner {
        plan,
        source,
        target: &target,
        ours: source.settings.keys().map(|it| plan.rename.subject(it)).collect(),
        replaced: BTreeSet::new(),
        lookups: BTreeMap::new(),
        deletions: BTreeSet::new(),
    };
    let steps = planner.steps().await?;
    let deletions: Vec<Deletion> = planner.deletions.into_iter().collect();
    for step in steps.iter().filter(|it| it.outcome == Outcome::Refuse) {
        failures.push(step.why.clone().unwrap_or_default());
    }
    check_modes(plan, &target, &steps, failures);
    check_compatibility(plan, &target, &steps, &deletions, failures).await?;
    check_deletions(&plan.client, &deletions, failures).await?;
    let (settings, held) = settings(plan, source, &target, &steps);
    let wide_settings = wide_settings(plan, source, &target);
    let global_mode = target.global_mode;
    Ok(Planned { steps, deletions, wide_settings, settings, held, global_mode })
}

/// What the target has of the subjects concerned.
struct Target {
    /// Live versions, and all, by subject; only subjects that have any.
    subjects: BTreeMap<String, Numbers>,
    /// Names of all subjects with versions, deleted ones too.
    names: BTreeSet<String>,
    live: BTreeSet<String>,
    modes: BTreeMap<String, Option<String>>,
    configs: BTreeMap<String, Option<Value>>,
    /// `None` where the registry offers no modes.
    global_mode: Option<String>,
}

#[derive(Debug, Default)]
struct Numbers {
    live: Vec<u32>,
    all: Vec<u32>,
}

impl Target {
    async fn survey(
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
            let mode = match before.and_then(|it| it.mode.clone()) {
                Some(mode) => mode,
                None if target.global_mode.is_some() => client.mode(Some(&name)).await?,
                None => None,
            };
            let config = match before.and_then(|it| it.config.clone()) {
                Some(config) => config,
                None => client.config(Some(&name)).await?,
            };
            target.modes.insert(name.clone(), mode);
            target.configs.insert(name.clone(), config);
            target.subjects.insert(name, numbers);
        }
        Ok(target)
    }

    fn numbers(&self, subject: &str) -> &Numbers {
        static NONE: Numbers = Numbers { live: Vec::new(), all: Vec::new() };
        self.subjects.get(subject).unwrap_or(&NONE)
    }

    fn is_live(&self, subject: &str) -> bool {
        self.live.contains(subject)
    }

    fn mode(&self, subject: &str) -> Option<String> {
        self.modes.get(subject).cloned().flatten()
    }

    fn config(&self, subject: &str) -> Option<Value> {
        self.configs.get(subject).cloned().flatten()
    }
}

/// No two subjects may become one.
fn check_names(plan: &RegistryPlan, source: &Schemas, failures: &mut Vec<String>) {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for subject in source.settings.keys() {
        let name = plan.rename.subject(subject);
        if let Some(first) = taken.insert(name.clone(), subject) {
            failures.push(format!(
                "subjects '{first}' and '{subject}' would both become '{name}': change \
                 subject_mapping or context_mapping"
            ));
        }
    }
}

/// A subject that is to be written is in a mode that takes no schemas.
fn check_modes(
    plan: &RegistryPlan,
    target: &Target,
    steps: &[SchemaStep],
    failures: &mut Vec<String>,
) {
    let url = plan.client.url();
    let Some(global) = &target.global_mode else {
        if plan.ids == Ids::Force {
            failures.push(format!(
                "force_ids: {url} has no IMPORT mode (GET /mode is not offered): use \
                 `rewrite_ids: true` instead"
            ));
        }
        return;
    };
    let written: BTreeSet<&String> = steps
        .iter()
        .filter(|it| it.outcome == Outcome::Restore)
        .map(|it| &it.target_subject)
        .collect();
    for subject in written {
        let overrides = global == "READONLY_OVERRIDE";
        let own = target.mode(subject).filter(|_| !overrides);
        let mode = own.as_ref().unwrap_or(global);
        if overrides || (plan.ids != Ids::Force && mode != "READWRITE") {
            failures.push(format!(
                "subject '{subject}' is in mode {mode} in {url}, which takes no schemas"
            ));
        }
    }
}

/// Where a version of the source is found in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    version: u32,
    /// It is there already.
    exists: bool,
}

struct Planner<'a> {
    plan: &'a RegistryPlan,
    source: &'a Schemas,
    target: &'a Target,
    /// The backup's subjects, by their names in the target.
    ours: BTreeSet<String>,
    /// Subjects whose live versions go first (overwrite).
    replaced: BTreeSet<String>,
    /// Answers of the registry, which a second pass needs again.
    lookups: BTreeMap<(String, String, bool), Option<(u32, u32)>>,
    deletions: BTreeSet<Deletion>,
}

impl Planner<'_> {
    /// Passes over all versions until no further subject turns out to be replaced: that changes the
    /// version numbers which others refer to.
    async fn steps(&mut self) -> registry::Result<Vec<SchemaStep>> {
        loop {
            let steps = self.pass().await?;
            if self.plan.strategy != Strategy::Overwrite || self.plan.ids == Ids::Force {
                return Ok(steps);
            }
            let differ = self.that_differ(&steps);
            if differ.is_empty() {
                for subject in &self.replaced {
                    for &version in &self.target.numbers(subject).live {
                        let version = VersionKey { subject: subject.clone(), version };
                        self.deletions.insert(Deletion { version, permanent: false });
                    }
                }
                return Ok(steps);
            }
            self.replaced.extend(differ);
        }
    }

    /// Subjects whose live versions are not what the backup's begin with.
    fn that_differ(&self, steps: &[SchemaStep]) -> BTreeSet<String> {
        let mut places: BTreeMap<&str, Vec<Option<u32>>> = BTreeMap::new();
        for step in steps.iter().filter(|it| !it.deleted) {
            let existing = step.target_version.filter(|_| step.outcome == Outcome::Exists);
            places.entry(&step.target_subject).or_default().push(existing);
        }
        let differs = |subject: &str, found: &[Option<u32>]| {
            let live = &self.target.numbers(subject).live;
            let same = live.len() <= found.len()
                && live.iter().zip(found).all(|(&live, &found)| found == Some(live));
            !same && !self.replaced.contains(subject)
        };
        places
            .into_iter()
            .filter(|(subject, found)| differs(subject, found))
            .map(|(subject, _)| subject.to_owned())
            .collect()
    }

    async fn pass(&mut self) -> registry::Result<Vec<SchemaStep>> {
        let mut steps = Vec::with_capacity(self.source.order.len());
        let mut places: BTreeMap<&VersionKey, Option<Place>> = BTreeMap::new();
        let mut known: BTreeMap<&VersionKey, Canonical> = BTreeMap::new();
        // Of appended versions: the registry counts on from the highest number, deleted or not.
        let mut next: BTreeMap<String, u32> = BTreeMap::new();
        // Ids that this restore is going to take, by context of the target.
        let mut taken: BTreeMap<(String, u32), Canonical> = BTreeMap::new();
        self.deletions.clear();
        for key in &self.source.order {
            let version = &self.source.versions[key];
            let canonical = canonical_of(version, &known);
            let mut step = SchemaStep {
                source: key.clone(),
                source_id: version.id,
                target_subject: self.plan.rename.subject(&key.subject),
                target_version: None,
                target_id: None,
                outcome: Outcome::Restore,
                why: None,
                deleted: version.deleted,
                version: version.clone(),
                delete_existing: false,
            };
            let placed = self.place_references(&mut step, &places).await?;
            match placed {
                Err(why) => refuse(&mut step, why),
                Ok(all_exist) => {
                    if self.plan.ids == Ids::Force {
                        self.force(&mut step, &canonical, &mut taken).await?;
                    } else {
                        self.append(&mut step, all_exist, &mut next).await?;
                    }
                }
            }
            let usable = matches!(step.outcome, Outcome::Restore | Outcome::Exists);
            let exists = step.outcome == Outcome::Exists;
            let place = step.target_version.filter(|_| usable);
            places.insert(key, place.map(|version| Place { version, exists }));
            known.insert(key, canonical);
            steps.push(step);
        }
        if self.plan.ids == Ids::Force && self.plan.strategy == Strategy::Overwrite {
            self.delete_surplus(&steps);
        }
        Ok(steps)
    }

    /// Points references at the target's subjects and version numbers; tells whether all exist
    /// already, or which can't be.
    async fn place_references(
        &self,
        step: &mut SchemaStep,
        places: &BTreeMap<&VersionKey, Option<Place>>,
    ) -> registry::Result<Result<bool, String>> {
        let own = context(&step.target_subject).to_owned();
        let mut all_exist = true;
        for it in &mut step.version.schema.references {
            let Some(key) = key_of(it, &step.source.subject) else {
                // -1 means the latest one, whichever that is.
                let (subject, _) = it.target(&step.source.subject);
                it.subject = reference(&self.plan.rename.subject(&subject), &own);
                continue;
            };
            let subject = self.plan.rename.subject(&key.subject);
            match places.get(&key) {
                Some(Some(place)) => {
                    it.version = place.version as i32;
                    all_exist &= place.exists;
                }
                Some(None) => return Ok(Err(missing_reference(&key, &step.source))),
                None => {
                    // Not in the artefact: the target may have it all the same.
                    let there = self.plan.client.versions(&subject, false).await?;
                    if !there.is_some_and(|it| it.contains(&key.version)) {
                        return Ok(Err(missing_reference(&key, &step.source)));
                    }
                }
            }
            it.subject = reference(&subject, &own);
        }
        Ok(Ok(all_exist))
    }

    /// A version whose id and number the registry gives out.
    async fn append(
        &mut self,
        step: &mut SchemaStep,
        references_exist: bool,
        next: &mut BTreeMap<String, u32>,
    ) -> registry::Result<()> {
        let numbers = self.target.numbers(&step.target_subject);
        let replaced = self.replaced.contains(&step.target_subject);
        if references_exist && !replaced && !numbers.all.is_empty() {
            let found = self.lookup(step).await?;
            if let Some((version, id)) = found {
                (step.target_version, step.target_id) = (Some(version), Some(id));
                step.outcome = Outcome::Exists;
                step.delete_existing = step.deleted
                    && numbers.live.contains(&version)
                    && self.plan.strategy == Strategy::Overwrite;
                return Ok(());
            }
        }
        if self.left_alone(step) {
            return Ok(());
        }
        let highest = numbers.all.last().copied().unwrap_or(0);
        let next = next.entry(step.target_subject.clone()).or_insert(highest + 1);
        step.target_version = Some(*next);
        *next += 1;
        Ok(())
    }

    /// Under `skip` a subject with live versions stays as it is.
    fn left_alone(&self, step: &mut SchemaStep) -> bool {
        let leave =
            self.plan.strategy == Strategy::Skip && self.target.is_live(&step.target_subject);
        if leave {
            step.outcome = Outcome::Skip;
            step.why = Some(format!("subject '{}' has versions already", step.target_subject));
        }
        leave
    }

    async fn lookup(&mut self, step: &SchemaStep) -> registry::Result<Option<(u32, u32)>> {
        let schema = &step.version.schema;
        let key = (step.target_subject.clone(), json!(schema).to_string(), step.deleted);
        if let Some(&known) = self.lookups.get(&key) {
            return Ok(known);
        }
        let found = self.plan.client.lookup(&step.target_subject, schema, step.deleted).await?;
        let found = found.map(|it| (it.version, it.id));
        self.lookups.insert(key, found);
        Ok(found)
    }

    /// A version that keeps its id and number.
    async fn force(
        &mut self,
        step: &mut SchemaStep,
        canonical: &Canonical,
        taken: &mut BTreeMap<(String, u32), Canonical>,
    ) -> registry::Result<()> {
        let client = &self.plan.client;
        let (id, number) = (step.source_id, step.source.version);
        (step.target_version, step.target_id) = (Some(number), Some(id));
        let its_context = context(&step.target_subject).to_owned();
        let numbers = self.target.numbers(&step.target_subject);
        let overwrite = self.plan.strategy == Strategy::Overwrite;
        if numbers.all.contains(&number) {
            let there = client.version(&step.target_subject, number, true).await?;
            if there.id == id && same(&there.schema, &step.version.schema) {
                let live = numbers.live.contains(&number);
                if live || step.deleted {
                    step.outcome = Outcome::Exists;
                    step.delete_existing = live && step.deleted && overwrite;
                }
                // A soft-deleted one that is live in the source is imported again.
                taken.insert((its_context, id), canonical.clone());
                return Ok(());
            }
            if self.left_alone(step) {
                return Ok(());
            }
            if !overwrite {
                refuse(
                    step,
                    format!(
                        "version {number} of subject '{}' is taken by another schema with id {} in \
                         {}: use `rewrite_ids: true`, or `strategy: overwrite`",
                        step.target_subject,
                        there.id,
                        client.url()
                    ),
                );
                return Ok(());
            }
            let version = VersionKey { subject: step.target_subject.clone(), version: number };
            self.deletions.insert(Deletion { version, permanent: true });
        } else if self.left_alone(step) {
            return Ok(());
        }
        if let Some(other) = taken.get(&(its_context.clone(), id)) {
            if other.exact != canonical.exact {
                refuse(
                    step,
                    format!(
                        "id {id} stands for two schemas in context {its_context}, because \
                         context_mapping or subject_mapping joins two contexts: use \
                         `rewrite_ids: true`"
                    ),
                );
            }
            return Ok(());
        }
        taken.insert((its_context.clone(), id), canonical.clone());
        if let Some(there) = client.schema(id, &its_context).await?
            && !same(&there, &step.version.schema)
        {
            let users = client.users(id, &its_context).await?;
            // What our subjects have there is not what they will have: it goes.
            let goes = |(subject, _): &(String, u32)| overwrite && self.ours.contains(subject);
            if users.is_empty() || !users.iter().all(goes) {
                let names: Vec<_> =
                    users.iter().map(|(subject, version)| format!("{subject} {version}")).collect();
                let by = if names.is_empty() {
                    "nothing that is listed".into()
                } else {
                    names.join(", ")
                };
                refuse(
                    step,
                    format!(
                        "id {id} of {} is taken by another schema in {} (used by {by}): use \
                         `rewrite_ids: true`",
                        step.source,
                        client.url()
                    ),
                );
                return Ok(());
            }
            for (subject, version) in users {
                let version = VersionKey { subject, version };
                self.deletions.insert(Deletion { version, permanent: true });
            }
        }
        Ok(())
    }

    /// Live versions of the target that the backup does not have.
    fn delete_surplus(&mut self, steps: &[SchemaStep]) {
        let mut wanted: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        for step in steps {
            wanted.entry(&step.target_subject).or_default().insert(step.source.version);
        }
        for (subject, wanted) in wanted {
            for &number in &self.target.numbers(subject).live {
                let version = VersionKey { subject: subject.to_owned(), version: number };
                let purged = Deletion { version: version.clone(), permanent: true };
                if !wanted.contains(&number) && !self.deletions.contains(&purged) {
                    self.deletions.insert(Deletion { version, permanent: false });
                }
            }
        }
    }
}

fn refuse(step: &mut SchemaStep, why: String) {
    step.outcome = Outcome::Refuse;
    step.target_id = None;
    step.why = Some(why);
}

fn missing_reference(key: &VersionKey, by: &VersionKey) -> String {
    format!(
        "Reference to subject '{}' not found (version {}, referenced by {by}): back up with \
         `include_references: true`, or restore that subject first",
        key.subject, key.version
    )
}

/// `None` for the latest version, whichever it is.
pub(crate) fn key_of(reference: &Reference, by: &str) -> Option<VersionKey> {
    let (subject, version) = reference.target(by);
    Some(VersionKey { subject, version: version? })
}

/// Whether the target's schema is the one that would be put there: both with the target's names.
fn same(there: &Schema, ours: &Schema) -> bool {
    there.references == ours.references
        && Canonical::of(there, &[]).exact == Canonical::of(ours, &[]).exact
}

fn canonical_of(version: &Version, known: &BTreeMap<&VersionKey, Canonical>) -> Canonical {
    let references: Vec<(&Reference, &Canonical)> = version
        .schema
        .references
        .iter()
        .filter_map(|it| Some((it, known.get(&key_of(it, &version.subject)?)?)))
        .collect();
    Canonical::of(&version.schema, &references)
}

/// The first new version of each subject must be one that the target takes.
async fn check_compatibility(
    plan: &RegistryPlan,
    target: &Target,
    steps: &[SchemaStep],
    deletions: &[Deletion],
    failures: &mut Vec<String>,
) -> registry::Result<()> {
    if plan.ids == Ids::Force || plan.force_register {
        return Ok(());
    }
    let mut seen = BTreeSet::new();
    for step in steps.iter().filter(|it| it.outcome == Outcome::Restore) {
        let subject = &step.target_subject;
        let replaced = deletions.iter().any(|it| it.version.subject == *subject);
        if !seen.insert(subject) || replaced || target.numbers(subject).live.is_empty() {
            continue;
        }
        // A reference that is not there yet makes the registry refuse the question.
        let all_there = step.version.schema.references.iter().all(|it| {
            let Some(key) = key_of(it, subject) else { return true };
            target.numbers(&key.subject).live.contains(&key.version)
        });
        if !all_there {
            continue;
        }
        let conflicts = plan.client.conflicts(subject, &step.version.schema).await?;
        if !conflicts.is_empty() {
            failures.push(format!(
                "Schema registration failed for subject {subject}: version {} of the backup is not \
                 compatible with what {} has ({}): set `force_register: true`, or the subject's \
                 compatibility to NONE",
                step.source.version,
                plan.client.url(),
                conflicts.join("; ")
            ));
        }
    }
    Ok(())
}

/// A version that others reference can only go together with them.
async fn check_deletions(
    client: &Client,
    deletions: &[Deletion],
    failures: &mut Vec<String>,
) -> registry::Result<()> {
    let going: BTreeSet<&VersionKey> = deletions.iter().map(|it| &it.version).collect();
    for deletion in deletions {
        let VersionKey { subject, version } = &deletion.version;
        for id in client.referencing(subject, *version).await? {
            for (by, number) in client.users(id, context(subject)).await? {
                let user = VersionKey { subject: by, version: number };
                if going.contains(&user) {
                    continue;
                }
                let live = client.versions(&user.subject, false).await?.unwrap_or_default();
                if live.contains(&user.version) {
                    failures.push(format!(
                        "{} would be deleted, but {user} references it and stays",
                        deletion.version
                    ));
                }
            }
        }
    }
    Ok(())
}

/// What subjects are to have in the end, and what is changed in between.
fn settings(
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
        let wanted_config = match &plan.compatibility {
            Compatibility::FromBackup if ours => own.config.clone(),
            Compatibility::Level(level) if written.contains(&*name) => {
                Some(json!({ "compatibilityLevel": level }))
            }
            _ => config.clone(),
        };
        let offers_modes = target.global_mode.is_some();
        let wanted_mode = if ours && offers_modes { own.mode.clone() } else { mode.clone() };
        settings.push(SubjectSettings {
            subject: name.clone(),
            config: (wanted_config != config).then(|| wanted_config.clone()),
            mode: (wanted_mode != mode).then(|| wanted_mode.clone()),
        });
        finals.insert(name, (wanted_mode, wanted_config));
    }
    let hold = |subject: &&str| {
        // Subjects of audited ids have no settings of their own.
        let (mode, config) = finals.get(*subject).cloned().unwrap_or_default();
        let import = plan.ids == Ids::Force;
        let original = Original {
            mode: import.then_some(mode),
            config: (!import && plan.force_register).then_some(config),
        };
        ((*subject).to_owned(), original)
    };
    let held = written.iter().map(hold);
    let held = held.filter(|(_, it)| it.mode.is_some() || it.config.is_some()).collect();
    (settings, held)
}

/// Global settings go into an empty registry only, a context's into an empty context: what is in
/// use keeps its own.
fn wide_settings(
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
