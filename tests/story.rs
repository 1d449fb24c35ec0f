//! The main job through the real binaries, against the embedded brokers and registries.

use serde_json::json;
use testbed::broker::Embedded;
use testbed::client::{self, CODECS, Compression, Message, framed, id_of};
use testbed::real::{self, Kafka};
use testbed::registry::Options;
use testbed::workshop::{Workshop, done, kafka_backup, stderr, stdout};
use testbed::{Broker, EmbeddedRegistry};

/// Where a test runs: everything embedded, or Kafka real.
#[derive(Clone, Copy)]
enum Brokers {
    Embedded,
    Real,
}

impl Brokers {
    async fn start(self, count: usize) -> Box<dyn Broker> {
        match self {
            Self::Embedded => Box::new(Embedded::start(count).await.unwrap()),
            Self::Real => Box::new(Kafka::start(count)),
        }
    }
}

struct World {
    kafka: Embedded,
    registry: EmbeddedRegistry,
}

async fn world(options: Options) -> World {
    World {
        kafka: Embedded::start(1).await.unwrap(),
        registry: EmbeddedRegistry::start(options).await.unwrap(),
    }
}

/// A source with two subjects, the second one referencing the first, and a target whose ids start
/// at 500.
async fn two_worlds() -> (World, World, u32) {
    let source = world(Options::default()).await;
    let target = world(Options { first_id: Some(500), ..Options::default() }).await;
    let common = json!({ "schema": r#"{"type":"record","name":"Common","fields":[]}"# });
    source.registry.register("z-common", &common);
    let order = json!({
        "schema": r#"{"type":"record","name":"Order","fields":[{"name":"c","type":"Common"}]}"#,
        "references": [{ "name": "Common", "subject": "z-common", "version": 1 }],
    });
    let id = source.registry.register("orders-value", &order);
    (source, target, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_every_codec_survive_with_the_targets_ids() {
    survive(Brokers::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_every_codec_survive_on_real_kafka() {
    if real::available() {
        survive(Brokers::Real).await;
    }
}

async fn survive(brokers: Brokers) {
    let (source, target, id) = two_worlds().await;
    let (source_kafka, target_kafka) = (brokers.start(1).await, brokers.start(1).await);
    let (from, to) = (source_kafka.bootstrap(), target_kafka.bootstrap());
    client::create_topic(&from, "orders", 2).await.unwrap();
    client::create_topic(&from, "empty", 1).await.unwrap();
    let mut sent = Vec::new();
    for codec in CODECS {
        let messages: Vec<Message> = (0..50)
            .map(|index| {
                let key = format!("{codec:?}-{index}");
                let value = framed(id, format!("payload {index}").as_bytes());
                let message = Message::new(Some(key.as_bytes()), Some(&value)).partition(index % 2);
                // Duplicate header names are legal and their order counts.
                message.header("trace", b"1").header("trace", b"2")
            })
            .chain([
                Message::new(None, Some(b"no schema")),
                Message::new(Some(b"tombstone"), None),
                Message::new(Some(b""), Some(b"")),
            ])
            .collect();
        client::produce(&from, "orders", codec, &messages).await.unwrap();
        sent.extend(messages);
    }

    let shop = Workshop::new();
    let described = done("backup", &shop.backup_yaml("one", &from, &source.registry.url()));
    assert_eq!(described["topics"][1]["name"], "orders");
    assert_eq!(described["topics"][1]["records"], sent.len());
    assert_eq!(described["schema_registry"]["subjects_count"], 2);
    let restored = done("restore", &shop.restore_yaml("one", &to, &target.registry.url()));
    assert_eq!(restored["schemas"][0]["subject"], "z-common", "references come first");
    let new_id = restored["schemas"][1]["target_id"].as_u64().unwrap() as u32;
    assert_eq!(new_id, 501);
    assert_eq!(restored["topics"][1]["translated"], 250);

    let mut found = client::consume(&to, "orders", 2, sent.len()).await.unwrap();
    let mut wanted = sent.clone();
    for message in &mut wanted {
        if message.value.as_deref().and_then(id_of) == Some(id) {
            let payload = message.value.take().unwrap();
            message.value = Some(framed(new_id, &payload[5..]).into());
        }
    }
    wanted.sort_by_key(|it| it.partition);
    found.sort_by_key(|it| it.partition);
    assert_eq!(found, wanted);

    // The map is a plain file that the proxy loads, and the same restore again is refused.
    let map = std::fs::read_to_string(shop.path("store/one/id-map.json")).unwrap();
    let map: serde_json::Value = serde_json::from_str(&map).unwrap();
    assert_eq!(map["mapping"], json!({ "1": 500, "2": 501 }));
    let again = shop.path("restore.yaml");
    let again = kafka_backup(&["restore", "--config", again.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(3));
    assert!(
        stderr(&again).contains("topic `orders` is not empty in the target"),
        "{}",
        stderr(&again)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_with_old_ids_writes_through_the_proxy() {
    write_through(Brokers::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_with_old_ids_writes_to_real_kafka() {
    if real::available() {
        write_through(Brokers::Real).await;
    }
}

async fn write_through(brokers: Brokers) {
    let kafka = brokers.start(1).await;
    let to = kafka.bootstrap();
    client::create_topic(&to, "orders", 1).await.unwrap();
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let rewrite = "{ produce: true, fetch: false, keys: true, values: true, unmapped: pass }";
    let mut proxy = shop.proxy(&shop.proxy_yaml(&to, &map, rewrite));
    assert_eq!(proxy.get("/readyz").0, 200);
    assert_eq!(proxy.get("/healthz").0, 200);
    for codec in CODECS {
        let messages = [
            Message::new(Some(&framed(5, b"key")), Some(&framed(5, b"value"))),
            Message::new(None, Some(&framed(6, b"unmapped"))),
        ];
        client::produce(&proxy.bootstrap, "orders", codec, &messages).await.unwrap();
    }
    let found = client::consume(&to, "orders", 1, 10).await.unwrap();
    assert_eq!(found.len(), 10);
    for pair in found.chunks(2) {
        assert_eq!(pair[0].key.as_deref(), Some(&framed(105, b"key")[..]));
        assert_eq!(pair[0].value.as_deref(), Some(&framed(105, b"value")[..]));
        assert_eq!(pair[1].value.as_deref(), Some(&framed(6, b"unmapped")[..]));
    }
    assert_eq!(proxy.metric("schema_proxy_ids_translated_total"), 10);
    assert_eq!(proxy.metric("schema_proxy_ids_unmapped_total"), 5);
    proxy.process.wait_for_text("schema id 6 in a Value is not in the id map", 1);
    assert_eq!(proxy.process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_with_new_ids_reads_old_data_through_the_proxy() {
    read_through(Brokers::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_with_new_ids_reads_old_data_from_real_kafka() {
    if real::available() {
        read_through(Brokers::Real).await;
    }
}

async fn read_through(brokers: Brokers) {
    let kafka = brokers.start(3).await;
    client::create_topic(&kafka.bootstrap(), "orders", 6).await.unwrap();
    let mut sent = Vec::new();
    for codec in CODECS {
        let messages: Vec<Message> = (0..6)
            .map(|it| Message::new(None, Some(&framed(5, &[it; 300]))).partition(i32::from(it)))
            .collect();
        client::produce(&kafka.bootstrap(), "orders", codec, &messages).await.unwrap();
        sent.extend(messages);
    }
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"mapping": {"5": 105}}"#);
    let proxy =
        shop.proxy(&shop.proxy_yaml(&kafka.bootstrap(), &map, "{ produce: false, fetch: true }"));
    let found = client::consume(&proxy.bootstrap, "orders", 6, sent.len()).await.unwrap();
    assert_eq!(found.len(), sent.len());
    for message in found {
        let partition = u8::try_from(message.partition).unwrap();
        assert_eq!(message.value.as_deref(), Some(&framed(105, &[partition; 300])[..]));
    }
    // All three brokers have their ports here.
    let log = proxy.process.output();
    assert_eq!(log.matches(" is here as ").count(), 3, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn describe_shows_what_backup_captured() {
    let (source, _, _) = two_worlds().await;
    let shop = Workshop::new();
    client::create_topic(&source.kafka.bootstrap(), "orders", 1).await.unwrap();
    done("backup", &shop.backup_yaml("one", &source.kafka.bootstrap(), &source.registry.url()));
    let store = shop.path("store");
    let arguments = ["describe", "--path", store.to_str().unwrap(), "--backup-id", "one"];
    let text = stdout(&kafka_backup(&arguments));
    assert!(text.contains("schema registry: 2 subjects, 2 versions"), "{text}");
    let output = kafka_backup(&[&arguments[..], &["--format", "json"]].concat());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        json["schema_registry"],
        json!({ "enabled": true, "subjects_count": 2, "schemas_count": 2, "subjects": [
            { "name": "orders-value", "versions": [1], "latest_id": 2 },
            { "name": "z-common", "versions": [1], "latest_id": 1 },
        ]})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rewriting_changed_ids_stop_the_restore_before_any_record() {
    let (source, target, id) = two_worlds().await;
    client::create_topic(&source.kafka.bootstrap(), "orders", 1).await.unwrap();
    let message = Message::new(None, Some(&framed(id, b"x")));
    client::produce(&source.kafka.bootstrap(), "orders", Compression::None, &[message])
        .await
        .unwrap();
    let shop = Workshop::new();
    done("backup", &shop.backup_yaml("one", &source.kafka.bootstrap(), &source.registry.url()));
    let yaml = shop.restore_yaml("one", &target.kafka.bootstrap(), &target.registry.url());
    let text =
        std::fs::read_to_string(&yaml).unwrap().replace("rewrite_ids: true", "rewrite_ids: false");
    let yaml = shop.write("restore.yaml", &text);
    let output = kafka_backup(&["restore", "--config", yaml.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("Set `rewrite_ids: true`"), "{}", stderr(&output));
    assert_eq!(target.kafka.fake().next_offset("orders", 0), None, "no topic was created");
}

#[tokio::test(flavor = "multi_thread")]
async fn validate_finds_damage_and_ids_without_a_schema() {
    let (source, _, id) = two_worlds().await;
    let from = source.kafka.bootstrap();
    client::create_topic(&from, "orders", 1).await.unwrap();
    client::create_topic(&from, "numbers", 1).await.unwrap();
    let numbers = [Message::new(Some(&7_i64.to_be_bytes()), Some(b"x"))];
    client::produce(&from, "numbers", Compression::None, &numbers).await.unwrap();
    for codec in CODECS {
        let message = Message::new(None, Some(&framed(id, b"payload")));
        client::produce(&from, "orders", codec, &[message]).await.unwrap();
    }
    let shop = Workshop::new();
    let yaml = shop.backup_yaml("one", &from, &source.registry.url());
    done("backup", &yaml);
    let place = shop.path("store");
    let validate = |id: &str, more: &[&str]| {
        let arguments = ["validate", "--path", place.to_str().unwrap(), "--backup-id", id];
        let output = kafka_backup(&[&arguments[..], &["--format", "json"], more].concat());
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), json)
    };
    assert_eq!(validate("one", &[]).0, 0);
    let (code, found) = validate("one", &["--deep"]);
    assert_eq!((code, &found["problems"]), (0, &json!([])));
    assert_eq!(found["topics"][1]["values"]["captured"], json!({ "2": 5 }));
    assert_eq!(found["topics"][0]["keys"]["missing"], json!({ "0": 1 }), "a number, not an id");

    // A byte in the middle: the size stays, so only a deep look finds it.
    let log = place.join("one/topics/orders/0/00000000000000000000.log");
    let whole = std::fs::read(&log).unwrap();
    let mut damaged = whole.clone();
    damaged[100] ^= 1;
    std::fs::write(&log, &damaged).unwrap();
    assert_eq!(validate("one", &[]).0, 0);
    let (code, found) = validate("one", &["--deep"]);
    assert_eq!(code, 4);
    assert!(found["problems"][0].as_str().unwrap().contains("its CRC does not match"), "{found}");
    std::fs::write(&log, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(validate("one", &[]).0, 4);
    std::fs::write(&log, &whole).unwrap();

    // Records whose schema the registry no longer lists.
    let lost = [Message::new(None, Some(&framed(77, b"lost")))];
    client::produce(&from, "orders", Compression::Zstd, &lost).await.unwrap();
    done("backup", &shop.backup_yaml("two", &from, &source.registry.url()));
    let (code, found) = validate("two", &["--deep"]);
    let wanted = "topic orders: 1 values have schema id 77, whose schema is not in the artefact";
    assert_eq!((code, &found["problems"]), (4, &json!([wanted])));
}
