//! How long the capture of a large registry takes beside what its rate limit allows, and how much
//! memory: `cargo bench --bench registry`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use testbed::registry::Options;
use testbed::workshop::Workshop;
use testbed::{EmbeddedRegistry, bins};

/// Requests in one second: forty times what Confluent Cloud allows, so that the bench ends soon.
const RATE: u32 = 1000;

#[tokio::main]
async fn main() {
    println!("subjects  requests  requests/rate  elapsed  ratio  peak memory");
    for subjects in [1_000, 10_000] {
        let registry =
            EmbeddedRegistry::start(Options::default()).await.expect("a free loopback port");
        for number in 0..subjects {
            // 2 KiB, as a record of some thirty documented fields has.
            let doc = format!("{number:<2048}");
            let schema = json!({ "type": "record", "name": "R", "doc": doc, "fields": [] });
            let schema = json!({ "schema": schema.to_string() });
            registry.register(&format!("subject-{number}-value"), &schema);
        }
        let shop = Workshop::new();
        let (storage, url) = (shop.storage(), registry.url());
        let settings = shop.write(
            "backup.yaml",
            &format!(
                "mode: backup\nbackup_id: one\nstorage: {storage}\nenterprise:\n  schema_registry:\n    \
                 url: \"{url}\"\n    rate_limit: {{ requests_per_second: {RATE} }}\n"
            ),
        );
        let start = Instant::now();
        let mut backup = Command::new(bins::path("kafka-backup"))
            .arg("backup")
            .arg("--config")
            .arg(settings)
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut peak = 0;
        let status = loop {
            peak = peak.max(peak_kib(backup.id()).unwrap_or(0));
            if let Some(status) = backup.try_wait().expect("it is our child") {
                break status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(status.success(), "the backup failed");
        let (elapsed, requests) = (start.elapsed().as_secs_f64(), registry.seen().len());
        let due = requests as f64 / f64::from(RATE);
        let (ratio, peak) = (elapsed / due, peak as f64 / 1024.0);
        println!(
            "{subjects:>8}  {requests:>8}  {due:>11.2} s  {elapsed:>5.2} s  {ratio:>5.3}  {peak:>7.1} MiB"
        );
    }
}

/// The largest resident size so far (Linux).
fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
