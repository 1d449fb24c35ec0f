use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest,
};
use kafka_protocol::protocol::Request;

use crate::cluster::{text, topic};
use crate::patience::Patience;
use crate::{Cluster, Connection, Error, Result};

/// One group, and no more, is asked for up to these versions (KIP-699, KIP-709).
const FIND_ONE: i16 = 3;
const FETCH_ONE: i16 = 7;
/// Who commits is no member of the group.
const NO_GENERATION: i32 = -1;

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub id: String,
    /// `consumer`, or empty where its offsets were committed without membership.
    pub protocol_type: String,
    /// `Empty`, `Stable`, …; empty before Kafka 2.6.
    pub state: String,
    /// `classic`, `consumer`, `share`, `streams`; empty before Kafka 3.8.
    pub kind: String,
}

impl Group {
    /// Whether its offsets are committed ones: share groups have no such, nor has Connect's group of
    /// workers.
    pub fn commits_offsets(&self) -> bool {
        let kind = self.kind.to_ascii_lowercase();
        kind != "share" && matches!(self.protocol_type.as_str(), "" | "consumer" | "streams")
    }

    /// Whether it has members: then its offsets are theirs to commit.
    pub fn is_live(&self) -> bool {
        !matches!(self.state.as_str(), "" | "Empty" | "Dead")
    }
}

/// An offset that a group has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset that the group reads.
    pub offset: i64,
    /// What the consumer wrote beside it.
    pub metadata: String,
}

/// Topic to partition to offset.
pub type Offsets = BTreeMap<String, BTreeMap<i32, Committed>>;

impl Cluster {
    /// The groups of all brokers, by name. `None` where the cluster does not list groups.
    pub async fn groups(&self) -> Result<Option<Vec<Group>>> {
        let mut groups = Vec::new();
        for address in self.metadata(Some(&[])).await?.brokers.values() {
            let mut patience = Patience::new();
            let answer = loop {
                let mut connection = match Connection::open(address, self.security()).await {
                    Ok(connection) => connection,
                    Err(error) => {
                        patience.after(error).await?;
                        continue;
                    }
                };
                if !connection.offers(ListGroupsRequest::KEY) {
                    return Ok(None);
                }
                let answer = connection.call(&ListGroupsRequest::default()).await?;
                // A coordinator that has just started loads its groups first.
                match check("ListGroups", || "groups".to_owned(), answer.error_code) {
                    Ok(()) => break answer,
                    Err(error) => patience.after(error).await?,
                }
            };
            groups.extend(answer.groups.into_iter().map(|it| Group {
                id: it.group_id.0.to_string(),
                protocol_type: it.protocol_type.to_string(),
                state: it.group_state.to_string(),
                kind: it.group_type.to_string(),
            }));
        }
        groups.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Some(groups))
    }

    /// All offsets that a group has committed.
    pub async fn committed(&self, group: &str) -> Result<Offsets> {
        self.with_coordinator(group, async |connection| {
            let request = OffsetFetchRequest::default().with_group_id(id(group)).with_topics(None);
            let version = connection.version::<OffsetFetchRequest>(FETCH_ONE)?;
            let answer = connection.call_at(&request, version).await?;
            check("OffsetFetch", || format!("group {group}"), answer.error_code)?;
            let mut offsets = Offsets::new();
            for found in answer.topics {
                for it in found.partitions {
                    let what = || format!("group {group}, {}-{}", &*found.name, it.partition_index);
                    check("OffsetFetch", what, it.error_code)?;
                    if it.committed_offset >= 0 {
                        let metadata = it.metadata.as_ref().map(ToString::to_string);
                        let committed = Committed {
                            offset: it.committed_offset,
                            metadata: metadata.unwrap_or_default(),
                        };
                        let partitions = offsets.entry(found.name.to_string()).or_default();
                        partitions.insert(it.partition_index, committed);
                    }
                }
            }
            Ok(offsets)
        })
        .await
    }

    /// Commits offsets for a group that has no members; one that has some is refused.
    pub async fn commit(&self, group: &str, offsets: &Offsets) -> Result<()> {
        let topics = offsets.iter().map(|(name, partitions)| {
            let partitions = partitions.iter().map(|(&partition, it)| {
                OffsetCommitRequestPartition::default()
                    .with_partition_index(partition)
                    .with_committed_offset(it.offset)
                    .with_committed_leader_epoch(-1)
                    .with_committed_metadata(Some(text(&it.metadata)))
            });
            OffsetCommitRequestTopic::default()
                .with_name(topic(name))
                .with_partitions(partitions.collect())
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(id(group))
            .with_generation_id_or_member_epoch(NO_GENERATION)
            .with_topics(topics.collect());
        self.with_coordinator(group, async |connection| {
            let answer = connection.call(&request).await?;
            for found in &answer.topics {
                for it in &found.partitions {
                    let what = || format!("group {group}, {}-{}", &*found.name, it.partition_index);
                    check("OffsetCommit", what, it.error_code)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Deletes committed offsets of a group (KIP-496).
    pub async fn forget(&self, group: &str, offsets: &BTreeMap<String, Vec<i32>>) -> Result<()> {
        let topics = offsets.iter().map(|(name, partitions)| {
            let partitions = partitions
                .iter()
                .map(|&it| OffsetDeleteRequestPartition::default().with_partition_index(it));
            OffsetDeleteRequestTopic::default()
                .with_name(topic(name))
                .with_partitions(partitions.collect())
        });
        let request =
            OffsetDeleteRequest::default().with_group_id(id(group)).with_topics(topics.collect());
        self.with_coordinator(group, async |connection| {
            let answer = connection.call(&request).await?;
            check("OffsetDelete", || format!("group {group}"), answer.error_code)?;
            for found in &answer.topics {
                for it in &found.partitions {
                    let what = || format!("group {group}, {}-{}", &*found.name, it.partition_index);
                    check("OffsetDelete", what, it.error_code)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Asks the group's coordinator, and again where it is elected or loading.
    async fn with_coordinator<T>(
        &self,
        group: &str,
        mut ask: impl AsyncFnMut(&mut Connection) -> Result<T>,
    ) -> Result<T> {
        let mut patience = Patience::new();
        loop {
            let asked = match self.coordinator(group).await {
                Ok(mut connection) => ask(&mut connection).await,
                Err(error) => Err(error),
            };
            match asked {
                Err(error) => patience.after(error).await?,
                answer => return answer,
            }
        }
    }

    async fn coordinator(&self, group: &str) -> Result<Connection> {
        const OF_GROUP: i8 = 0;
        let mut connection = self.connect().await?;
        let request =
            FindCoordinatorRequest::default().with_key(text(group)).with_key_type(OF_GROUP);
        let version = connection.version::<FindCoordinatorRequest>(FIND_ONE)?;
        let answer = connection.call_at(&request, version).await?;
        check("FindCoordinator", || format!("group {group}"), answer.error_code)?;
        let port = u16::try_from(answer.port).unwrap_or(0);
        let address = crate::Address { host: answer.host.to_string(), port };
        Connection::open(&address, self.security()).await
    }
}

fn id(group: &str) -> GroupId {
    GroupId(text(group))
}

fn check(api: &'static str, what: impl Fn() -> String, code: i16) -> Result<()> {
    match ResponseError::try_from_code(code) {
        None => Ok(()),
        Some(code) => Err(Error::Broker { api, what: what(), code }),
    }
}
