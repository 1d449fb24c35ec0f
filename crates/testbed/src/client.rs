//! A Kafka client that is not ours (krafka), to produce and consume with.

use std::ops::Range;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use krafka::admin::{CreateTopicsOptions, NewTopic};
use krafka::consumer::{AutoOffsetReset, IsolationLevel};
use krafka::{Kafka, Record};

pub use krafka::Compression;

/// Every codec that Kafka has.
pub const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// The result of a client's work.
pub type Result<T> = krafka::error::Result<T>;

/// A record as a user sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// Which partition.
    pub partition: i32,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// In order, duplicates kept.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// ms since 1970.
    pub timestamp: i64,
}

impl Message {
    /// A record of partition 0.
    pub fn new(key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        let own = |it: Option<&[u8]>| it.map(Bytes::copy_from_slice);
        let (partition, headers, timestamp) = (0, Vec::new(), 1_700_000_000_000);
        Self { partition, key: own(key), value: own(value), headers, timestamp }
    }

    /// The same record with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &[u8]) -> Self {
        self.headers.push((name.to_owned(), Some(Bytes::copy_from_slice(value))));
        self
    }

    /// The same record in another partition.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = partition;
        self
    }
}

/// When message 0 of [`numbered`] was written: an hour ago, or Kafka's retention would delete what
/// was just written.
pub static BASE: LazyLock<i64> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    now.as_millis() as i64 - 3_600_000
});

/// Messages with their numbers as keys, and as values before some padding; a millisecond each, in
/// partitions by turns.
pub fn numbered(numbers: Range<i64>, partitions: i64, padding: usize) -> Vec<Message> {
    let message = |it: i64| {
        let value = format!("{it:08}{}", "x".repeat(padding));
        let mut message = Message::new(Some(&it.to_be_bytes()), Some(value.as_bytes()));
        message.timestamp = *BASE + it;
        message.partition((it % partitions) as i32)
    };
    numbers.map(message).collect()
}

/// In the order in which [`consume`] gives them.
pub fn sorted(mut messages: Vec<Message>) -> Vec<Message> {
    messages.sort_by_key(|it| it.partition);
    messages
}

/// The magic byte, an id and a payload.
pub fn framed(id: u32, payload: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], payload].concat()
}

/// The id of a framed payload.
pub fn id_of(payload: &[u8]) -> Option<u32> {
    match payload {
        [0, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

async fn connect(bootstrap: &str) -> Result<Kafka> {
    Kafka::builder(bootstrap).client_id("testbed").connect().await
}

/// Creates a topic.
pub async fn create_topic(bootstrap: &str, topic: &str, partitions: i32) -> Result<()> {
    let admin = connect(bootstrap).await?.admin();
    let new = NewTopic::new(topic, partitions, 1)?;
    let created = admin.create_topics([new], CreateTopicsOptions::default()).await?;
    created.into_values().try_for_each(|it| it.map(drop))
}

/// Produces all records, in order, as few batches.
pub async fn produce(
    bootstrap: &str,
    topic: &str,
    compression: Compression,
    messages: &[Message],
) -> Result<()> {
    let kafka = connect(bootstrap).await?;
    let producer =
        kafka.producer().compression(compression).linger(Duration::from_millis(5)).build().await?;
    let mut deliveries = Vec::with_capacity(messages.len());
    for message in messages {
        let mut record = match &message.value {
            Some(value) => Record::new(topic, value.clone()),
            None => Record::new(topic, Bytes::new()).without_value(),
        };
        if let Some(key) = &message.key {
            record = record.key(key.clone());
        }
        for (name, value) in &message.headers {
            record = match value {
                Some(value) => record.header(name, value.clone()),
                None => record.null_header(name),
            };
        }
        record = record.partition(message.partition).timestamp(message.timestamp);
        deliveries.push(producer.enqueue(record).await?);
    }
    producer.flush().await?;
    for delivery in deliveries {
        _ = delivery.await?;
    }
    producer.close().await
}

/// Reads partitions `0..partitions` from their start until `count` records are there, by partition
/// and offset.
///
/// # Errors
///
/// Where fewer come within 20 s, they are given as they are: the caller's comparison tells more.
pub async fn consume(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    count: usize,
) -> Result<Vec<Message>> {
    let found = consume_at(bootstrap, topic, partitions, count).await?;
    Ok(found.into_iter().map(|(_, message)| message).collect())
}

/// The same, each with its offset.
///
/// # Errors
///
/// As [`consume`].
pub async fn consume_at(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    count: usize,
) -> Result<Vec<(i64, Message)>> {
    let kafka = connect(bootstrap).await?;
    let consumer = kafka
        .consumer_without_group()
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .isolation_level(IsolationLevel::ReadCommitted)
        .build()
        .await?;
    consumer.assign(topic, (0..partitions).collect()).await?;
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut found = Vec::new();
    while found.len() < count && Instant::now() < deadline {
        for record in consumer.poll(Duration::from_millis(200)).await? {
            let message = Message {
                partition: record.partition,
                key: record.key,
                value: record.value,
                headers: record.headers,
                timestamp: record.timestamp,
            };
            found.push((record.partition, record.offset, message));
        }
    }
    consumer.close().await?;
    found.sort_by_key(|(partition, offset, _)| (*partition, *offset));
    Ok(found.into_iter().map(|(_, offset, message)| (offset, message)).collect())
}
