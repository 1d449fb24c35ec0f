//! Consumer groups: set in the target to where they were in the source, and back again.

use std::collections::BTreeMap;

use app::Selection;
use artifact::manifest::{Committed, GroupOffsets, Groups, OffsetMap};
use artifact::{Backup, Manifest, layout};
use kafka::{Cluster, Isolation, Offsets, PartitionClient};
use serde::{Deserialize, Serialize};

use crate::offsets::{Lookup, Place};
use crate::{Error, Failure, Result};

/// Which groups are set, and where.
#[derive(Debug)]
pub struct GroupsPlan {
    /// The target.
    pub cluster: Cluster,
    /// The groups, by name.
    pub selection: Selection,
    /// What one batch may grow to when it is decompressed.
    pub decompressed_limit: usize,
}

/// One committed offset that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The group.
    pub group: String,
    /// The topic in the target.
    pub topic: String,
    /// The partition in the target.
    pub partition: i32,
    /// What is committed now, where something is.
    pub before: Option<i64>,
    /// What will be; `None` where it will be forgotten.
    pub after: Option<i64>,
}

/// Offsets at one moment: what `offsets snapshot` writes, and what a reset keeps to go back to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// `cluster.id`.
    pub cluster_id: String,
    /// When, RFC 3339.
    pub created_at: String,
    /// Where each partition ends, by topic.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub end_offsets: BTreeMap<String, BTreeMap<i32, i64>>,
    /// What groups have committed, by topic and partition; `null` for what a reset is about to set
    /// and was not there.
    pub groups: BTreeMap<String, BTreeMap<String, BTreeMap<i32, Option<Committed>>>>,
}

/// What was committed instead of what.
#[derive(Debug, Default, Serialize)]
pub struct Reset {
    /// Each offset.
    pub changes: Vec<Change>,
    /// Where the offsets before it lie, to go back to.
    pub offsets_before: Option<String>,
}

/// The groups that are chosen, as they were captured. What stands against setting them is added to
/// the failures.
pub(crate) async fn chosen(
    plan: &GroupsPlan,
    backup: &Backup,
    manifest: &Manifest,
    failures: &mut Vec<String>,
) -> Result<BTreeMap<String, GroupOffsets>> {
    let Some(sum) = &manifest.groups else {
        failures
            .push("the backup has no consumer groups: its cluster did not list them".to_owned());
        return Ok(BTreeMap::new());
    };
    let mut captured: Groups = backup.json(layout::GROUPS, sum).await?;
    for name in plan.selection.exact_names() {
        if !captured.groups.contains_key(name) {
            failures.push(format!("consumer group `{name}` is not in the backup"));
        }
    }
    captured.groups.retain(|name, _| plan.selection.selects(name));
    live(&plan.cluster, captured.groups.keys(), failures).await?;
    Ok(captured.groups)
}

/// A group that has members commits for itself, and would overwrite what is set.
async fn live(
    cluster: &Cluster,
    names: impl Iterator<Item = &String>,
    failures: &mut Vec<String>,
) -> Result<()> {
    let there = cluster.groups().await?.unwrap_or_default();
    for name in names {
        if let Some(group) = there.iter().find(|it| it.id == *name && it.is_live()) {
            failures.push(format!(
                "consumer group `{name}` has live members in the target (its state is {}): stop them",
                group.state
            ));
        }
    }
    Ok(())
}

/// Sets the groups to where they were, by the offset map of the last restore; with `dry_run` only
/// tells what would change.
///
/// # Errors
///
/// [`Error::Preflight`] where a group has live members, or was never captured: nothing is changed
/// then.
pub async fn reset(plan: &GroupsPlan, backup: &Backup, dry_run: bool) -> Result<Reset> {
    let manifest = backup.manifest().await?;
    let mut failures = Vec::new();
    let groups = chosen(plan, backup, &manifest, &mut failures).await?;
    let cluster_id = plan.cluster.metadata(Some(&[])).await?.cluster_id.unwrap_or_default();
    let map: OffsetMap = backup.find_json(layout::OFFSET_MAP).await?.unwrap_or_default();
    if map.cluster_id != cluster_id {
        failures.push(format!(
            "the backup has no offset map of cluster {cluster_id}: restore its topics there first"
        ));
    }
    if !failures.is_empty() {
        return Err(Failure(failures).into());
    }
    let lookup = Lookup::new(backup, &manifest, &map, plan.decompressed_limit);
    let mut snapshot = Snapshot { cluster_id, ..Snapshot::default() };
    let mut wanted: BTreeMap<&str, Offsets> = BTreeMap::new();
    let mut changes = Vec::new();
    for (group, offsets) in &groups {
        let before = plan.cluster.committed(group).await?;
        for (topic, partitions) in offsets {
            for (&partition, committed) in partitions {
                let place = lookup.place(topic, partition, committed.offset).await?;
                let Some(Place { topic, partition, offset }) = place else { continue };
                let there = before.get(&topic).and_then(|it| it.get(&partition));
                let before = there.map(|it| it.offset);
                let kept =
                    there.map(|it| Committed { offset: it.offset, metadata: it.metadata.clone() });
                let of_group = snapshot.groups.entry(group.clone()).or_default();
                of_group.entry(topic.clone()).or_default().insert(partition, kept);
                let metadata = committed.metadata.clone();
                let of_group = wanted.entry(group).or_default();
                let partitions = of_group.entry(topic.clone()).or_default();
                partitions.insert(partition, kafka::Committed { offset, metadata });
                let (group, after) = (group.clone(), Some(offset));
                changes.push(Change { group, topic, partition, before, after });
            }
        }
    }
    let mut reset = Reset { changes, offsets_before: None };
    if dry_run || reset.changes.is_empty() {
        return Ok(reset);
    }
    snapshot.created_at = jiff::Timestamp::now().to_string();
    let object = layout::offsets_before(&snapshot.created_at);
    backup.put_json(&object, &snapshot).await?;
    reset.offsets_before = Some(backup.store().place(&backup.key(&object)));
    for (group, offsets) in wanted {
        plan.cluster.commit(group, &offsets).await?;
    }
    Ok(reset)
}

/// The committed offsets of groups, and where the topics end.
pub async fn snapshot(
    cluster: &Cluster,
    groups: &Selection,
    topics: &Selection,
) -> Result<Snapshot> {
    let mut snapshot =
        Snapshot { created_at: jiff::Timestamp::now().to_string(), ..Snapshot::default() };
    // Before the ends, so that no group is behind them.
    for group in cluster.groups().await?.unwrap_or_default() {
        if !group.commits_offsets() || !groups.selects(&group.id) {
            continue;
        }
        let mut offsets = cluster.committed(&group.id).await?;
        offsets.retain(|topic, _| topics.selects(topic));
        let kept = offsets.into_iter().map(|(topic, partitions)| {
            let kept = partitions.into_iter().map(|(partition, it)| {
                (partition, Some(Committed { offset: it.offset, metadata: it.metadata }))
            });
            (topic, kept.collect())
        });
        snapshot.groups.insert(group.id, kept.collect());
    }
    let metadata = cluster.metadata(None).await?;
    snapshot.cluster_id = metadata.cluster_id.unwrap_or_default();
    for (topic, found) in metadata.topics {
        if !topics.selects_topic(&topic, found.internal) {
            continue;
        }
        for &partition in found.leaders.keys() {
            let mut client = PartitionClient::new(cluster.clone(), &topic, partition);
            let (_, end) = client.offsets(Isolation::ReadUncommitted).await?;
            snapshot.end_offsets.entry(topic.clone()).or_default().insert(partition, end);
        }
    }
    Ok(snapshot)
}

/// The offsets before the last reset in this cluster.
pub async fn last_before(backup: &Backup, cluster: &Cluster) -> Result<Option<Snapshot>> {
    let cluster_id = cluster.metadata(Some(&[])).await?.cluster_id.unwrap_or_default();
    let mut last: Option<Snapshot> = None;
    for object in backup.objects(layout::OFFSETS_BEFORE).await? {
        let found: Option<Snapshot> = backup.find_json(&object).await?;
        // RFC 3339 in UTC sorts by time.
        let found = found.filter(|it| it.cluster_id == cluster_id);
        if found.as_ref().map(|it| &it.created_at) > last.as_ref().map(|it| &it.created_at) {
            last = found;
        }
    }
    Ok(last)
}

/// Sets groups to what a snapshot says; with `dry_run` only tells what would change.
///
/// # Errors
///
/// [`Error::Preflight`] where the snapshot is of another cluster or a group has live members.
pub async fn rollback(
    cluster: &Cluster,
    snapshot: &Snapshot,
    dry_run: bool,
) -> Result<Vec<Change>> {
    let mut failures = Vec::new();
    let now = cluster.metadata(Some(&[])).await?.cluster_id.unwrap_or_default();
    if now != snapshot.cluster_id {
        failures.push(format!("the offsets are of cluster {}, not of {now}", snapshot.cluster_id));
    }
    live(cluster, snapshot.groups.keys(), &mut failures).await?;
    if !failures.is_empty() {
        return Err(Error::Preflight(Failure(failures)));
    }
    let mut changes = Vec::new();
    for (group, topics) in &snapshot.groups {
        let now = cluster.committed(group).await?;
        let (mut wanted, mut forgotten) = (Offsets::new(), BTreeMap::<String, Vec<i32>>::new());
        for (topic, partitions) in topics {
            for (&partition, kept) in partitions {
                let before = now.get(topic).and_then(|it| it.get(&partition)).map(|it| it.offset);
                let after = kept.as_ref().map(|it| it.offset);
                if before == after {
                    continue;
                }
                match kept.clone() {
                    Some(Committed { offset, metadata }) => {
                        let partitions = wanted.entry(topic.clone()).or_default();
                        partitions.insert(partition, kafka::Committed { offset, metadata });
                    }
                    None => forgotten.entry(topic.clone()).or_default().push(partition),
                }
                let (group, topic) = (group.clone(), topic.clone());
                changes.push(Change { group, topic, partition, before, after });
            }
        }
        if !dry_run && !wanted.is_empty() {
            cluster.commit(group, &wanted).await?;
        }
        if !dry_run && !forgotten.is_empty() {
            cluster.forget(group, &forgotten).await?;
        }
    }
    Ok(changes)
}
