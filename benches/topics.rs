//! What it costs to back up and restore 1 GB of records, beside Kafka's own consumer and producer:
//! `cargo bench --bench topics`. Needs Java and Maven; `GIGABYTES=10` for more.

use std::process::{Command, Stdio};
use std::time::Instant;

use testbed::client;
use testbed::measure::{self, Cost};
use testbed::real::{self, Kafka, tool};
use testbed::workshop::Workshop;
use testbed::{Broker, bins};

const PARTITIONS: i32 = 4;
const RECORD: u64 = 1024;

fn main() {
    if !real::available() {
        return;
    }
    let gigabytes = std::env::var("GIGABYTES").ok().and_then(|it| it.parse().ok()).unwrap_or(1.0);
    let records = (gigabytes * 1e9 / RECORD as f64) as u64;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let (source, target) = (Kafka::start(1), Kafka::start(1));
    let bootstrap = source.bootstrap();
    runtime
        .block_on(client::create_topic(&bootstrap, "load", PARTITIONS))
        .expect("a new cluster takes a topic");

    println!("{records} records of {RECORD} bytes, lz4, {PARTITIONS} partitions");
    println!("{:<34} {:>8} {:>8} {:>10}", "", "wall", "CPU", "memory");
    let servers = format!("bootstrap.servers={bootstrap}");
    let (count, size) = (records.to_string(), RECORD.to_string());
    let load = ["--topic", "load", "--num-records", &count, "--record-size", &size];
    let how = ["--throughput", "-1", "--producer-props", &servers, "compression.type=lz4"];
    let start = Instant::now();
    tool("org.apache.kafka.tools.ProducerPerformance", &[&load[..], &how].concat(), b"");
    println!("{:<34} {:>6.2} s", "Kafka's ProducerPerformance", start.elapsed().as_secs_f64());
    let read = ["--bootstrap-server", &bootstrap, "--topic", "load", "--num-records", &count];
    let start = Instant::now();
    tool("org.apache.kafka.tools.ConsumerPerformance", &read, b"");
    println!("{:<34} {:>6.2} s", "Kafka's ConsumerPerformance", start.elapsed().as_secs_f64());

    let shop = Workshop::new();
    let storage = shop.storage();
    let backup = shop.write(
        "backup.yaml",
        &format!(
            "mode: backup\nbackup_id: one\nsource: {{ bootstrap_servers: \"{bootstrap}\" }}\n\
             storage: {storage}\n"
        ),
    );
    let restore = shop.write(
        "restore.yaml",
        &format!(
            "mode: restore\nbackup_id: one\ntarget: {{ bootstrap_servers: \"{}\" }}\n\
             storage: {storage}\n",
            target.bootstrap()
        ),
    );
    for (what, command, file) in
        [("kafka-backup backup", "backup", backup), ("kafka-backup restore", "restore", restore)]
    {
        let mut process = Command::new(bins::path("kafka-backup"));
        process.arg(command).arg("--config").arg(file).stdout(Stdio::null());
        let cost = measure::run(&mut process);
        assert!(cost.status.success(), "{what} failed");
        print(what, cost);
    }
}

fn print(what: &str, cost: Cost) {
    println!(
        "{what:<34} {:>6.2} s {:>6.2} s {:>6.1} MiB",
        cost.elapsed.as_secs_f64(),
        cost.cpu.as_secs_f64(),
        cost.peak_memory as f64 / 1_048_576.0
    );
}
