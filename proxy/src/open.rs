//! The connections that are open, for whoever asks the admin port.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use dashmap::DashMap;
use kafka::Address;
use serde::Serialize;

/// By a number that counts them.
#[derive(Debug, Default)]
pub(crate) struct OpenConnections {
    next: AtomicU64,
    open: DashMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    client: SocketAddr,
    /// Who has shown credentials to us.
    user: Option<String>,
    /// The broker, where the client did not come to bootstrap.
    broker: Option<Address>,
    since: Instant,
}

#[derive(Serialize)]
struct Shown {
    client: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    broker: String,
    open_seconds: u64,
}

impl OpenConnections {
    /// Notes one; the number takes it off again.
    pub(crate) fn add(&self, client: SocketAddr) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.insert(number, Open { client, user: None, broker: None, since: Instant::now() });
        number
    }

    /// Notes who it is.
    pub(crate) fn set_user(&self, number: u64, user: String) {
        if let Some(mut open) = self.open.get_mut(&number) {
            open.user = Some(user);
        }
    }

    /// Notes the broker that it goes to.
    pub(crate) fn set_broker(&self, number: u64, broker: &Address) {
        if let Some(mut open) = self.open.get_mut(&number) {
            open.broker = Some(broker.clone());
        }
    }

    pub(crate) fn remove(&self, number: u64) {
        self.open.remove(&number);
    }

    /// All of them, oldest first.
    pub(crate) fn json(&self) -> String {
        let mut all: Vec<_> = self.open.iter().collect();
        all.sort_unstable_by_key(|it| *it.key());
        let each = all.iter().map(|it| {
            let broker = it.broker.as_ref().map_or("bootstrap".to_owned(), Address::to_string);
            Shown {
                client: it.client,
                user: it.user.clone(),
                broker,
                open_seconds: it.since.elapsed().as_secs(),
            }
        });
        let each: Vec<Shown> = each.collect();
        serde_json::to_string_pretty(&each).expect("its keys are strings")
    }
}
