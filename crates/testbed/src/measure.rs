//! What a process costs, from Linux's own books.

use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// The costs of a process that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// How it ended.
    pub status: ExitStatus,
    /// From start to end.
    pub elapsed: Duration,
    /// User and system time of all its threads, in steps of 10 ms.
    pub cpu: Duration,
    /// The largest resident size that was seen, bytes.
    pub peak_memory: u64,
}

/// Runs a process to its end.
///
/// # Panics
///
/// Where it can't be started, or there is no `/proc`.
pub fn run(command: &mut Command) -> Cost {
    let start = Instant::now();
    let mut child = command.spawn().expect("it can be started");
    let mut peak_memory = 0;
    // A zombie's times can be read until it is waited for.
    while state(&child) != Some('Z') {
        peak_memory = peak_memory.max(peak(&child).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    let elapsed = start.elapsed();
    let cpu = cpu(&child).expect("a zombie has times");
    let status = child.wait().expect("it is our child");
    Cost { status, elapsed, cpu, peak_memory }
}

/// The fields of `/proc/{pid}/stat` from the state on; the name before may contain anything.
fn stat(child: &Child) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

fn state(child: &Child) -> Option<char> {
    stat(child)?.first()?.chars().next()
}

fn cpu(child: &Child) -> Option<Duration> {
    let fields = stat(child)?;
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // USER_HZ is 100 on every Linux that Rust supports.
    Some(Duration::from_millis(ticks * 10))
}

fn peak(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
