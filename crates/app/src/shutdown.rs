//! How a process is asked to stop, or to read its files again.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for SIGTERM or SIGINT and names it.
pub async fn asked() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

/// SIGHUPs, from now on.
#[derive(Debug)]
pub struct HangUps(Signal);

impl HangUps {
    /// Begins to listen.
    pub fn listen() -> std::io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for the next one; several that come at once count as one.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}
