//! Bad input: one clear line, the right exit code, and nothing half-written.

use std::process::Command;

use testbed::broker::Embedded;
use testbed::client::{self, Compression, Message};
use testbed::registry::Options;
use testbed::workshop::{Workshop, done, kafka_backup, stderr};
use testbed::{Broker, EmbeddedRegistry, bins, free_port};

const BACKUP: &str = "mode: backup\nbackup_id: one\nsource: { bootstrap_servers: [\"KAFKA\"] }\n\
                      storage: STORAGE\n";

/// What is wrong, the command, the settings, the exit code, and what the line says.
type Case = (&'static str, &'static str, String, i32, String);

fn check((what, command, yaml, code, message): Case, shop: &Workshop) {
    let yaml = yaml.replace("STORAGE", &shop.storage());
    let file = shop.write("settings.yaml", &yaml);
    let output = kafka_backup(&[command, "--config", file.to_str().unwrap()]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{what}: {text}");
    let line = text.lines().find(|it| it.starts_with("error: ")).unwrap_or_default();
    assert!(line.contains(&message), "{what}: `{text}` lacks `{message}`");
    assert_eq!(text.lines().filter(|it| it.starts_with("error")).count(), 1, "{what}: {text}");
    assert!(!shop.path("store").exists(), "{what}: something was written");
}

#[test]
fn settings() {
    let shop = Workshop::new();
    let place = shop.path("settings.yaml").display().to_string();
    let dead = format!("127.0.0.1:{}", free_port());
    let backup = BACKUP.replace("KAFKA", &dead);
    let registry = "enterprise: { schema_registry: { url: \"http://REGISTRY\" } }\n";
    let cases: Vec<Case> = vec![
        (
            "an unknown key",
            "backup",
            backup.replace("source", "sourec"),
            2,
            format!("{place}:3:1: unknown key `sourec`; did you mean `source`?"),
        ),
        (
            "an unset variable",
            "backup",
            backup.replace("backup_id: one", "backup_id: \"${NOT_SET_ANYWHERE}\""),
            2,
            "environment variable `NOT_SET_ANYWHERE` is not set".to_owned(),
        ),
        (
            "another mode",
            "restore",
            backup.clone(),
            2,
            "`mode: backup` is not what this".to_owned(),
        ),
        (
            "no such backend",
            "backup",
            backup.replace("STORAGE", "{ backend: azure }"),
            2,
            "azure".to_owned(),
        ),
        (
            "no path",
            "backup",
            backup.replace("STORAGE", "{ backend: filesystem }"),
            2,
            "`path` is missing".to_owned(),
        ),
        (
            "an id that leads elsewhere",
            "backup",
            backup.replace("backup_id: one", "backup_id: ../x"),
            2,
            "`backup_id` must be a plain name".to_owned(),
        ),
        (
            "no port",
            "backup",
            BACKUP.replace("KAFKA", "kafka"),
            2,
            "`kafka` is not host:port".to_owned(),
        ),
        ("no YAML", "backup", "mode: [".to_owned(), 2, format!("{place}:")),
        (
            "an unreachable broker",
            "backup",
            backup.clone(),
            1,
            format!("no bootstrap server can be reached: broker {dead}"),
        ),
        (
            "an unreachable registry",
            "backup",
            format!(
                "mode: backup\nbackup_id: one\nstorage: STORAGE\n{}",
                registry.replace("REGISTRY", &dead)
            ),
            1,
            format!("http://{dead}/config can't be reached"),
        ),
    ];
    for case in cases {
        check(case, &shop);
    }
    let output = kafka_backup(&["backup", "--config", "/does/not/exist.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("/does/not/exist.yaml: No such file"), "{}", stderr(&output));
}

#[test]
fn config_check_hides_secrets() {
    let shop = Workshop::new();
    let yaml = BACKUP.replace("KAFKA", "kafka:9092").replace("STORAGE", &shop.storage())
        + "enterprise:\n  schema_registry:\n    url: http://registry\n    \
           auth: { type: basic, username: me, password: \"${SR_PASSWORD}\" }\n";
    let file = shop.write("backup.yaml", &yaml);
    let output = Command::new(bins::path("kafka-backup"))
        .args(["config", "check", "--config", file.to_str().unwrap()])
        .env("SR_PASSWORD", "hunter2")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = testbed::workshop::stdout(&output) + &stderr(&output);
    assert!(text.contains("********") && !text.contains("hunter2"), "{text}");
}

#[test]
fn the_proxys_map() {
    let shop = Workshop::new();
    let with = |map: &std::path::Path, more: &[&str]| {
        let yaml = shop.proxy_yaml("127.0.0.1:1", map, "{ produce: true }");
        let mut proxy = Command::new(bins::path("schema-proxy"));
        proxy.arg("--config").arg(yaml).args(more).output().unwrap()
    };
    let run = |map: &std::path::Path| with(map, &[]);
    // A run would wait for it.
    let missing = with(&shop.path("none.json"), &["--check"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("none.json does not exist"), "{}", stderr(&missing));
    let broken = run(&shop.write("map.json", "{\"5\": 105,\n\"5\": 106}"));
    assert_eq!(broken.status.code(), Some(2));
    let text = stderr(&broken);
    assert!(text.contains("map.json: schema id 5 is given twice at line 2"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn artefacts() {
    let kafka = Embedded::start(1).await.unwrap();
    let registry = EmbeddedRegistry::start(Options::default()).await.unwrap();
    registry.register("orders-value", &serde_json::json!({ "schema": "\"string\"" }));
    client::create_topic(&kafka.bootstrap(), "orders", 1).await.unwrap();
    let message = Message::new(None, Some(b"payload"));
    client::produce(&kafka.bootstrap(), "orders", Compression::None, &[message]).await.unwrap();
    let shop = Workshop::new();
    let backup = shop.backup_yaml("one", &kafka.bootstrap(), &registry.url());
    done("backup", &backup);

    // Another cluster's offsets mean nothing beside these.
    let elsewhere = Embedded::start(1).await.unwrap();
    client::create_topic(&elsewhere.bootstrap(), "orders", 1).await.unwrap();
    let elsewhere = shop.backup_yaml("one", &elsewhere.bootstrap(), &registry.url());
    let again = kafka_backup(&["backup", "--config", elsewhere.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("another backup_id"), "{}", stderr(&again));

    let target = Embedded::start(1).await.unwrap();
    let other = EmbeddedRegistry::start(Options::default()).await.unwrap();
    let restore = shop.restore_yaml("one", &target.bootstrap(), &other.url());
    let store = shop.path("store/one");
    let damages: [(&str, &str, i32); 4] = [
        ("topics/orders/0/00000000000000000000.log", "bytes where", 3),
        ("schema-registry/subjects/orders-value/v1.json", "bytes where", 3),
        ("schema-registry/_manifest.json", "bytes where", 1),
        ("manifest.json", "manifest.json is damaged", 1),
    ];
    for (object, message, code) in damages {
        let path = store.join(object);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let output = kafka_backup(&["restore", "--config", restore.to_str().unwrap()]);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{object}: {text}");
        assert!(
            text.contains(message) && text.contains(path.to_str().unwrap()),
            "{object}: {text}"
        );
        std::fs::write(&path, whole).unwrap();
    }
    assert_eq!(target.fake().next_offset("orders", 0), None, "no topic was created");
    assert!(other.seen().iter().all(|it| it.method == "GET"), "the target was only read");

    std::fs::remove_file(store.join("manifest.json")).unwrap();
    let arguments = ["describe", "--path", shop.path("store").to_str().unwrap(), "--backup-id"]
        .map(str::to_owned);
    let describe = |id: &str| {
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.push(id);
        stderr(&kafka_backup(&arguments))
    };
    assert!(describe("one").contains("is unfinished"), "{}", describe("one"));
    assert!(describe("two").contains("no backup `two`"), "{}", describe("two"));
    assert!(describe("two").contains("there are: one"), "{}", describe("two"));
}

/// The whole configuration reference of OSO kafka-backup, as a backup and as a restore.
#[test]
fn settings_of_oso_kafka_backup_load() {
    let connection = "connection: { tcp_keepalive: true, keepalive_time_secs: 60, \
                      keepalive_interval_secs: 20, tcp_nodelay: true, connections_per_broker: 4 }";
    let security = "security: { security_protocol: PLAINTEXT }";
    let cluster = |side: &str| {
        format!(
            "{side}:\n  bootstrap_servers: [\"127.0.0.1:1\"]\n  topics: {{ include: [\"*\", \"~a.b\"], \
             exclude: [\"__*\"] }}\n  {security}\n  {connection}\n"
        )
    };
    let rest = "offset_storage: { backend: sqlite, db_path: ./offsets.db, s3_key: k, sync_interval_secs: 30 }\n\
                metrics: { enabled: true, port: 8080, bind_address: 0.0.0.0, path: /metrics, \
                keep_alive_seconds: 0, max_partition_labels: 100 }\n";
    let backup = "backup: { compression: zstd, continuous: false, stop_at_current_offsets: false, \
                  poll_interval_ms: 100, checkpoint_interval_secs: 60, segment_max_records: 100000, \
                  segment_max_bytes: 104857600, segment_max_age_secs: 3600, \
                  max_concurrent_partitions: 8, fetch_max_bytes: 1048576, \
                  include_offset_headers: true, source_cluster_id: one }\n";
    let restore = "restore: { dry_run: false, time_window_start: 1, time_window_end: 2, \
                   source_partitions: [0], topic_mapping: { a: b }, partition_mapping: { 0: 1 }, \
                   include_original_offset_header: false, consumer_group_strategy: skip, \
                   consumer_groups: [], reset_consumer_offsets: false, auto_consumer_groups: false, \
                   offset_report: r.json, max_concurrent_partitions: 4, produce_batch_size: 1000, \
                   checkpoint_state: ./state, checkpoint_interval_secs: 60, create_topics: false, \
                   default_replication_factor: -1 }\n";
    let shop = Workshop::new();
    let storage = "storage: { backend: s3, bucket: b, region: r, prefix: p, endpoint: \"http://e\", \
                   path_style: true, access_key_id: a, secret_access_key: s }\n";
    let check = |yaml: &str| {
        let file = shop.write("settings.yaml", yaml);
        let output = kafka_backup(&["config", "check", "--config", file.to_str().unwrap()]);
        (output.status.code(), stderr(&output))
    };
    let warned = |text: &str, keys: &[&str]| {
        assert_eq!(text.matches("has no meaning here").count(), keys.len(), "{text}");
        assert!(
            keys.iter().all(|it| text.contains(&format!("`{it}` has no meaning here"))),
            "{text}"
        );
    };
    let head = |mode: &str| format!("mode: {mode}\nbackup_id: one\n{storage}{rest}");
    let (code, text) = check(&(head("backup") + &cluster("source") + backup));
    assert_eq!(code, Some(0), "{text}");
    warned(
        &text,
        &[
            "source.connection",
            "backup.compression",
            "backup.include_offset_headers",
            "backup.source_cluster_id",
            "backup.poll_interval_ms",
            "backup.checkpoint_interval_secs",
            "offset_storage",
            "metrics",
        ],
    );
    let (code, text) = check(&(head("restore") + &cluster("target") + restore));
    assert_eq!(code, Some(0), "{text}");
    warned(
        &text,
        &[
            "target.connection",
            "offset_storage",
            "metrics",
            "restore.produce_batch_size",
            "restore.checkpoint_state",
            "restore.checkpoint_interval_secs",
            "restore.offset_report",
        ],
    );

    // What would be missed if it were ignored.
    for (key, value) in [
        (
            "restore.include_original_offset_header",
            "restore: { include_original_offset_header: true }",
        ),
        ("restore.rate_limit_records_per_sec", "restore: { rate_limit_records_per_sec: 5 }"),
    ] {
        let (code, text) = check(&format!("{}{}{value}\n", head("backup"), cluster("source")));
        assert_eq!(code, Some(2), "{text}");
        assert!(
            text.contains(&format!("`{key}` asks for what kafka-backup does not do yet")),
            "{text}"
        );
    }
    let azure = head("backup").replace("backend: s3", "backend: azure") + &cluster("source");
    let (code, text) = check(&azure);
    assert_eq!(code, Some(2));
    assert!(text.contains("azure and gcs are not there yet"), "{text}");
}
