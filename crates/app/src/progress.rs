//! How far a job is: a bar on a terminal, a log line every few seconds elsewhere.

use std::io::{self, Write};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{
    HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle,
};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Between two log lines.
const EVERY: Duration = Duration::from_secs(5);
/// Between two pictures of the bar.
const FRAME: Duration = Duration::from_millis(200);

/// The bars on this terminal; hidden where stderr is none.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Shows none of them.
pub fn hide() {
    BARS.set_draw_target(ProgressDrawTarget::hidden());
}

/// Counts what is done of a known total.
#[derive(Debug)]
pub struct Progress {
    verb: &'static str,
    bar: ProgressBar,
    bytes: AtomicU64,
    started: Instant,
}

impl Progress {
    /// Begins at nothing of `total`, in whatever unit; `verb` is what is done to it.
    pub fn new(verb: &'static str, total: u64) -> Self {
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {percent}%  {msg}");
        let bar = ProgressBar::new(total).with_prefix(verb);
        bar.set_style(style.expect("the template is correct"));
        Self { verb, bar, bytes: AtomicU64::new(0), started: Instant::now() }
    }

    /// Counts what was done, and the bytes that it had.
    pub fn add(&self, done: u64, bytes: usize) {
        self.bar.inc(done);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Shows the progress while `work` goes on.
    pub async fn beside<T>(&self, work: impl Future<Output = T>) -> T {
        let bar = BARS.add(self.bar.clone());
        let on_terminal = !BARS.is_hidden();
        let mut ticks = interval(if on_terminal { FRAME } else { EVERY });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks.tick().await;
        let mut work = std::pin::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                _ = ticks.tick() => {}
            }
            if on_terminal {
                bar.set_message(self.rate());
            } else {
                let share = bar.position() * 100 / bar.length().unwrap_or(0).max(1);
                tracing::info!("{}: {share}%, {}", self.verb, self.rate());
            }
        };
        bar.finish_and_clear();
        BARS.remove(&bar);
        done
    }

    fn rate(&self) -> String {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let second = (bytes as f64 / self.started.elapsed().as_secs_f64().max(0.001)) as u64;
        let left = HumanDuration(self.bar.eta());
        format!("{}, {}/s, {left} left", HumanBytes(bytes), HumanBytes(second))
    }
}

/// stderr, where a line does not run into a bar.
#[derive(Debug, Clone, Copy)]
pub struct AboveProgress;

impl Write for AboveProgress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        BARS.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
