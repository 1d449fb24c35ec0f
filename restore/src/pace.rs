//! How fast records go.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Lets bytes go no faster than a rate, over all partitions.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Option<u64>,
    /// When the bytes that went have been paid for.
    paid: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self { rate, paid: Mutex::new(Instant::now()) }
    }

    pub(crate) async fn wait(&self, bytes: usize) {
        let Some(rate) = self.rate else { return };
        let mut paid = self.paid.lock().await;
        let start = (*paid).max(Instant::now());
        *paid = start + Duration::from_secs_f64(bytes as f64 / rate as f64);
        drop(paid);
        sleep_until(start).await;
    }
}
