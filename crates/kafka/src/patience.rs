use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{Error, Result};

/// How long a leader or a coordinator may be missing: elections and broker restarts take less.
const PATIENCE: Duration = Duration::from_mins(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Waits between tries, longer each time, until there have been enough.
#[derive(Debug)]
pub(crate) struct Patience {
    deadline: Instant,
    pause: Duration,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { deadline: Instant::now() + PATIENCE, pause: FIRST_PAUSE }
    }

    /// Waits where trying again may help; gives the error back where it may not.
    pub(crate) async fn after(&mut self, error: Error) -> Result<()> {
        if !error.is_transient() || Instant::now() + self.pause >= self.deadline {
            return Err(error);
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
