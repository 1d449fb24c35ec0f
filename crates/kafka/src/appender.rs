use std::collections::VecDeque;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use wire::rebatch::{self, Producer};

use crate::cluster::topic;
use crate::patience::Patience;
use crate::{Cluster, Connection, Error, Result};

/// What a broker takes of one idempotent producer without losing order (KIP-98).
const IN_FLIGHT: usize = 5;
/// Topics are named rather than given by id up to this version (KIP-516).
const BY_NAME: i16 = 12;

/// Appends record batches to one partition with acks=all, in order and each exactly once, with
/// several on their way at the same time.
///
/// The batches carry a producer id and sequence numbers, so what is sent again after a broken
/// connection or a new leader is not written twice.
#[derive(Debug)]
pub struct Appender {
    cluster: Cluster,
    topic: String,
    partition: i32,
    connection: Option<Connection>,
    producer: Producer,
    decompressed_limit: usize,
    /// The most bytes that are on their way.
    most_bytes: usize,
    /// Sent and not acknowledged, oldest first.
    in_flight: VecDeque<Sent>,
    /// Where the oldest one belongs.
    next_offset: i64,
    /// Whether the broker has acknowledged a batch of this producer.
    is_known: bool,
}

#[derive(Debug)]
struct Sent {
    batch: Bytes,
    count: i32,
    /// `None` where it has to be sent on a new connection.
    correlation_id: Option<i32>,
}

impl Appender {
    /// Begins at the partition's end, with a producer id of its own.
    ///
    /// `decompressed_limit` bounds what a batch may grow to when it has to be split.
    pub async fn begin(
        cluster: Cluster,
        topic: &str,
        partition: i32,
        end_offset: i64,
        decompressed_limit: usize,
    ) -> Result<Self> {
        let mut patience = Patience::new();
        let (id, epoch) = loop {
            match cluster.producer_id().await {
                Ok(given) => break given,
                // A cluster that has just started loads its transaction log first.
                Err(error) => patience.after(error).await?,
            }
        };
        Ok(Self {
            cluster,
            topic: topic.to_owned(),
            partition,
            connection: None,
            producer: Producer { id, epoch, sequence: 0 },
            decompressed_limit,
            most_bytes: usize::MAX,
            in_flight: VecDeque::with_capacity(IN_FLIGHT),
            next_offset: end_offset,
            is_known: false,
        })
    }

    /// Holds no more than these bytes, unless one batch is larger.
    #[must_use]
    pub fn holding(self, most_bytes: usize) -> Self {
        Self { most_bytes, ..self }
    }

    fn held(&self) -> usize {
        self.in_flight.iter().map(|it| it.batch.len()).sum()
    }

    /// Sends a batch of `count` records as [`rebatch::for_produce`] makes it; waits only while too
    /// many are on their way.
    pub async fn append(&mut self, mut batch: Vec<u8>, count: i32) -> Result<()> {
        // A broker that knows nothing of a producer yet takes whatever sequence number comes first:
        // until it has acknowledged one batch, no second one is on its way. And credentials are shown
        // again only while no answer is due.
        let drains = self.connection.as_ref().is_some_and(Connection::wants_authentication);
        let most = if drains || !self.is_known { 1 } else { IN_FLIGHT };
        while self.in_flight.len() >= most
            || (!self.in_flight.is_empty() && self.held() + batch.len() > self.most_bytes)
        {
            self.settle().await?;
        }
        rebatch::stamp(&mut batch, self.producer).map_err(|why| self.unreadable(&why))?;
        self.producer.sequence = rebatch::next_sequence(self.producer.sequence, count);
        let batch = batch.into();
        self.in_flight.push_back(Sent { batch, count, correlation_id: None });
        // Once it failed, the rest goes out in order when the oldest is settled.
        let in_order = self.in_flight.iter().rev().skip(1).all(|it| it.correlation_id.is_some());
        if in_order {
            // A broken connection shows again when the answer is waited for.
            let _ = self.send(self.in_flight.len() - 1).await;
        }
        Ok(())
    }

    /// Waits until all is acknowledged; gives the offset behind the last record.
    pub async fn finish(mut self) -> Result<i64> {
        while !self.in_flight.is_empty() {
            self.settle().await?;
        }
        Ok(self.next_offset)
    }

    /// Waits for the oldest batch's acknowledgement; sends again what may have been lost.
    async fn settle(&mut self) -> Result<()> {
        let mut patience = Patience::new();
        loop {
            match self.oldest().await {
                Ok(()) => return Ok(()),
                Err(Error::Broker { code: ResponseError::MessageTooLarge, api, what }) => {
                    let too_large =
                        Error::Broker { code: ResponseError::MessageTooLarge, api, what };
                    self.split(too_large)?;
                }
                Err(error) => {
                    let what = error.to_string();
                    patience.after(error).await?;
                    tracing::warn!("{what}; sending again what was not acknowledged");
                }
            }
            // What follows the failed one is refused as out of order: all go again.
            self.connection = None;
            self.in_flight.iter_mut().for_each(|it| it.correlation_id = None);
        }
    }

    async fn oldest(&mut self) -> Result<()> {
        for index in 0..self.in_flight.len() {
            if self.in_flight[index].correlation_id.is_none() {
                self.send(index).await?;
            }
        }
        let Some(oldest) = self.in_flight.front() else { return Ok(()) };
        let (Some(correlation_id), Some(connection)) =
            (oldest.correlation_id, self.connection.as_mut())
        else {
            return Ok(());
        };
        let version = connection.version::<ProduceRequest>(BY_NAME)?;
        let answer = connection.answer::<ProduceRequest>(correlation_id, version).await?;
        let base_offset = self.acknowledged(&answer)?;
        let expected = self.next_offset;
        // A duplicate that the broker has forgotten the place of is acknowledged with -1.
        if base_offset >= 0 && base_offset != expected {
            let (topic, partition) = (self.topic.clone(), self.partition);
            return Err(Error::NotAlone { topic, partition, found: base_offset, expected });
        }
        self.is_known = true;
        if let Some(settled) = self.in_flight.pop_front() {
            self.next_offset += i64::from(settled.count);
        }
        Ok(())
    }

    fn acknowledged(&self, answer: &ProduceResponse) -> Result<i64> {
        let found = answer.responses.first().and_then(|it| it.partition_responses.first());
        let (topic, partition) = (&self.topic, self.partition);
        let Some(found) = found else {
            return Err(Error::NoLeader { topic: topic.clone(), partition });
        };
        match ResponseError::try_from_code(found.error_code) {
            None => Ok(found.base_offset),
            Some(ResponseError::DuplicateSequenceNumber) => Ok(-1),
            Some(code) => {
                let why = found.error_message.as_ref().map(|it| format!(": {it}"));
                let what = format!("{topic}-{partition}{}", why.unwrap_or_default());
                Err(Error::Broker { api: "Produce", what, code })
            }
        }
    }

    async fn send(&mut self, index: usize) -> Result<()> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.cluster.leader(&self.topic, self.partition).await?,
        };
        let connection = self.connection.insert(connection);
        let data = PartitionProduceData::default()
            .with_index(self.partition)
            .with_records(Some(self.in_flight[index].batch.clone()));
        let topics = TopicProduceData::default()
            .with_name(topic(&self.topic))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![topics]);
        let version = connection.version::<ProduceRequest>(BY_NAME)?;
        self.in_flight[index].correlation_id = Some(connection.ask(&request, version).await?);
        Ok(())
    }

    /// The broker takes no batch of this size: halves of it may do.
    fn split(&mut self, too_large: Error) -> Result<()> {
        let Some(oldest) = self.in_flight.pop_front() else { return Ok(()) };
        let halves = rebatch::split(&oldest.batch, self.decompressed_limit)
            .map_err(|why| self.unreadable(&why))?;
        // One record that is too large stays so.
        let Some([first, second]) = halves else { return Err(too_large) };
        let (ahead, behind) = (oldest.count / 2, oldest.count - oldest.count / 2);
        for (batch, count) in [(second, behind), (first, ahead)] {
            let batch = batch.into();
            self.in_flight.push_front(Sent { batch, count, correlation_id: None });
        }
        Ok(())
    }

    fn unreadable(&self, why: &wire::Error) -> Error {
        let (topic, partition, why) = (self.topic.clone(), self.partition, why.to_string());
        Error::Unreadable { topic, partition, why }
    }
}
