use std::collections::BTreeMap;

use artifact::manifest::VersionKey;
use registry::graph::{GraphError, dependency_order};

use super::CapturedVersion;
use crate::{Error, Result};

/// Each version after those that it references, and after the earlier ones of its subject.
pub(super) fn order(
    versions: &BTreeMap<VersionKey, CapturedVersion>,
    dangling: &BTreeMap<VersionKey, VersionKey>,
) -> Result<Vec<VersionKey>> {
    let mut latest: BTreeMap<&str, u32> = BTreeMap::new();
    for key in versions.keys() {
        latest.insert(&key.subject, key.version);
    }
    let mut graph: BTreeMap<VersionKey, Vec<VersionKey>> = BTreeMap::new();
    let mut previous: Option<&VersionKey> = None;
    for (key, version) in versions {
        let mut needs: Vec<VersionKey> = Vec::with_capacity(version.references.len() + 1);
        for reference in &version.references {
            let (subject, number) = reference.target(&key.subject);
            let version = number.or_else(|| latest.get(subject.as_str()).copied()).unwrap_or(0);
            let needed = VersionKey { subject, version };
            if versions.contains_key(&needed) || !dangling.contains_key(key) {
                needs.push(needed);
            }
        }
        needs.extend(previous.filter(|it| it.subject == key.subject).cloned());
        graph.insert(key.clone(), needs);
        previous = Some(key);
    }
    dependency_order(&graph).map_err(|error| match error {
        GraphError::Missing { from, to } => {
            Error::Reference { subject: to.subject, version: to.version, by: from.to_string() }
        }
        cycle @ GraphError::Cycle(_) => Error::Cycle(cycle.to_string()),
    })
}
