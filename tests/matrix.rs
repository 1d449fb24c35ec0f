//! Clients that people use, through the proxy, in front of the newest Kafka and of the last one before
//! Kafka 4.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::client::{self, Message, framed, id_of};
use testbed::real::{self, Extras, Kafka, Release};
use testbed::registry::Options;
use testbed::workshop::{RunningProxy, Workshop, done};
use testbed::{Broker, EmbeddedRegistry};

mod sources;

const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const ACLS: &str = "org.apache.kafka.tools.AclCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

/// Brokers that ask who may do what; whoever connects may do everything.
fn with_acls(release: Release) -> Extras {
    let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let settings = [("authorizer.class.name", authorizer), ("super.users", "User:ANONYMOUS")];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    Extras { settings, release, ..Extras::default() }
}

fn in_front_of(kafka: &Kafka, shop: &Workshop) -> RunningProxy {
    let map = shop.write("map.json", r#"{"5": 105}"#);
    shop.proxy(&shop.proxy_yaml(&kafka.bootstrap(), &map, "{}"))
}

/// What operators do, by Kafka's own tools of the newest release.
#[tokio::test(flavor = "multi_thread")]
async fn kafkas_admin_tools_and_transactions() {
    if !real::available() {
        return;
    }
    for (release, nodes) in [(Release::Newest, 3), (Release::LastBefore4, 1)] {
        let old = release != Release::Newest;
        let kafka = Kafka::start_with(nodes, &with_acls(release));
        let shop = Workshop::new();
        let proxy = in_front_of(&kafka, &shop);
        let tool = |class: &str, arguments: &[&str], input: &[u8]| {
            let through = ["--bootstrap-server", proxy.bootstrap.as_str()];
            let said = real::tool(class, &[&through[..], arguments].concat(), input);
            String::from_utf8_lossy(&said).into_owned()
        };
        let replicas = nodes.to_string();
        let create = ["--create", "--topic", "orders", "--partitions", "3"];
        tool(TOPICS, &[&create[..], &["--replication-factor", &replicas]].concat(), b"");
        tool(TOPICS, &["--alter", "--topic", "orders", "--partitions", "4"], b"");
        let described = tool(TOPICS, &["--describe", "--topic", "orders"], b"");
        assert!(described.contains("PartitionCount: 4"), "{described}");

        let of_topic = ["--entity-type", "topics", "--entity-name", "orders"];
        let change = ["--alter", "--add-config", "retention.ms=123456789"];
        tool(CONFIGS, &[&of_topic[..], &change].concat(), b"");
        let configs = tool(CONFIGS, &[&of_topic[..], &["--describe"]].concat(), b"");
        assert!(configs.contains("retention.ms=123456789"), "{configs}");

        let allow = ["--allow-principal", "User:alice", "--operation", "Read", "--topic", "orders"];
        tool(ACLS, &[&["--add"][..], &allow].concat(), b"");
        let acls = tool(ACLS, &["--list"], b"");
        assert!(acls.contains("User:alice") && acls.contains("operation=READ"), "{acls}");
        tool(ACLS, &[&["--remove", "--force"][..], &allow].concat(), b"");

        // A consumer group of either protocol (KIP-848 is there from 4.0 on).
        tool(PRODUCER, &["--topic", "orders"], &b"\0\0\0\0\x05 one\n".repeat(20));
        for protocol in if old { &["classic"][..] } else { &["classic", "consumer"] } {
            let group = format!("{protocol}-group");
            let property = format!("group.protocol={protocol}");
            let read = ["--topic", "orders", "--group", &group, "--timeout-ms", "30000"];
            let all = ["--max-messages", "20", "--command-property", &property];
            let start = ["--command-property", "auto.offset.reset=earliest"];
            let read = tool(CONSUMER, &[&read[..], &all, &start].concat(), b"");
            assert_eq!(read.lines().count(), 20, "{protocol}");
            let state = tool(GROUPS, &["--describe", "--group", &group], b"");
            assert!(state.contains("orders"), "{state}");
            let back = ["--group", &group, "--topic", "orders", "--to-earliest", "--execute"];
            tool(GROUPS, &[&["--reset-offsets"][..], &back].concat(), b"");
            tool(GROUPS, &["--delete", "--group", &group], b"");
        }
        let found = client::consume(&kafka.bootstrap(), "orders", 4, 20).await.unwrap();
        assert!(found.iter().all(|it| id_of(it.value.as_deref().unwrap()) == Some(105)));

        // Five records a transaction, each second one aborted.
        tool(TOPICS, &["--create", "--topic", "payments", "--partitions", "2"], b"");
        real::java_program("Transactions", &[&proxy.bootstrap, "payments", "20"]);
        let read = ["--topic", "payments", "--from-beginning", "--timeout-ms", "8000"];
        let committed = ["--isolation-level", "read_committed", "--max-messages", "50"];
        let read_committed = tool(CONSUMER, &[&read[..], &committed].concat(), b"");
        assert_eq!(read_committed.lines().count(), 50);
        let even = |line: &str| line.split('/').next().unwrap().parse::<i32>().unwrap() % 2 == 0;
        assert!(read_committed.lines().all(even), "{read_committed}");

        tool(TOPICS, &["--delete", "--topic", "payments"], b"");
        let log = proxy.process.output();
        assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    }
}

/// Kafka 2.8, whose early look at life without ZooKeeper has no producer ids.
#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_cluster() {
    if !real::available() {
        return;
    }
    let release = Release::FirstWithoutZooKeeper;
    let kafka = Kafka::start_with(1, &Extras { release, ..Extras::default() });
    let shop = Workshop::new();
    let proxy = in_front_of(&kafka, &shop);
    let tool = |class: &str, arguments: &[&str], input: &[u8]| {
        let through = ["--bootstrap-server", proxy.bootstrap.as_str()];
        real::tool(class, &[&through[..], arguments].concat(), input)
    };
    tool(TOPICS, &["--create", "--topic", "orders", "--partitions", "2"], b"");
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = ["--topic", "orders", "--compression-codec", codec];
        let plain = ["--command-property", "enable.idempotence=false"];
        tool(PRODUCER, &[&topic[..], &plain].concat(), b"\0\0\0\0\x05 one\n");
    }
    let read = ["--topic", "orders", "--from-beginning", "--max-messages", "5"];
    let group = ["--group", "readers", "--timeout-ms", "30000"];
    let read = tool(CONSUMER, &[&read[..], &group].concat(), b"");
    assert_eq!(String::from_utf8_lossy(&read), "\0\0\0\0\x69 one\n".repeat(5));
    let log = proxy.process.output();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

/// MirrorMaker copies a cluster through the proxy into an older one: every record once, in order, with
/// the target's ids.
#[tokio::test(flavor = "multi_thread")]
async fn mirror_maker_copies_through_the_proxy() {
    const EACH: i32 = 500;
    if !real::available() {
        return;
    }
    let source = Kafka::start(1);
    let target =
        Kafka::start_with(1, &Extras { release: Release::LastBefore4, ..Extras::default() });
    client::create_topic(&source.bootstrap(), "orders", 3).await.unwrap();
    for codec in client::CODECS {
        let messages: Vec<Message> = (0..EACH)
            .map(|it| {
                let value = framed(if it % 5 == 0 { 6 } else { 5 }, format!("{it}").as_bytes());
                Message::new(Some(&it.to_be_bytes()), Some(&value))
                    .partition(it % 3)
                    .header("codec", format!("{codec:?}").as_bytes())
            })
            .collect();
        client::produce(&source.bootstrap(), "orders", codec, &messages).await.unwrap();
    }
    let all = 5 * EACH as usize;
    let shop = Workshop::new();
    let proxy = in_front_of(&target, &shop);
    let settings = shop.write(
        "mirror.properties",
        &format!(
            "clusters = old, new\nold.bootstrap.servers = {}\nnew.bootstrap.servers = {}\n\
             old->new.enabled = true\nnew->old.enabled = false\nold->new.topics = orders\n\
             replication.policy.class = org.apache.kafka.connect.mirror.IdentityReplicationPolicy\n\
             replication.factor = 1\noffset-syncs.topic.replication.factor = 1\n\
             checkpoints.topic.replication.factor = 1\nheartbeats.topic.replication.factor = 1\n\
             offset.storage.replication.factor = 1\nstatus.storage.replication.factor = 1\n\
             config.storage.replication.factor = 1\nemit.heartbeats.enabled = false\n\
             emit.checkpoints.enabled = false\nsync.topic.acls.enabled = false\n\
             consumer.auto.offset.reset = earliest\ndedicated.mode.enable.internal.rest = false\n",
            source.bootstrap(),
            proxy.bootstrap
        ),
    );
    let mut mirror = real::start_mirror_maker(&settings, &shop.path("mirror.log"));
    let deadline = Instant::now() + Duration::from_mins(2);
    while proxy.metric("schema_proxy_records_total") < all as u64 {
        assert!(Instant::now() < deadline && !mirror.has_ended(), "{}", mirror.output());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let copied = client::consume(&target.bootstrap(), "orders", 3, all).await.unwrap();
    let mut wanted = client::consume(&source.bootstrap(), "orders", 3, all).await.unwrap();
    for message in &mut wanted {
        let value = message.value.take().unwrap();
        let id = id_of(&value).map(|it| if it == 5 { 105 } else { it }).unwrap();
        message.value = Some(framed(id, &value[5..]).into());
    }
    for partition in 0..3 {
        let of = |all: &[Message]| -> Vec<Message> {
            all.iter().filter(|it| it.partition == partition).cloned().collect()
        };
        assert!(of(&copied) == of(&wanted), "partition {partition}");
    }
    let translated = proxy.metric("schema_proxy_topic_ids_translated_total{topic=\"orders\"}");
    assert_eq!(translated, (all - all / 5) as u64);
    drop(mirror);
}

/// Confluent's serializers that write a schema's GUID into a header, where one schema has another GUID
/// in the target: the reference that it has is another version there.
#[tokio::test(flavor = "multi_thread")]
async fn guids_in_headers_of_confluents_serializers() {
    if !real::available() {
        return;
    }
    let kafka = Kafka::start(1);
    let options = Options { guids: true, ..Options::default() };
    let old = EmbeddedRegistry::start(options.clone()).await.unwrap();
    sources::fill(&old);
    let new = EmbeddedRegistry::start(options).await.unwrap();
    let field = |name, kind, default| json!({ "name": name, "type": kind, "default": default });
    let fields = json!([field("name", "string", json!("")), field("age", "int", json!(0))]);
    let other = json!({ "type": "record", "name": "Customer", "fields": fields });
    new.register("customer-value", &json!({ "schema": other.to_string() }));
    let shop = Workshop::new();
    done("backup", &shop.backup_yaml("one", &kafka.bootstrap(), &old.url()));
    done("restore", &shop.restore_yaml("one", &kafka.bootstrap(), &new.url()));
    let map = shop.path("store/one/id-map.json");
    let written: Value = serde_json::from_slice(&std::fs::read(&map).unwrap()).unwrap();
    assert_eq!(written["guids"].as_object().unwrap().len(), 1, "{written}");

    let proxy = shop.proxy(&shop.proxy_yaml(&kafka.bootstrap(), &map, "{}"));
    for kind in ["headers", "produce"] {
        let sent = sources::clients_py(&[kind, &proxy.bootstrap, &old.url(), kind]);
        assert_eq!(sent.trim(), "300");
    }
    let read = sources::clients_py(&["consume", &kafka.bootstrap(), &new.url(), "600"]);
    let read: Vec<Value> = read.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    for kind in ["headers", "produce"] {
        for topic in ["orders", "invoices", "shipments"] {
            let these = read.iter().filter(|it| it["topic"] == topic && it["note"] == kind);
            assert_eq!(these.count(), 100, "{topic} {kind}");
        }
    }
    // With the old registry's GUIDs the orders could not be read.
    let (from, to) = written["guids"].as_object().unwrap().iter().next().unwrap();
    let orders = read.iter().filter(|it| it["topic"] == "orders" && it["note"] == "headers");
    let mut ids = orders.map(|it| &it["id"]);
    assert!(ids.all(|it| it == to && it != from.as_str()), "{written}");
}

/// Ports for a proxy that is stopped and started: the first one, and those of brokers 1 to 3.
fn lasting_ports() -> (u16, u16) {
    loop {
        let base = testbed::free_port();
        let free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if base < u16::MAX - 4 && (base + 1..=base + 3).all(free) {
            return (base, base);
        }
    }
}

/// An idempotent producer with acks=all under a load, while brokers restart one after the other, the
/// leaders move, and the proxy is replaced three times: nothing is lost, nothing is there twice.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_while_everything_restarts() {
    if !real::available() {
        return;
    }
    let mut kafka = Kafka::start(3);
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let (bootstrap, base) = lasting_ports();
    let file = shop.proxy_yaml(&kafka.bootstrap(), &map, "{}");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text
        .replace("127.0.0.1:0\", advertised", &format!("127.0.0.1:{bootstrap}\", advertised"))
        .replace("broker_port_base: 0", &format!("broker_port_base: {base}"));
    std::fs::write(&file, text).unwrap();
    let mut proxy = shop.proxy(&file);
    let create =
        ["--create", "--topic", "orders", "--partitions", "6", "--replication-factor", "3"];
    let server = ["--bootstrap-server", proxy.bootstrap.as_str()];
    let durable = ["--config", "min.insync.replicas=2"];
    real::tool(TOPICS, &[&server[..], &create, &durable].concat(), b"");
    let end = shop.path("end");
    let arguments = [proxy.bootstrap.as_str(), "orders", "1000", end.to_str().unwrap()];
    let mut load = real::start_java_program("Counted", &arguments, &shop.path("load.log"));
    for index in 0..3 {
        // The load goes on in between.
        let sent = load.output().matches("at ").count();
        load.wait_for_text("at ", sent + 2);
        kafka.restart(index);
        let sent = load.output().matches("at ").count();
        load.wait_for_text("at ", sent + 1);
        assert_eq!(proxy.process.terminate(), Some(0));
        proxy = shop.proxy(&file);
    }
    let elected = ["--all-topic-partitions", "--election-type", "preferred"];
    let elect = "org.apache.kafka.tools.LeaderElectionCommand";
    let server = ["--bootstrap-server", proxy.bootstrap.as_str()];
    real::tool_says(elect, &[&server[..], &elected].concat(), b"");
    shop.write("end", "");
    let count = load.wait_for(|line| line.strip_prefix("delivered all of ")?.parse().ok());
    let found = client::consume(&kafka.bootstrap(), "orders", 6, count).await.unwrap();
    let number = |it: &Message| {
        let value = it.value.as_deref().unwrap();
        assert_eq!(id_of(value), Some(105));
        i32::from_be_bytes(value[5..].try_into().unwrap())
    };
    let mut numbers: Vec<i32> = found.iter().map(number).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..count as i32), "{} records", numbers.len());
    eprintln!("{count} records, each there once");
    // None behind them either.
    let ends = "org.apache.kafka.tools.GetOffsetShell";
    let ends =
        real::tool(ends, &["--bootstrap-server", &kafka.bootstrap(), "--topic", "orders"], b"");
    let ends = String::from_utf8_lossy(&ends).into_owned();
    let ends = ends.lines().map(|it| it.rsplit(':').next().unwrap().parse::<usize>().unwrap());
    assert_eq!(ends.sum::<usize>(), count);
}
