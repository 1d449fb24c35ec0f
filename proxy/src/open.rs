//! The connections that are open, for whoever asks the admin port.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use dashmap::DashMap;
use kafka::Address;

/// By a number that counts them.
#[derive(Debug, Default)]
pub(crate) struct OpenConnections {
    next: AtomicU64,
    open: DashMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    client: SocketAddr,
    /// The broker, where the client did not come to bootstrap.
    broker: Option<Address>,
    since: Instant,
}

impl OpenConnections {
    /// Notes one; the number takes it off again.
    pub(crate) fn add(&self, client: SocketAddr) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.insert(number, Open { client, broker: None, since: Instant::now() });
        number
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
            let seconds = it.since.elapsed().as_secs();
            format!(
                "  {{ \"client\": \"{}\", \"broker\": \"{broker}\", \"open_seconds\": {seconds} }}",
                it.client
            )
        });
        let each: Vec<String> = each.collect();
        if each.is_empty() { "[]".to_owned() } else { format!("[\n{}\n]", each.join(",\n")) }
    }
}
