//! How long the capture of a large registry takes beside what its rate limit allows, and how much
//! memory: `cargo bench --bench registry`.

use std::process::{Command, Stdio};

use serde_json::json;
use testbed::registry::Options;
use testbed::workshop::Workshop;
use testbed::{EmbeddedRegistry, bins, measure};

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
        let mut command = Command::new(bins::path("kafka-backup"));
        command.arg("backup").arg("--config").arg(settings).stdout(Stdio::null());
        let cost = tokio::task::spawn_blocking(move || measure::run(&mut command)).await;
        let cost = cost.expect("nothing in it panics");
        assert!(cost.status.success(), "the backup failed");
        let (elapsed, requests) = (cost.elapsed.as_secs_f64(), registry.seen().len());
        let due = requests as f64 / f64::from(RATE);
        let (ratio, peak) = (elapsed / due, cost.peak_memory as f64 / 1_048_576.0);
        println!(
            "{subjects:>8}  {requests:>8}  {due:>11.2} s  {elapsed:>5.2} s  {ratio:>5.3}  {peak:>7.1} MiB"
        );
    }
}
