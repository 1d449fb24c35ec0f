use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest};
use wire::message::{Met, Role, Value};
use wire::shapes;

use crate::cluster::topic;
use crate::patience::Patience;
use crate::{Cluster, Connection, Error, Result};

/// Topics are named rather than given by id up to this version (KIP-516).
const FETCH_BY_NAME: i16 = 12;

/// Which records a reader sees (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// All of them.
    ReadUncommitted,
    /// Those below the last stable offset; aborted ones are told apart by [`Fetched::aborted`].
    ReadCommitted,
}

impl Isolation {
    fn level(self) -> i8 {
        i8::from(self == Self::ReadCommitted)
    }
}

/// How much a fetch may bring, and how long it may wait.
#[derive(Debug, Clone, Copy)]
pub struct FetchLimits {
    /// Bytes; one batch comes even if it is larger (KIP-74).
    pub max_bytes: i32,
    /// The broker holds an empty answer back this long.
    pub max_wait: Duration,
    /// Which records.
    pub isolation: Isolation,
}

/// The answer to a fetch.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    /// Record batches, the last one possibly cut off.
    pub records: Bytes,
    /// End of what all replicas have.
    pub high_watermark: i64,
    /// First offset that is still there.
    pub log_start_offset: i64,
    /// Aborted transactions that overlap these records.
    pub aborted: Vec<Aborted>,
}

/// An aborted transaction: what this producer wrote from here to its abort marker does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted {
    /// Who wrote it.
    pub producer_id: i64,
    /// Where it began in this partition.
    pub first_offset: i64,
}

/// Reads one partition, wherever its leader is.
#[derive(Debug)]
pub struct PartitionClient {
    cluster: Cluster,
    topic: String,
    partition: i32,
    connection: Option<Connection>,
}

impl PartitionClient {
    /// Connects when it is first used.
    pub fn new(cluster: Cluster, topic: &str, partition: i32) -> Self {
        Self { cluster, topic: topic.to_owned(), partition, connection: None }
    }

    /// The first offset that is there and the end: the high watermark, or with `ReadCommitted` the
    /// last stable offset.
    pub async fn offsets(&mut self, isolation: Isolation) -> Result<(i64, i64)> {
        const EARLIEST: i64 = -2;
        const LATEST: i64 = -1;
        let start = self.offset(EARLIEST, isolation).await?;
        Ok((start, self.offset(LATEST, isolation).await?))
    }

    async fn offset(&mut self, timestamp: i64, isolation: Isolation) -> Result<i64> {
        self.patiently(async |client| {
            let wanted = ListOffsetsPartition::default()
                .with_partition_index(client.partition)
                .with_current_leader_epoch(-1)
                .with_timestamp(timestamp);
            let topics = ListOffsetsTopic::default()
                .with_name(topic(&client.topic))
                .with_partitions(vec![wanted]);
            let request = ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_isolation_level(isolation.level())
                .with_topics(vec![topics]);
            let answer = client.connection().await?.call(&request).await?;
            let found = answer.topics.first().and_then(|it| it.partitions.first());
            let Some(found) = found else {
                let why = "it lacks the partition".to_owned();
                return Err(client.connection().await?.malformed::<ListOffsetsRequest>(why));
            };
            client.check("ListOffsets", found.error_code)?;
            Ok(found.offset)
        })
        .await
    }

    /// Fetches from an offset on; rides out leader changes and broken connections.
    pub async fn fetch(&mut self, offset: i64, limits: FetchLimits) -> Result<Fetched> {
        self.patiently(async |client| client.fetch_once(offset, limits).await).await
    }

    async fn fetch_once(&mut self, offset: i64, limits: FetchLimits) -> Result<Fetched> {
        let wanted = FetchPartition::default()
            .with_partition(self.partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(offset)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(limits.max_bytes);
        let topics =
            FetchTopic::default().with_topic(topic(&self.topic)).with_partitions(vec![wanted]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(limits.max_wait.as_millis() as i32)
            .with_min_bytes(1)
            .with_max_bytes(limits.max_bytes)
            .with_isolation_level(limits.isolation.level())
            // No fetch session (KIP-227).
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(vec![topics]);
        let connection = self.connection().await?;
        let version = connection.version::<FetchRequest>(FETCH_BY_NAME)?;
        let (frame, body) = connection.exchange(&request, version).await?;

        let mut fetched = Fetched::default();
        let (mut errors, mut producer_id) = (Vec::new(), 0);
        let walked = shapes::FETCH_RESPONSE.walk(&frame, body, version, &mut |met| match met {
            Met { role: Role::ErrorCode, value: Value::Int(code), .. } => errors.push(code as i16),
            Met { role: Role::HighWatermark, value: Value::Int(at), .. } => {
                fetched.high_watermark = at;
            }
            Met { role: Role::LogStartOffset, value: Value::Int(at), .. } => {
                fetched.log_start_offset = at;
            }
            Met { role: Role::AbortedProducer, value: Value::Int(id), .. } => producer_id = id,
            Met { role: Role::AbortedFirstOffset, value: Value::Int(first_offset), .. } => {
                fetched.aborted.push(Aborted { producer_id, first_offset });
            }
            Met { role: Role::Records, value: Value::Bytes(range), .. } => {
                fetched.records = frame.slice(range);
            }
            _ => {}
        });
        walked.map_err(|why| connection.malformed::<FetchRequest>(why.to_string()))?;
        errors.into_iter().try_for_each(|code| self.check("Fetch", code))?;
        Ok(fetched)
    }

    async fn connection(&mut self) -> Result<&mut Connection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.cluster.leader(&self.topic, self.partition).await?,
        };
        Ok(self.connection.insert(connection))
    }

    fn check(&self, api: &'static str, code: i16) -> Result<()> {
        match ResponseError::try_from_code(code) {
            None => Ok(()),
            Some(code) => {
                let what = format!("{}-{}", self.topic, self.partition);
                Err(Error::Broker { api, what, code })
            }
        }
    }

    /// Tries again, on a new connection to whoever leads then, until patience runs out.
    async fn patiently<T>(
        &mut self,
        mut attempt: impl AsyncFnMut(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let mut patience = Patience::new();
        loop {
            match attempt(self).await {
                Err(error) => {
                    if error.is_transient() {
                        self.connection = None;
                    }
                    patience.after(error).await?;
                }
                result => return result,
            }
        }
    }
}
