//! Whatever a log can hold goes through a backup and a restore on real Kafka and comes out the same,
//! record for record: key, value, headers, time, order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kafka::{Cluster, FetchLimits, Isolation, PartitionClient, Security};
use serde_json::{Value, json};
use testbed::Broker;
use testbed::client::{self, BASE, Compression, Message, numbered, sorted};
use testbed::real::{self, Extras, Kafka, tool};
use testbed::workshop::{Workshop, done, kafka_backup, stderr, stdout};
use wire::Batch;
use wire::batch::{Entries, Entry};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const PERFORMANCE: &str = "org.apache.kafka.tools.ProducerPerformance";

fn create(bootstrap: &str, topic: &str, more: &[&str]) {
    let create = ["--bootstrap-server", bootstrap, "--create", "--topic", topic];
    tool(TOPICS, &[&create[..], more].concat(), b"");
}

/// Large values that no codec makes small.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Every shape of record that clients write.
fn shapes() -> Vec<Message> {
    let mut messages = Vec::new();
    for key in [None, Some(&b""[..]), Some(b"k")] {
        for value in [None, Some(&b""[..]), Some(b"v"), Some(b"\0\0\0\0\x05framed")] {
            messages.push(Message::new(key, value));
            messages.push(Message::new(key, value).header("a", b"1").header("a", b"2"));
            let mut null = Message::new(key, value).header("", b"");
            null.headers.push(("null".to_owned(), None));
            messages.push(null);
        }
    }
    for (seed, length) in [1, 2, 100, 1000, 70_000, 600_000].into_iter().enumerate() {
        messages.push(Message::new(Some(b"size"), Some(&noise(length, seed as u64 + 1))));
    }
    for (index, message) in messages.iter_mut().enumerate() {
        // Times that run backwards too.
        message.timestamp = *BASE + (index as i64 * 7919) % 1000;
        message.partition = (index % 2) as i32;
    }
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_log_can_hold() {
    if !real::available() {
        return;
    }
    let extras = Extras {
        settings: [("message.max.bytes", "12000000"), ("log.cleaner.backoff.ms", "200")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec(),
        ..Extras::default()
    };
    let (source, target) = (Kafka::start_with(1, &extras), Kafka::start_with(1, &extras));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    let codecs = [
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ];
    let sent = shapes();
    for (name, codec) in codecs {
        // The last one stays empty.
        client::create_topic(&from, name, 3).await.unwrap();
        for part in sent.chunks(11) {
            client::produce(&from, name, codec, part).await.unwrap();
        }
    }

    // A record of 10 MB, and committed transactions among aborted ones.
    let servers = format!("bootstrap.servers={from}");
    let large = ["--topic", "large", "--num-records", "3", "--record-size", "10000000"];
    let props = ["--throughput", "-1", "--producer-props", &servers, "max.request.size=11000000"];
    create(&from, "large", &[]);
    tool(PERFORMANCE, &[&large[..], &props].concat(), b"");
    create(&from, "payments", &["--partitions", "2"]);
    let commits = real::java_program("Transactions", &[&from, "payments", "40"]);
    assert_eq!(commits.lines().count(), 20, "{commits}");

    // Compacted until it has holes, and a broker that sets the times.
    let compacted = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "100"),
    ]
    .map(|(key, value)| format!("{key}={value}"));
    let configs: Vec<&str> = compacted.iter().flat_map(|it| ["--config", it.as_str()]).collect();
    create(&from, "compacted", &configs);
    for round in 0..6 {
        let mut some = numbered(0..50, 1, 0);
        some.retain(|it| it.timestamp % 3 != round % 3);
        // Segments are rolled by the records' times.
        for it in &mut some {
            it.timestamp += round * 10_000;
        }
        client::produce(&from, "compacted", Compression::Lz4, &some).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    wait_for_holes(&from).await;
    create(&from, "times", &["--config", "message.timestamp.type=LogAppendTime"]);
    client::produce(&from, "times", Compression::Gzip, &numbered(0..20, 1, 0)).await.unwrap();

    let shop = Workshop::new();
    let described = done("backup", &shop.job_yaml("backup", &from, ""));
    let topic = |name: &str| {
        let topics = described["topics"].as_array().unwrap();
        topics.iter().find(|it| it["name"] == name).unwrap().clone()
    };
    assert_eq!(topic("payments")["records"], 20 * 5);
    assert_eq!(topic("payments")["aborted"], 20 * 5);
    let store = shop.path("store");
    let validate = ["validate", "--path", store.to_str().unwrap(), "--backup-id", "one", "--deep"];
    let output = kafka_backup(&validate);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    done("restore", &shop.job_yaml("restore", &to, ""));

    for (name, _) in codecs {
        let found = client::consume(&to, name, 3, sent.len()).await.unwrap();
        assert!(found == sorted(sent.clone()), "{name} differs");
    }
    for (name, partitions) in [("large", 1), ("payments", 2), ("compacted", 1)] {
        let count = topic(name)["records"].as_u64().unwrap() as usize;
        let there = client::consume(&from, name, partitions, count).await.unwrap();
        let here = client::consume(&to, name, partitions, count).await.unwrap();
        assert_eq!(there.len(), count, "{name}");
        assert!(there == here, "{name} differs");
    }
    // What the broker had set stays each record's time, though the target's would set its own.
    let times = |bootstrap: &str| {
        let arguments = ["--bootstrap-server", bootstrap, "--topic", "times", "--from-beginning"];
        let how = ["--max-messages", "20", "--formatter-property", "print.timestamp=true"];
        tool(
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            &[&arguments[..], &how].concat(),
            b"",
        )
    };
    let there = String::from_utf8(times(&from)).unwrap();
    assert!(there.starts_with("LogAppendTime:"), "{there}");
    let here = String::from_utf8(times(&to)).unwrap();
    assert_eq!(here, there.replace("LogAppendTime:", "CreateTime:"));
    let configs = tool(TOPICS, &["--bootstrap-server", &to, "--describe", "--topic", "times"], b"");
    assert!(String::from_utf8_lossy(&configs).contains("LogAppendTime"));

    // The target's compacted topic has the cleaner's holes no more, so the offset map tells each.
    let map = std::fs::read(shop.path("store/one/offset-map.json")).unwrap();
    let map: Value = serde_json::from_slice(&map).unwrap();
    assert!(map["partitions"].as_array().unwrap().len() >= 19, "{map}");
}

/// Until compaction has removed records between others.
async fn wait_for_holes(bootstrap: &str) {
    let cluster = Cluster::new(vec![bootstrap.parse().unwrap()], Security::default());
    for _ in 0..100 {
        let mut client = PartitionClient::new(cluster.clone(), "compacted", 0);
        let (start, end) = client.offsets(Isolation::ReadUncommitted).await.unwrap();
        let limits = FetchLimits {
            max_bytes: 1 << 20,
            max_wait: Duration::from_millis(100),
            isolation: Isolation::ReadUncommitted,
        };
        let fetched = client.fetch(start, limits).await.unwrap();
        let records = Entries::new(&fetched.records).map(|entry| match entry.unwrap() {
            Entry::Whole { start, end, .. } => {
                i64::from(Batch::parse(&fetched.records[start..end]).unwrap().header.count)
            }
            Entry::Partial { .. } => 0,
        });
        if records.sum::<i64>() < end - start {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the log cleaner did nothing");
}

/// Segments of Kafka before 0.11, put where a broker finds them.
#[tokio::test(flavor = "multi_thread")]
async fn message_sets_of_old_clients() {
    if !real::available() {
        return;
    }
    let (mut source, target) = (Kafka::start(1), Kafka::start(1));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    let sets = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/wire/tests/message-sets");
    let codecs = ["none", "gzip", "snappy", "lz4"];
    let names: Vec<String> =
        (0..2).flat_map(|magic| codecs.map(|codec| format!("{magic}-{codec}"))).collect();
    for name in &names {
        create(&from, name, &["--config", "retention.ms=-1"]);
    }
    source.restart_with(0, |data| {
        for name in &names {
            let set = sets.join(format!("{name}.bin"));
            let log = data.join(format!("{name}-0/00000000000000000000.log"));
            std::fs::copy(set, log).unwrap();
        }
        let _ = std::fs::remove_file(data.join(".kafka_cleanshutdown"));
    });
    // Read through a proxy they have the other registry's ids.
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"5": 66}"#);
    let proxy = shop.proxy(&shop.proxy_yaml(&from, &map, "{ fetch: forward }"));
    let consumer = "org.apache.kafka.tools.consumer.ConsoleConsumer";
    let all = ["--include", "[01]-.*", "--from-beginning", "--max-messages", "40"];
    let through = ["--bootstrap-server", &proxy.bootstrap, "--timeout-ms", "30000"];
    let read = real::tool(consumer, &[&all[..], &through].concat(), b"");
    let of = |value: &[u8]| read.split(|it| *it == b'\n').filter(|it| *it == value).count();
    assert_eq!((of(b"\0\0\0\0\x42first"), of(b"no key")), (8, 8));
    assert_eq!(proxy.metric("schema_proxy_batches_undecodable_total"), 0);
    drop(proxy);

    let described = done("backup", &shop.job_yaml("backup", &from, ""));
    for topic in described["topics"].as_array().unwrap() {
        assert_eq!(topic["records"], 5, "{topic}");
    }
    let store = shop.path("store");
    let arguments = ["--path", store.to_str().unwrap(), "--backup-id", "one"];
    let output = kafka_backup(&[&["validate", "--deep"], &arguments[..]].concat());
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    // What is kept is what the broker sent.
    let kept = shop.path("store/one/topics/1-gzip/0/00000000000000000100.log");
    assert_eq!(std::fs::read(kept).unwrap(), std::fs::read(sets.join("1-gzip.bin")).unwrap());

    done("restore", &shop.job_yaml("restore", &to, ""));
    for name in &names {
        let found = client::consume(&to, name, 1, 5).await.unwrap();
        let values: Vec<usize> =
            found.iter().map(|it| it.value.as_deref().map_or(0, <[u8]>::len)).collect();
        assert_eq!(values, [10, 6, 0, 0, 3000], "{name}");
        assert_eq!(found[1].key, None);
        let first = if name.starts_with('0') { -1 } else { 1_700_000_000_000 };
        assert_eq!(found[0].timestamp, first, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_topics_of_ten_partitions() {
    if !real::available() {
        return;
    }
    let (source, target) = (Kafka::start(1), Kafka::start(1));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    for number in 0..200 {
        client::create_topic(&from, &format!("topic-{number:03}"), 10).await.unwrap();
    }
    let sent = numbered(0..40, 10, 0);
    // The others stay empty.
    let filled: Vec<String> = (0..200).step_by(10).map(|it| format!("topic-{it:03}")).collect();
    for topic in &filled {
        client::produce(&from, topic, Compression::Zstd, &sent).await.unwrap();
    }
    let shop = Workshop::new();
    let described = done("backup", &shop.job_yaml("backup", &from, ""));
    assert_eq!(described["topics"].as_array().unwrap().len(), 200);
    let restored = done("restore", &shop.job_yaml("restore", &to, ""));
    let records: u64 = restored["topics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["records"].as_u64().unwrap())
        .sum();
    assert_eq!(records, 20 * 40);
    for topic in &filled {
        let found = client::consume(&to, topic, 10, sent.len()).await.unwrap();
        assert_eq!(found, sorted(sent.clone()), "{topic}");
    }
    let cluster = Cluster::new(vec![to.parse().unwrap()], Security::default());
    let metadata = cluster.metadata(None).await.unwrap();
    let topics = metadata.topics.iter().filter(|(name, _)| name.starts_with("topic-"));
    assert!(topics.clone().all(|(_, it)| it.leaders.len() == 10));
    assert_eq!(topics.count(), 200);
}

/// A restore with another number of partitions: keys stay together, each where Kafka's own
/// producer puts it, and in their order.
#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_partitions() {
    if !real::available() {
        return;
    }
    let (source, target) = (Kafka::start(1), Kafka::start(1));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    create(&from, "orders", &["--partitions", "3"]);
    let lines: Vec<String> = (0..300).map(|it| format!("key-{}:{it}", it % 40)).collect();
    let lines = lines.join("\n") + "\n";
    let keyed = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=:"];
    let produce = |bootstrap: &str, topic: &str| {
        let arguments = ["--bootstrap-server", bootstrap, "--topic", topic];
        let producer = "org.apache.kafka.tools.ConsoleProducer";
        tool(producer, &[&arguments[..], &keyed].concat(), lines.as_bytes());
    };
    produce(&from, "orders");
    let shop = Workshop::new();
    done("backup", &shop.job_yaml("backup", &from, ""));

    create(&to, "orders", &["--partitions", "2"]);
    let file = shop.job_yaml("restore", &to, "");
    let output = kafka_backup(&["restore", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("`partitioning: by_key`"), "{}", stderr(&output));

    let more = "restore: { partitioning: by_key, topic_mapping: { orders: wide }, \
                topic_partitions: { orders: 7 } }\n";
    let restored = done("restore", &shop.job_yaml("restore", &to, more));
    assert_eq!(restored["topics"][0]["records"], 300);
    let found = client::consume(&to, "wide", 7, 300).await.unwrap();
    // The same records by the Java client itself.
    create(&to, "reference", &["--partitions", "7"]);
    produce(&to, "reference");
    let wanted = client::consume(&to, "reference", 7, 300).await.unwrap();
    let by_key = |messages: &[Message]| {
        let mut keys: BTreeMap<_, (i32, Vec<_>)> = BTreeMap::new();
        for it in messages {
            let (partition, values) = keys.entry(it.key.clone()).or_insert((it.partition, vec![]));
            assert_eq!(*partition, it.partition, "{:?} is in two partitions", it.key);
            values.push(it.value.clone());
        }
        keys
    };
    assert_eq!(by_key(&found), by_key(&wanted));
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_a_range() {
    if !real::available() {
        return;
    }
    let (source, target) = (Kafka::start(1), Kafka::start(1));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    client::create_topic(&from, "orders", 2).await.unwrap();
    let sent = numbered(0..100, 2, 0);
    client::produce(&from, "orders", Compression::Lz4, &sent).await.unwrap();
    let shop = Workshop::new();
    done("backup", &shop.job_yaml("backup", &from, ""));
    let more =
        "restore: { offset_ranges: { orders: { 0: { start: 7, end: 31 }, 1: { end: 3 } } } }\n";
    done("restore", &shop.job_yaml("restore", &to, more));
    let wanted: Vec<Message> = sorted(sent)
        .into_iter()
        .filter(|it| {
            let offset = (it.timestamp - *BASE) / 2;
            if it.partition == 0 { (7..31).contains(&offset) } else { offset < 3 }
        })
        .collect();
    assert_eq!(client::consume(&to, "orders", 2, wanted.len()).await.unwrap(), wanted);
}

fn offsets(arguments: &[&str]) -> (Option<i32>, Value, String) {
    let output = kafka_backup(&[&["offsets", "--format", "json"], arguments].concat());
    let parsed = serde_json::from_str(&stdout(&output)).unwrap_or(Value::Null);
    (output.status.code(), parsed, stderr(&output))
}

/// A group that was in the middle of a topic goes on at the same record in the target.
#[tokio::test(flavor = "multi_thread")]
async fn consumer_groups_go_on_where_they_were() {
    if !real::available() {
        return;
    }
    let (source, target) = (Kafka::start(1), Kafka::start(1));
    let (from, to) = (source.bootstrap(), target.bootstrap());
    create(&from, "orders", &["--partitions", "2"]);
    real::java_program("Transactions", &[&from, "orders", "40"]);
    client::create_topic(&from, "plain", 1).await.unwrap();
    client::produce(&from, "plain", Compression::Lz4, &numbered(0..100, 1, 0)).await.unwrap();
    let set = |bootstrap: &str, group: &str, topic: &str, offset: &str| {
        let group = ["--bootstrap-server", bootstrap, "--group", group, "--topic", topic];
        let reset = ["--reset-offsets", "--to-offset", offset, "--execute"];
        tool(GROUPS, &[&group[..], &reset].concat(), b"");
    };
    set(&from, "billing", "orders", "37");
    set(&from, "billing", "plain", "100");
    set(&from, "audit", "plain", "42");
    let shop = Workshop::new();
    let described =
        done("backup", &shop.job_yaml("backup", &from, "backup: { segment_max_records: 30 }\n"));
    assert_eq!(described["groups"], json!(["audit", "billing"]));

    // The target's topic has records already, so every offset is another one.
    client::create_topic(&to, "plain", 1).await.unwrap();
    client::produce(&to, "plain", Compression::None, &numbered(0..5, 1, 0)).await.unwrap();
    set(&to, "audit", "plain", "2");
    let keys = "restore: { into_non_empty: append, reset_consumer_offsets: true, \
                consumer_groups: [billing] }\n";
    let file = shop.job_yaml("restore", &to, keys);
    let restored = done("restore", &file);
    let changes = restored["groups"]["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 3, "{changes:?}");
    let after = |topic: &str, partition: i32| {
        let is_it = |it: &&Value| it["topic"] == topic && it["partition"] == partition;
        changes.iter().find(is_it).unwrap()["after"].as_i64().unwrap()
    };
    assert_eq!(after("plain", 0), 105);
    // The records that are left to read are the same on both sides, transactions or not.
    for partition in 0..2 {
        let left = |messages: Vec<Message>, first: usize| {
            let own = messages.into_iter().filter(|it| it.partition == partition);
            own.skip(first).collect::<Vec<_>>()
        };
        let there = client::consume(&to, "orders", 2, 100).await.unwrap();
        let here = client::consume(&from, "orders", 2, 100).await.unwrap();
        let before = committed_before(&from, partition, 37).await;
        assert_eq!(
            left(there, after("orders", partition) as usize),
            left(here, before),
            "partition {partition}"
        );
    }

    // By hand: first what would change, then the change, then back.
    let config = ["--config", file.to_str().unwrap()];
    let committed = || {
        let (_, snapshot, _) = offsets(&[&["snapshot"], &config[..]].concat());
        snapshot["groups"]["audit"]["plain"]["0"]["offset"].clone()
    };
    let reset = [&["reset", "--group", "audit"], &config[..]].concat();
    let (code, dry, _) = offsets(&[&reset[..], &["--dry-run"]].concat());
    let wanted = json!([
        { "group": "audit", "topic": "plain", "partition": 0, "before": 2, "after": 47 }
    ]);
    assert_eq!((code, &dry["changes"]), (Some(0), &wanted));
    assert_eq!(committed(), 2);
    assert_eq!(offsets(&reset).1["changes"], wanted);
    assert_eq!(committed(), 47);
    let rollback = [&["rollback"], &config[..]].concat();
    let (code, back, text) = offsets(&rollback);
    assert_eq!((code, &back[0]["after"]), (Some(0), &json!(2)), "{text}");
    assert_eq!(committed(), 2);

    // Back to before the restore: what was not there is forgotten.
    let first = std::fs::read_dir(shop.path("store/one/offsets-before")).unwrap();
    let mut first: Vec<PathBuf> = first.map(|it| it.unwrap().path()).collect();
    first.sort();
    let from_file = [&rollback[..], &["--from", first[0].to_str().unwrap()]].concat();
    let (code, back, text) = offsets(&from_file);
    assert_eq!((code, back.as_array().unwrap().len()), (Some(0), 3), "{text}");
    let (_, snapshot, _) = offsets(&[&["snapshot"], &config[..]].concat());
    assert!(snapshot["groups"]["billing"].as_object().is_none_or(serde_json::Map::is_empty));
    assert_eq!(snapshot["end_offsets"]["plain"]["0"], 105);

    // A group with a member is refused by its name, before anything is changed.
    let bootstrap = to.clone();
    let member = std::thread::spawn(move || {
        let arguments = ["--bootstrap-server", &bootstrap, "--topic", "plain", "--group", "audit"];
        let idle = ["--timeout-ms", "12000"];
        tool(
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            &[&arguments[..], &idle].concat(),
            b"",
        );
    });
    let deadline = std::time::Instant::now() + Duration::from_secs(15);
    let refused = loop {
        let (code, _, text) = offsets(&[&reset[..], &["--dry-run"]].concat());
        if code == Some(3) {
            break text;
        }
        assert!(std::time::Instant::now() < deadline, "{text}");
    };
    assert!(refused.contains("consumer group `audit` has live members"), "{refused}");
    member.join().unwrap();
    let (code, _, text) = offsets(&[&["reset", "--group", "nobody"], &config[..]].concat());
    assert_eq!(code, Some(3));
    assert!(text.contains("consumer group `nobody` is not in the backup"), "{text}");
}

/// Records of the partition before an offset that a `read_committed` consumer sees.
async fn committed_before(bootstrap: &str, partition: i32, offset: i64) -> usize {
    let found = client::consume_at(bootstrap, "orders", 2, 100).await.unwrap();
    found.iter().filter(|(at, it)| it.partition == partition && *at < offset).count()
}
