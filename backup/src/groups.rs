//! Where the consumer groups are in the captured topics.

use artifact::manifest::{Committed, Groups, ObjectSum, Topic};
use artifact::{Backup, layout};

use crate::{Result, TopicsPlan};

/// The offsets of all groups; `None` where the cluster does not list groups.
pub(crate) async fn capture(plan: &TopicsPlan) -> Result<Option<Groups>> {
    let Some(listed) = plan.cluster.groups().await? else {
        return Ok(None);
    };
    let mut groups = Groups::default();
    for group in listed.iter().filter(|it| it.commits_offsets()) {
        let offsets = groups.groups.entry(group.id.clone()).or_default();
        for (topic, partitions) in plan.cluster.committed(&group.id).await? {
            let partitions = partitions.into_iter().map(|(partition, it)| {
                (partition, Committed { offset: it.offset, metadata: it.metadata })
            });
            offsets.insert(topic, partitions.collect());
        }
    }
    Ok(Some(groups))
}

/// Writes those that have offsets in these topics.
pub(crate) async fn put(
    mut groups: Groups,
    topics: &[Topic],
    backup: &Backup,
) -> Result<ObjectSum> {
    for offsets in groups.groups.values_mut() {
        offsets.retain(|topic, _| topics.iter().any(|it| it.name == *topic));
    }
    groups.groups.retain(|_, offsets| !offsets.is_empty());
    Ok(backup.put_json(layout::GROUPS, &groups).await?)
}
