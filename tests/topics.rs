//! Topics on real Kafka: what a restore chooses, renames, splits and goes on with.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kafka::{Cluster, Isolation, PartitionClient, Security};
use serde_json::Value;
use testbed::client::{self, BASE, Compression, Message, numbered, sorted};
use testbed::real::{self, Kafka, tool};
use testbed::workshop::{Workshop, done, kafka_backup, stderr, stdout};
use testbed::{Broker, bins};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

/// Records that a topic holds, by its offsets: nothing here is compacted.
async fn held(bootstrap: &str, topic: &str, partitions: i32) -> usize {
    let bootstrap = bootstrap.split(',').map(|it| it.parse().unwrap()).collect();
    let cluster = Cluster::new(bootstrap, Security::default());
    let mut records = 0;
    for partition in 0..partitions {
        let mut client = PartitionClient::new(cluster.clone(), topic, partition);
        let (start, end) = client.offsets(Isolation::ReadUncommitted).await.unwrap();
        records += end - start;
    }
    records as usize
}

fn create(bootstrap: &str, topic: &str, more: &[&str]) {
    let create = ["--bootstrap-server", bootstrap, "--create", "--topic", topic];
    tool(TOPICS, &[&create[..], more].concat(), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_chosen_and_renamed() {
    if !real::available() {
        return;
    }
    let (source, target) = (Kafka::start(1), Kafka::start(1));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    let sent = numbered(0..100, 2, 0);
    for topic in ["orders-eu", "orders-us", "other"] {
        client::create_topic(&from, topic, 2).await.unwrap();
        client::produce(&from, topic, Compression::Zstd, &sent).await.unwrap();
    }
    let shop = Workshop::new();
    done("backup", &shop.job_yaml("backup", &from, ""));

    // Renamed, and only some topics, partitions and times; the window is exact to the record.
    let end = jiff::Timestamp::from_millisecond(*BASE + 51).unwrap();
    let more = format!(
        "restore: {{ topic_mapping: {{ \"orders-*\": \"old-orders-*\" }}, source_partitions: [1], \
         partition_mapping: {{ 1: 3 }}, time_window_start: {}, time_window_end: \"{end}\", \
         default_replication_factor: 1 }}\n",
        *BASE + 10
    );
    let file = shop.job_yaml("restore", &to, &more);
    let chosen = std::fs::read_to_string(&file).unwrap();
    let chosen = chosen
        .replace("\" }\n", "\", topics: { include: [\"orders-*\"], exclude: [\"*-us\"] } }\n");
    std::fs::write(&file, chosen).unwrap();
    let restored = done("restore", &file);
    assert_eq!(restored["topics"].as_array().unwrap().len(), 1);
    assert_eq!(restored["topics"][0]["name"], "old-orders-eu");
    assert_eq!(restored["topics"][0]["created"], true);
    assert_eq!(restored["topics"][0]["records"], 20);
    let wanted: Vec<Message> = sent
        .iter()
        .filter(|it| it.partition == 1 && (10..51).contains(&(it.timestamp - *BASE)))
        .map(|it| it.clone().partition(3))
        .collect();
    assert_eq!(client::consume(&to, "old-orders-eu", 4, 20).await.unwrap(), wanted);

    // A topic that holds records: refused, and with `append` written behind them.
    let arguments = |file: &PathBuf| {
        let output =
            kafka_backup(&["restore", "--config", file.to_str().unwrap(), "--format", "json"]);
        (output.status.code(), stderr(&output), stdout(&output))
    };
    let refused = arguments(&file);
    assert_eq!(refused.0, Some(3), "{}", refused.1);
    assert!(refused.1.contains("`old-orders-eu` is not empty") && refused.1.contains("append"));
    let appending = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        appending.replace("time_window_start", "into_non_empty: append, time_window_start"),
    )
    .unwrap();
    done("restore", &file);
    let twice: Vec<Message> = wanted.iter().chain(&wanted).cloned().collect();
    assert_eq!(client::consume(&to, "old-orders-eu", 4, 40).await.unwrap(), twice);

    // Mistakes are told before anything is written.
    for (more, why) in [
        ("restore: { topic_mapping: { orders-eu: x, orders-us: x } }\n", "would both become `x`"),
        ("restore: { partition_mapping: { 0: 1 } }\n", "would both become partition 1"),
        ("restore: { create_topics: false }\n", "is not in the target (create_topics: false)"),
    ] {
        let (code, text, _) = arguments(&shop.job_yaml("restore", &to, more));
        assert_eq!(code, Some(3), "{text}");
        assert!(text.contains(why), "{text}");
    }
    let (code, text, _) =
        arguments(&shop.job_yaml("restore", &to, "restore: { time_window_start: yesterday }\n"));
    assert_eq!(code, Some(2));
    assert!(text.contains("neither milliseconds since 1970 nor RFC 3339"), "{text}");
    let (code, _, report) =
        arguments(&shop.job_yaml("restore", &to, "restore: { dry_run: true }\n"));
    assert_eq!(code, Some(0));
    let report: Value = serde_json::from_str(&report).unwrap();
    let first = &report["topics"][0];
    assert_eq!(
        (&first["target"], &first["create"], &first["records"]),
        (&"orders-eu".into(), &true.into(), &100.into())
    );
}

fn dry_run(settings: &Path) -> [&str; 4] {
    ["restore", "--dry-run", "--config", settings.to_str().unwrap()]
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_are_too_large_for_the_target_are_split() {
    if !real::available() {
        return;
    }
    let (source, target) = (Kafka::start(1), Kafka::start(1));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    client::create_topic(&from, "large", 1).await.unwrap();
    let sent = numbered(0..400, 1, 2000);
    client::produce(&from, "large", Compression::None, &sent).await.unwrap();
    create(&to, "large", &["--config", "max.message.bytes=9000"]);
    let shop = Workshop::new();
    done("backup", &shop.job_yaml("backup", &from, "backup: { segment_max_records: 100 }\n"));
    let manifest = std::fs::read(shop.path("store/one/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let segments = manifest["topics"][0]["partitions"][0]["segments"].as_array().unwrap();
    assert!((2..=4).contains(&segments.len()), "{segments:?}");
    assert!(segments[0]["records"].as_u64().unwrap() >= 100);
    let file = shop.job_yaml("restore", &to, "");
    assert_eq!(done("restore", &file)["topics"][0]["records"], 400);
    assert_eq!(client::consume(&to, "large", 1, 400).await.unwrap(), sent);

    assert!(!stderr(&kafka_backup(&dry_run(&file))).contains("retention.ms"));
    create(&to, "short", &["--config", "retention.ms=1000"]);
    let mapped = shop.job_yaml("restore", &to, "restore: { topic_mapping: { large: short } }\n");
    let warned = stderr(&kafka_backup(&dry_run(&mapped)));
    assert!(warned.contains("400 records are older than its retention.ms of 1000"), "{warned}");

    // A single record that is too large ends it with the broker's word.
    create(&to, "small", &["--config", "max.message.bytes=900"]);
    let mapped = shop.job_yaml("restore", &to, "restore: { topic_mapping: { large: small } }\n");
    let output = kafka_backup(&["restore", "--config", mapped.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("MessageTooLarge"), "{}", stderr(&output));
}

/// Kills restores at random moments; the run that ends them has lost and doubled nothing.
#[tokio::test(flavor = "multi_thread")]
async fn killed_restores_go_on_where_they_were() {
    if !real::available() {
        return;
    }
    let (source, target) = (Kafka::start(1), Kafka::start(1));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    client::create_topic(&from, "orders", 3).await.unwrap();
    let sent = numbered(0..9000, 3, 300);
    // Some hundred batches.
    for part in sent.chunks(60) {
        client::produce(&from, "orders", Compression::Lz4, part).await.unwrap();
    }
    let shop = Workshop::new();
    done("backup", &shop.job_yaml("backup", &from, ""));
    let mut resumed = 0;
    for round in 0_u64..10 {
        let name = format!("orders-{round}");
        let more =
            |rate: &str| format!("restore: {{ topic_mapping: {{ orders: {name} }}{rate} }}\n");
        // Slow enough to be hit at every stage.
        let slow = shop.job_yaml("restore", &to, &more(", rate_limit: 40000"));
        for kill in 0..2 {
            let mut child = Command::new(bins::path("kafka-backup"))
                .args(["restore", "--config", slow.to_str().unwrap()])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(300 + 130 * round + 900 * kill));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let restored = done("restore", &shop.job_yaml("restore", &to, &more("")));
        let topic = &restored["topics"][0];
        assert_eq!(topic["records"], sent.len(), "{restored}");
        resumed += u32::from(topic["records_before"].as_u64().unwrap() > 0);
        let found = client::consume(&to, &name, 3, sent.len()).await.unwrap();
        assert_eq!(found, sorted(sent.clone()), "round {round}");
        assert_eq!(held(&to, &name, 3).await, sent.len(), "round {round}");
        assert!(!shop.path("store/one/restore-in-progress").exists());
    }
    assert!(resumed > 2, "no kill came in the middle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_is_ridden_out() {
    if !real::available() {
        return;
    }
    let (mut source, mut target) = (Kafka::start(1), Kafka::start(1));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    client::create_topic(&from, "orders", 2).await.unwrap();
    let sent = numbered(0..4000, 2, 500);
    for part in sent.chunks(40) {
        client::produce(&from, "orders", Compression::Gzip, part).await.unwrap();
    }
    source.restart(0);
    let shop = Workshop::new();
    done("backup", &shop.job_yaml("backup", &from, ""));
    let file = shop.job_yaml("restore", &to, "restore: { rate_limit: 40000 }\n");
    let mut command = Command::new(bins::path("kafka-backup"));
    command.args(["restore", "--config", file.to_str().unwrap()]).stdout(Stdio::null());
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    target.restart(0);
    let output = child.wait_with_output().unwrap();
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("restored: ") && text.contains("%, "), "no progress was told: {text}");
    let found = client::consume(&to, "orders", 2, sent.len()).await.unwrap();
    assert_eq!(held(&to, "orders", 2).await, sent.len());
    assert_eq!(found, sorted(sent));
}

/// A backup and a restore that lose a broker of three go on with the leaders that follow.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_is_ridden_out() {
    if !real::available() {
        return;
    }
    let (mut source, mut target) = (Kafka::start(3), Kafka::start(3));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    create(&from, "orders", &["--partitions", "6", "--replication-factor", "3"]);
    let sent = numbered(0..3000, 6, 300);
    for part in sent.chunks(60) {
        client::produce(&from, "orders", Compression::None, part).await.unwrap();
    }
    source.stop(1);
    let shop = Workshop::new();
    done("backup", &shop.job_yaml("backup", &from, ""));
    let file = shop.job_yaml("restore", &to, "restore: { rate_limit: 300000 }\n");
    let mut command = Command::new(bins::path("kafka-backup"));
    command.args(["restore", "--config", file.to_str().unwrap()]).stdout(Stdio::null());
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    target.stop(1);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let found = client::consume(&to, "orders", 6, sent.len()).await.unwrap();
    assert_eq!(held(&to, "orders", 6).await, sent.len());
    assert_eq!(found, sorted(sent));
}
