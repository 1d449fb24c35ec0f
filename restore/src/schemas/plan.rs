//! What would be done, found out by requests that change nothing.

use std::collections::{BTreeMap, BTreeSet};

use artifact::manifest::VersionKey;
use registry::canonical::Canonical;
use registry::model::context;
use registry::{Reference, Schema, Version};
use serde_json::json;

use super::held::Original;
use super::survey::Target;
use super::{Ids, Outcome, Planned, RegistryPlan, Removal, SchemaStep, Strategy, checks, settings};
use crate::rename::reference;
use crate::source::Schemas;

/// Plans everything; what can't be done is refused in its step and named in the failures.
pub(crate) async fn plan(
    plan: &RegistryPlan,
    source: &Schemas,
    left_behind: &BTreeMap<String, Original>,
    failures: &mut Vec<String>,
) -> registry::Result<Planned> {
    let target = Target::survey(plan, source, left_behind).await?;
    checks::names(plan, source, failures);
    let mut planner = Planner {
        plan,
        source,
        target: &target,
        replaced: BTreeSet::new(),
        lookups: BTreeMap::new(),
        removals: BTreeSet::new(),
    };
    let steps = planner.steps().await?;
    let removals: Vec<Removal> = planner.removals.into_iter().collect();
    for step in steps.iter().filter(|it| it.outcome == Outcome::Refuse) {
        failures.push(step.why.clone().unwrap_or_default());
    }
    checks::modes(plan, &target, &steps, failures);
    checks::compatibility(plan, &target, &steps, &removals, failures).await?;
    checks::removals(&plan.client, &removals, failures).await?;
    let wide_settings = settings::wide(plan, source, &target);
    let (settings, held) = settings::of_subjects(plan, source, &target, &steps);
    let global_mode = target.global_mode;
    Ok(Planned { steps, removals, wide_settings, settings, held, global_mode })
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
    /// Subjects whose live versions go first (overwrite).
    replaced: BTreeSet<String>,
    /// Answers of the registry, which a second pass needs again.
    lookups: BTreeMap<(String, String, bool), Option<(u32, u32)>>,
    removals: BTreeSet<Removal>,
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
                        self.removals.insert(Removal { version, replaced: false });
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
        let mut appended = Appended::default();
        // Ids that this restore is going to take, by context of the target.
        let mut taken: BTreeMap<(String, u32), Canonical> = BTreeMap::new();
        self.removals.clear();
        for key in &self.source.order {
            let version = &self.source.versions[key];
            let canonical = canonical_of(version, |key| known.get(key));
            let mut step = SchemaStep {
                source: key.clone(),
                source_id: version.id,
                target_subject: self.plan.rename.subject(&key.subject),
                target_version: None,
                target_id: None,
                outcome: Outcome::Restore,
                why: None,
                deleted: version.deleted && !self.lives_on(key, version),
                version: version.clone(),
                delete_existing: false,
            };
            let references = self.place_references(&mut step, &places).await?;
            match references {
                Err(why) => refuse(&mut step, why),
                Ok(all_exist) => {
                    if self.plan.ids == Ids::Force {
                        self.force(&mut step, &canonical, &mut taken).await?;
                    } else {
                        self.append(&mut step, all_exist, &mut appended).await?;
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
        appended: &mut Appended,
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
        step.target_version = Some(appended.number(step, highest));
        Ok(())
    }

    /// A soft-deleted version whose schema a later one of its subject has again. A registry that
    /// numbers by itself keeps one live version of a schema, so it must not be deleted there.
    fn lives_on(&self, key: &VersionKey, version: &Version) -> bool {
        let later = VersionKey { version: key.version + 1, ..key.clone() };
        self.plan.ids != Ids::Force
            && self
                .source
                .versions
                .range(later..)
                .take_while(|(it, _)| it.subject == key.subject)
                .any(|(_, it)| it.id == version.id && !it.deleted)
    }

    /// Under `skip` a subject with live versions stays as it is.
    fn left_alone(&self, step: &mut SchemaStep) -> bool {
        let leave =
            self.plan.strategy == Strategy::Skip && self.target.is_live(&step.target_subject);
        if leave {
            step.outcome = Outcome::Skip;
            (step.target_version, step.target_id) = (None, None);
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
        let mut replaced = None;
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
            replaced = Some(Removal { version, replaced: true });
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
        // An id that is taken can't be freed: a registry remembers it after the last version is
        // deleted for good.
        if let Some(there) = client.schema(id, &its_context).await?
            && !same(&there, &step.version.schema)
        {
            let users = client.users(id, &its_context).await?;
            let names: Vec<_> =
                users.iter().map(|(subject, version)| format!("{subject} {version}")).collect();
            let by = if names.is_empty() { "nothing any more".into() } else { names.join(", ") };
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
        self.removals.extend(replaced);
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
                if !wanted.contains(&number) {
                    self.removals.insert(Removal { version, replaced: false });
                }
            }
        }
    }
}

/// Numbers that the registry will give out: it counts on from the highest one, deleted or not, and
/// gives none to a schema that a live version has.
#[derive(Default)]
struct Appended {
    next: BTreeMap<String, u32>,
    live: BTreeMap<(String, u32), u32>,
}

impl Appended {
    fn number(&mut self, step: &SchemaStep, highest: u32) -> u32 {
        let subject = &step.target_subject;
        let key = (subject.clone(), step.source_id);
        if let Some(&number) = self.live.get(&key) {
            return number;
        }
        let next = self.next.entry(subject.clone()).or_insert(highest + 1);
        let number = *next;
        *next += 1;
        if !step.deleted {
            self.live.insert(key, number);
        }
        number
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

/// How the version is told from others; `known` are those that it may reference.
pub(crate) fn canonical_of<'a>(
    version: &Version,
    known: impl Fn(&VersionKey) -> Option<&'a Canonical>,
) -> Canonical {
    let references: Vec<(&Reference, &Canonical)> = version
        .schema
        .references
        .iter()
        .filter_map(|it| Some((it, known(&key_of(it, &version.subject)?)?)))
        .collect();
    Canonical::of(&version.schema, &references)
}
