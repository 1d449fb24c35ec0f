//! Real Kafka, real Apicurio, and the clients that people use: Kafka's own Java tools, and Python
//! with Confluent's serializers. Needs Java and Maven; see `testbed::real`.

use std::io::BufRead;

use serde_json::{Value, json};
use testbed::real::{self, Apicurio, Kafka};
use testbed::registry::Options;
use testbed::workshop::{Workshop, done};
use testbed::{Broker, EmbeddedRegistry};

mod sources;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const BOTH: &str = "{ produce: true, fetch: false, keys: true, values: true, unmapped: pass }";

fn console_consume(bootstrap: &str, topic: &str, count: usize) -> Vec<u8> {
    let count = count.to_string();
    let arguments = ["--bootstrap-server", bootstrap, "--topic", topic, "--from-beginning"];
    let until = ["--max-messages", &count, "--timeout-ms", "30000"];
    real::tool(CONSUMER, &[&arguments[..], &until].concat(), b"")
}

#[test]
fn kafkas_own_tools_through_the_proxy() {
    if !real::available() {
        return;
    }
    let kafka = Kafka::start(3);
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let proxy = shop.proxy(&shop.proxy_yaml(&kafka.bootstrap(), &map, BOTH));
    let topics = "org.apache.kafka.tools.TopicCommand";
    let create =
        ["--create", "--topic", "orders", "--partitions", "6", "--replication-factor", "3"];
    let through = ["--bootstrap-server", &proxy.bootstrap];
    real::tool(topics, &[&through[..], &create].concat(), b"");

    // Records with old id 5, in each codec, with an idempotent producer and with acks=0.
    for codec in CODECS {
        for acks in ["all", "0"] {
            let arguments = ["--topic", "orders", "--compression-codec", codec];
            let property = format!("acks={acks}");
            let property = ["--command-property", &property];
            let arguments = [&through[..], &arguments, &property].concat();
            let line = format!("{codec} {acks}\n");
            real::tool(PRODUCER, &arguments, &[b"\0\0\0\0\x05", line.as_bytes()].concat());
        }
    }
    let mut found: Vec<Vec<u8>> = console_consume(&kafka.bootstrap(), "orders", 10)
        .split(|&it| it == b'\n')
        .filter(|it| !it.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    found.sort_unstable();
    let mut wanted: Vec<Vec<u8>> = CODECS
        .iter()
        .flat_map(|codec| ["all", "0"].map(|acks| format!("{codec} {acks}")))
        .map(|text| [b"\0\0\0\0\x69", text.as_bytes()].concat())
        .collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted);

    // A load of records, and a consumer group, through the proxy.
    let performance = "org.apache.kafka.tools.ProducerPerformance";
    let load = ["--topic", "load", "--num-records", "20000", "--record-size", "200"];
    let servers = format!("bootstrap.servers={}", proxy.bootstrap);
    let property = ["--throughput", "-1", "--producer-props", &servers, "compression.type=zstd"];
    let report = real::tool(performance, &[&load[..], &property].concat(), b"");
    assert!(String::from_utf8_lossy(&report).contains("20000 records sent"));
    let count = console_consume(&proxy.bootstrap, "load", 20_000).lines().count();
    assert_eq!(count, 20_000);

    // No address of a broker came through.
    let described =
        real::tool(topics, &[&through[..], &["--describe", "--topic", "orders"]].concat(), b"");
    assert!(String::from_utf8_lossy(&described).contains("PartitionCount: 6"));
    let cluster = "org.apache.kafka.tools.BrokerApiVersionsCommand";
    let brokers = String::from_utf8_lossy(&real::tool(cluster, &through, b"")).into_owned();
    for address in kafka.bootstrap().split(',') {
        assert!(!brokers.contains(address), "{address} is in\n{brokers}");
    }
    for node in 1..=kafka.nodes() {
        assert!(brokers.contains(&format!("(id: {node} ")), "{brokers}");
    }
    let log = proxy.process.output();
    assert!(!log.contains("WARN"), "{log}");
}

/// The whole job: Confluent serializers write with the old registry, everything is backed up and
/// restored into Apicurio, which gives out ids as it likes; then a producer that still has the old
/// registry writes through the proxy, and a consumer with the new one decodes all.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_into_a_registry_that_can_not_keep_ids() {
    if !real::available() {
        return;
    }
    let old = EmbeddedRegistry::start(Options::default()).await.unwrap();
    sources::fill(&old);
    let (from, to, apicurio) = (Kafka::start(1), Kafka::start(1), Apicurio::start());
    let client = registry::Client::new(&registry::Settings::new(&apicurio.url())).unwrap();
    for number in 0..10 {
        let text = format!("{{\"type\":\"enum\",\"name\":\"T{number}\",\"symbols\":[\"A\"]}}");
        let taken = serde_json::from_value(json!({ "schema": text })).unwrap();
        client.register(&format!("taken-{number}"), &taken).await.unwrap();
    }
    assert_eq!(
        sources::clients_py(&["produce", &from.bootstrap(), &old.url(), "before"]).trim(),
        "300"
    );

    let shop = Workshop::new();
    let described = done("backup", &shop.backup_yaml("one", &from.bootstrap(), &old.url()));
    let records: u64 = described["topics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["records"].as_u64().unwrap())
        .sum();
    assert_eq!(records, 300);
    let restored = done("restore", &shop.restore_yaml("one", &to.bootstrap(), &apicurio.url()));
    let schemas = restored["schemas"].as_array().unwrap();
    assert_eq!(schemas.len(), 4);
    assert!(schemas.iter().all(|it| it["source_id"] != it["target_id"]), "{restored}");

    let map = shop.path("store/one/id-map.json");
    let proxy = shop.proxy(&shop.proxy_yaml(&to.bootstrap(), &map, BOTH));
    assert_eq!(
        sources::clients_py(&["produce", &proxy.bootstrap, &old.url(), "after"]).trim(),
        "300"
    );

    let read = sources::clients_py(&["consume", &to.bootstrap(), &apicurio.url(), "600"]);
    let read: Vec<Value> = read.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(read.len(), 600);
    for (topic, kind) in [("orders", "AVRO"), ("invoices", "JSON"), ("shipments", "PROTOBUF")] {
        for note in ["before", "after"] {
            let these = read.iter().filter(|it| it["topic"] == topic && it["note"] == note);
            let right = these.filter(|it| it["type"] == kind).count();
            assert_eq!(right, 100, "{topic} {note}");
        }
    }
}

/// What a broker may refuse in batches that come from another log.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_and_broker_times_are_restored() {
    if !real::available() {
        return;
    }
    let (from, to) = (Kafka::start(1), Kafka::start(1));
    let topics = "org.apache.kafka.tools.TopicCommand";
    let bootstrap = from.bootstrap();
    let server = ["--bootstrap-server", bootstrap.as_str(), "--create", "--topic"];
    let times = ["times", "--config", "message.timestamp.type=LogAppendTime"];
    real::tool(topics, &[&server[..], &times].concat(), b"");
    real::tool(PRODUCER, &["--bootstrap-server", &bootstrap, "--topic", "times"], b"one\ntwo\n");
    let performance = "org.apache.kafka.tools.ProducerPerformance";
    let servers = format!("bootstrap.servers={bootstrap}");
    let load = ["--topic", "payments", "--num-records", "2000", "--record-size", "100"];
    let property = ["--throughput", "-1", "--producer-props", &servers, "compression.type=lz4"];
    let transactions = ["--transactional-id", "t", "--transaction-duration-ms", "50"];
    real::tool(performance, &[&load[..], &property, &transactions].concat(), b"");

    let shop = Workshop::new();
    let registry = EmbeddedRegistry::start(Options::default()).await.unwrap();
    let described = done("backup", &shop.backup_yaml("one", &bootstrap, &registry.url()));
    let records = |name: &str| {
        let topics = described["topics"].as_array().unwrap();
        topics.iter().find(|it| it["name"] == name).unwrap()["records"].as_u64().unwrap()
    };
    assert_eq!((records("payments"), records("times")), (2000, 2));
    let log = shop.path("store/one/topics/payments/0/00000000000000000000.log");
    let dump = "org.apache.kafka.tools.DumpLogSegments";
    let dumped = real::tool(dump, &["--files", log.to_str().unwrap(), "--deep-iteration"], b"");
    assert!(String::from_utf8_lossy(&dumped).contains("isTransactional: true"));

    done("restore", &shop.restore_yaml("one", &to.bootstrap(), &registry.url()));
    let target = to.bootstrap();
    let offsets = "org.apache.kafka.tools.GetOffsetShell";
    let ends = real::tool(offsets, &["--bootstrap-server", &target], b"");
    let ends = String::from_utf8_lossy(&ends).into_owned();
    assert!(ends.contains("payments:0:2000") && ends.contains("times:0:2"), "{ends}");
    assert_eq!(console_consume(&target, "times", 2), b"one\ntwo\n");
    let configs = real::tool(topics, &["--bootstrap-server", &target, "--describe"], b"");
    let configs = String::from_utf8_lossy(&configs).into_owned();
    assert!(configs.contains("message.timestamp.type=LogAppendTime"), "{configs}");
}
