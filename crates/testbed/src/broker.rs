//! A Kafka cluster to test against: embedded or real, behind one trait.

use krafka::testing::FakeBroker;

/// A running cluster; it stops when dropped.
pub trait Broker: Send + Sync {
    /// `host:port,host:port`.
    fn bootstrap(&self) -> String;
}

/// An in-memory cluster of this process.
#[derive(Debug)]
pub struct Embedded {
    fake: FakeBroker,
}

impl Embedded {
    /// Starts brokers 0 to `brokers - 1` on free loopback ports.
    pub async fn start(brokers: usize) -> krafka::error::Result<Self> {
        Ok(Self { fake: FakeBroker::start_cluster(brokers).await? })
    }

    /// The broker itself, for faults and for its log.
    pub fn fake(&self) -> &FakeBroker {
        &self.fake
    }
}

impl Broker for Embedded {
    fn bootstrap(&self) -> String {
        self.fake.bootstrap_servers()
    }
}
