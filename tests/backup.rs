//! Backups that grow: run by run, continuously, by several machines, and through kills. On real
//! Kafka; each is restored and compared record by record.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::client::{self, BASE, Compression, Message, numbered, sorted};
use testbed::real::{self, Kafka, tool};
use testbed::registry::Options;
use testbed::workshop::{Workshop, done, kafka_backup, stderr, stdout};
use testbed::{Broker, EmbeddedRegistry, bins};

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = kafka_backup(arguments);
    (output.status.code(), stdout(&output), stderr(&output))
}

fn of_backup(command: &str, shop: &Workshop, more: &[&str]) -> Value {
    let store = shop.path("store");
    let arguments = [command, "--path", store.to_str().unwrap(), "--backup-id", "one"];
    let (code, out, text) = run(&[&arguments[..], &["--format", "json"], more].concat());
    assert_eq!(code, Some(0), "{out}{text}");
    serde_json::from_str(&out).unwrap()
}

fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(bins::path("kafka-backup"));
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn backup_of(file: &Path) -> [&str; 3] {
    ["backup", "--config", file.to_str().unwrap()]
}

/// Deletes a subject for good.
fn forget(registry: &EmbeddedRegistry, subject: &str) {
    for how in ["", "?permanent=true"] {
        registry.call("DELETE", &format!("/subjects/{subject}{how}"), &Value::Null);
    }
}

/// Deletes the records of partition 0 below an offset, as retention does.
fn delete_records(bootstrap: &str, shop: &Workshop, topic: &str, below: i64) {
    let wanted = json!({ "version": 1, "partitions": [
        { "topic": topic, "partition": 0, "offset": below }
    ] });
    let file = shop.write("delete.json", &wanted.to_string());
    let arguments = ["--bootstrap-server", bootstrap, "--offset-json-file", file.to_str().unwrap()];
    tool("org.apache.kafka.tools.DeleteRecordsCommand", &arguments, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_grows_run_by_run() {
    if !real::available() {
        return;
    }
    let (source, target) = (Kafka::start(1), Kafka::start(1));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    let registry = EmbeddedRegistry::start(Options::default()).await.unwrap();
    let other = EmbeddedRegistry::start(Options::default()).await.unwrap();
    let enterprise = |url: &str, more: &str| {
        format!("enterprise: {{ schema_registry: {{ url: \"{url}\"{more} }} }}\n")
    };
    let shop = Workshop::new();
    client::create_topic(&from, "orders", 2).await.unwrap();
    registry.register("orders-value", &json!({ "schema": "\"string\"" }));
    registry.register("gone-value", &json!({ "schema": "\"long\"" }));
    client::produce(&from, "orders", Compression::Lz4, &numbered(0..100, 2, 0)).await.unwrap();
    let file = shop.job_yaml("backup", &from, &enterprise(&registry.url(), ""));
    let described = done("backup", &file);
    assert_eq!((&described["runs"], &described["topics"][0]["records"]), (&json!(1), &json!(100)));

    // Nothing new: the same records, and no object is written twice.
    assert_eq!(done("backup", &file)["runs"], 2);
    assert_eq!(of_backup("describe", &shop, &[])["topics"][0]["records"], 100);

    // A new topic, new records, a new version; a subject that goes for good, and records too.
    client::produce(&from, "orders", Compression::Zstd, &numbered(100..160, 2, 0)).await.unwrap();
    client::create_topic(&from, "later", 1).await.unwrap();
    client::produce(&from, "later", Compression::None, &numbered(0..7, 1, 0)).await.unwrap();
    registry.register("orders-value", &json!({ "schema": "\"bytes\"" }));
    forget(&registry, "gone-value");
    delete_records(&from, &shop, "orders", 60);
    let described = done("backup", &file);
    assert_eq!(described["runs"], 3);
    let orders = &described["topics"][1];
    assert_eq!((&orders["name"], &orders["records"]), (&json!("orders"), &json!(150)));
    assert_eq!(orders["gaps"], json!([{ "partition": 0, "from": 50, "to": 59 }]));
    let validated = of_backup("validate", &shop, &["--deep"]);
    assert_eq!(validated["problems"], json!([]));
    let gap = "orders-0: offsets 50 to 59 were deleted before they could be captured";
    assert_eq!(validated["gaps"], json!([gap]));

    // All of it comes back: the schema that the source has lost by now too.
    let more = enterprise(&other.url(), ", restore: { rewrite_ids: true }");
    done("restore", &shop.job_yaml("restore", &to, &more));
    // The ten records at offsets 50 to 59 of partition 0, though their batch was there whole.
    let lost: Vec<i64> = (100..120).step_by(2).collect();
    let wanted: Vec<Message> = sorted(numbered(0..160, 2, 0))
        .into_iter()
        .filter(|it| !lost.contains(&(it.timestamp - *BASE)))
        .collect();
    assert_eq!(client::consume(&to, "orders", 2, wanted.len()).await.unwrap(), wanted);
    assert_eq!(client::consume(&to, "later", 1, 7).await.unwrap(), numbered(0..7, 1, 0));
    let subjects = other.call("GET", "/subjects?deleted=true", &Value::Null);
    assert_eq!(subjects, json!(["gone-value", "orders-value"]));
    let versions = other.call("GET", "/subjects/orders-value/versions", &Value::Null);
    assert_eq!(versions, json!([1, 2]));

    // A topic that is another one by the same name would mix its records with the old ones.
    let admin = ["--bootstrap-server", &from, "--delete", "--topic", "later"];
    tool("org.apache.kafka.tools.TopicCommand", &admin, b"");
    tokio::time::sleep(Duration::from_secs(1)).await;
    client::create_topic(&from, "later", 1).await.unwrap();
    let (code, _, text) = run(&backup_of(&file));
    assert_eq!(code, Some(1));
    assert!(text.contains("topic `later` was deleted and created again"), "{text}");
    assert_eq!(of_backup("describe", &shop, &[])["runs"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_continuous_backup_follows_until_it_is_stopped() {
    if !real::available() {
        return;
    }
    let (mut source, target) = (Kafka::start(1), Kafka::start(1));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    let shop = Workshop::new();
    client::create_topic(&from, "orders", 2).await.unwrap();
    let keys = "backup: { continuous: true, segment_max_age_secs: 1 }\n";
    let file = shop.job_yaml("backup", &from, keys);
    let mut child = start(&backup_of(&file));
    let mut sent = Vec::new();
    for round in 0..4 {
        let part = numbered(round * 50..(round + 1) * 50, 2, 0);
        client::produce(&from, "orders", Compression::Gzip, &part).await.unwrap();
        sent.extend(part);
        let deadline = Instant::now() + Duration::from_mins(1);
        while recorded(&shop) != sent.len() as u64 {
            assert!(Instant::now() < deadline, "{} of {}", recorded(&shop), sent.len());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // A cluster that goes away and comes back is waited for.
        if round == 1 {
            source.restart(0);
        }
    }
    let pid = child.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(child.wait().unwrap().success());
    done("restore", &shop.job_yaml("restore", &to, ""));
    let found = client::consume(&to, "orders", 2, sent.len()).await.unwrap();
    assert_eq!(found, sorted(sent));
}

fn recorded(shop: &Workshop) -> u64 {
    let Ok(manifest) = std::fs::read(shop.path("store/one/manifest.json")) else { return 0 };
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let segments = manifest.pointer("/topics/0/partitions").unwrap().as_array().unwrap().iter();
    let segments = segments.flat_map(|it| it["segments"].as_array().unwrap());
    segments.map(|it| it["records"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_machines_make_one_backup() {
    if !real::available() {
        return;
    }
    let (source, target) = (Kafka::start(1), Kafka::start(1));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    let shop = Workshop::new();
    let registry = EmbeddedRegistry::start(Options::default()).await.unwrap();
    registry.register("other-value", &json!({ "schema": "\"string\"" }));
    let mut sent = numbered(0..3000, 7, 0);
    // An id that only the registry's `/schemas/ids` knows: `finalize` looks for it.
    let lost = registry.register("lost-value", &json!({ "schema": "\"int\"" }));
    forget(&registry, "lost-value");
    let framed = [&[0][..], &lost.to_be_bytes(), b"x"].concat();
    sent[0].value = Some(framed.into());
    client::create_topic(&from, "orders", 7).await.unwrap();
    for part in sent.chunks(300) {
        client::produce(&from, "orders", Compression::Snappy, part).await.unwrap();
    }
    let keys = format!(
        "backup: {{ segment_max_records: 20 }}\n\
         enterprise: {{ schema_registry: {{ url: \"{}\", backup: {{ audit_ids: true }} }} }}\n",
        registry.url()
    );
    let file = shop.job_yaml("backup", &from, &keys);
    let shard = |shard: &'static str| [&backup_of(&file)[..], &["--shard", shard]].concat();
    let mut first = start(&shard("0/3"));
    let mut second = start(&shard("1/3"));
    let mut third = start(&shard("2/3"));
    std::thread::sleep(Duration::from_millis(150));
    third.kill().unwrap();
    third.wait().unwrap();
    assert!(first.wait().unwrap().success() && second.wait().unwrap().success());
    let _ = std::fs::remove_file(shop.path("store/one/parts/2-of-3.json"));
    let finalize = ["finalize", "--config", file.to_str().unwrap()];
    let (code, _, text) = run(&finalize);
    assert_eq!(code, Some(1));
    assert!(text.contains("those of shards 2/3 are missing"), "{text}");
    assert!(!shop.path("store/one/manifest.json").exists());
    let (code, out, text) = run(&shard("2/3"));
    assert_eq!(code, Some(0), "{text}");
    assert!(out.contains("shard 2/3: ") && out.contains("`kafka-backup finalize`"), "{out}");
    assert_eq!(run(&finalize).0, Some(0));
    assert!(!shop.path("store/one/parts").exists());
    let described = of_backup("describe", &shop, &[]);
    assert_eq!((&described["topics"][0]["records"]), (&json!(3000)));
    assert_eq!(of_backup("validate", &shop, &["--deep"])["problems"], json!([]));
    let audited = shop.path(&format!("store/one/schema-registry/ids/{lost}.json"));
    assert!(audited.exists(), "{}", audited.display());
    done("restore", &shop.job_yaml("restore", &to, ""));
    let found = client::consume(&to, "orders", 7, sent.len()).await.unwrap();
    assert_eq!(found, sorted(sent));

    for wrong in ["3/3", "x", "1/0"] {
        let (code, _, text) = run(&[&backup_of(&file)[..], &["--shard", wrong]].concat());
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("INDEX/COUNT"), "{text}");
    }
}

/// Kills backups at random moments: the next run goes on from the segments that were finished, and
/// what was complete before stays so.
#[tokio::test(flavor = "multi_thread")]
async fn killed_backups_go_on_where_they_were() {
    if !real::available() {
        return;
    }
    let (source, target) = (Kafka::start(1), Kafka::start(1));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    client::create_topic(&from, "orders", 3).await.unwrap();
    let mut sent: Vec<Message> = Vec::new();
    let shop = Workshop::new();
    let keys = "backup: { segment_max_records: 25, max_concurrent_partitions: 1 }\n";
    let file = shop.job_yaml("backup", &from, keys);
    let (mut unfinished, mut interrupted) = (0, 0);
    for round in 0_u64..20 {
        let part = numbered(sent.len() as i64..sent.len() as i64 + 600, 3, 0);
        for batch in part.chunks(15) {
            client::produce(&from, "orders", Compression::None, batch).await.unwrap();
        }
        let before = recorded(&shop);
        sent.extend(part);
        let mut child = start(&backup_of(&file));
        std::thread::sleep(Duration::from_millis(20 + (round * 37) % 160));
        child.kill().unwrap();
        child.wait().unwrap();
        let now = recorded(&shop);
        unfinished += u32::from(now == before);
        let logs = std::fs::read_dir(shop.path("store/one/topics/orders/0"));
        let logs = logs.map_or(0, |it| it.count() as u64 / 2);
        interrupted += u32::from(now == before && logs * 75 > before + 100);
        assert!(now == before || now == sent.len() as u64, "{before} {now}");
        if round % 5 == 4 {
            assert_eq!(done("backup", &file)["topics"][0]["records"], sent.len());
            let validated = of_backup("validate", &shop, &["--deep"]);
            assert_eq!(validated["problems"], json!([]), "round {round}");
        }
    }
    assert!(unfinished > 2, "no kill came in the middle");
    assert!(interrupted > 0, "no killed run had finished a segment");
    done("restore", &shop.job_yaml("restore", &to, ""));
    let found = client::consume(&to, "orders", 3, sent.len()).await.unwrap();
    assert_eq!(found, sorted(sent));
}

/// Two runs at the same time: one of them says so and ends, and the backup is whole.
#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_do_not_mix() {
    if !real::available() {
        return;
    }
    let source = Kafka::start(1);
    let from = source.bootstrap();
    client::create_topic(&from, "orders", 3).await.unwrap();
    let sent = numbered(0..6000, 3, 0);
    for part in sent.chunks(100) {
        client::produce(&from, "orders", Compression::None, part).await.unwrap();
    }
    let shop = Workshop::new();
    let file = shop.job_yaml("backup", &from, "backup: { segment_max_records: 10 }\n");
    let mut refused = 0;
    for _ in 0..5 {
        let _ = std::fs::remove_dir_all(shop.path("store/one"));
        let mut runs = [start(&backup_of(&file)), start(&backup_of(&file))];
        let done: Vec<bool> = runs.iter_mut().map(|it| it.wait().unwrap().success()).collect();
        refused += done.iter().filter(|it| !**it).count();
        // Whatever became of the two, one more run makes the whole.
        let (code, _, text) = run(&backup_of(&file));
        assert_eq!(code, Some(0), "{text}");
        let validated = of_backup("validate", &shop, &["--deep"]);
        assert_eq!(validated["problems"], json!([]), "{validated}");
        assert_eq!(recorded(&shop), sent.len() as u64);
    }
    assert!(refused > 0, "the two never met");
}
