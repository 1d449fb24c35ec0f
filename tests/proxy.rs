//! The proxy while it runs: maps that change under it.

use serde_json::Value;
use testbed::Broker;
use testbed::broker::Embedded;
use testbed::client::{self, Compression, Message, framed, id_of};
use testbed::real::{self, Kafka};
use testbed::workshop::{RunningProxy, Workshop};

async fn write_through(proxy: &RunningProxy, id: u32) {
    let message = Message::new(None, Some(&framed(id, b"payload")));
    client::produce(&proxy.bootstrap, "orders", Compression::None, &[message]).await.unwrap();
}

async fn ids(kafka: &Embedded, count: usize) -> Vec<u32> {
    let found = client::consume(&kafka.bootstrap(), "orders", 1, count).await.unwrap();
    found.iter().map(|it| id_of(it.value.as_deref().unwrap()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_map_takes_over_and_a_bad_one_does_not() {
    let kafka = Embedded::start(1).await.unwrap();
    client::create_topic(&kafka.bootstrap(), "orders", 1).await.unwrap();
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let file = shop.proxy_yaml(&kafka.bootstrap(), &map, "{}");
    // Only when it is asked, so that each way is seen by itself.
    let text = std::fs::read_to_string(&file).unwrap();
    let slow = text.replace("map.json }", "map.json, reload_every: 60m }");
    std::fs::write(&file, slow).unwrap();
    let mut proxy = shop.proxy(&file);
    write_through(&proxy, 5).await;

    // Asked over HTTP.
    shop.write("map.json", r#"{"5": 205}"#);
    assert_eq!(proxy.post("/id-map/reload").0, 200);
    write_through(&proxy, 5).await;
    let shown: Value = serde_json::from_str(&proxy.get("/id-map").1).unwrap();
    assert_eq!(shown["mapping"]["5"], 205);
    assert_eq!(proxy.metric("schema_proxy_id_map_version"), 2);

    // By a signal.
    shop.write("map.json", r#"{"5": 305, "6": 306}"#);
    let pid = proxy.process.id().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    proxy.process.wait_for_text("has 2 ids", 1);
    write_through(&proxy, 5).await;

    // A bad one is refused and told; the old one goes on.
    shop.write("map.json", r#"{"5": 1, "5": 2}"#);
    let (status, why) = proxy.post("/id-map/reload");
    assert_eq!(status, 422);
    assert!(why.contains("schema id 5 is given twice"), "{why}");
    let (status, note) = proxy.get("/readyz");
    assert_eq!(status, 200);
    assert!(note.contains("ready, but the id map stays the old one"), "{note}");
    write_through(&proxy, 5).await;
    assert_eq!(ids(&kafka, 4).await, [105, 205, 305, 305]);
    let (_, metrics) = proxy.get("/metrics");
    assert!(metrics.contains("schema_proxy_id_map_reloads_total{result=\"taken\"} 2"), "{metrics}");
    assert!(metrics.contains("schema_proxy_id_map_reloads_total{result=\"refused\"} 1"));

    // By itself, where the file changes; and another context's ids.
    drop(proxy);
    let often = text.replace("map.json }", "map.json, reload_every: 100ms, context: .eu }");
    std::fs::write(&file, often).unwrap();
    shop.write("map.json", r#"{"mapping": {"5": 1}, "contexts": {".eu": {"5": 405}}}"#);
    let mut proxy = shop.proxy(&file);
    write_through(&proxy, 5).await;
    shop.write("map.json", r#"{"mapping": {}, "contexts": {".eu": {"5": 505}}}"#);
    proxy.process.wait_for_text("the id map was loaded again", 1);
    write_through(&proxy, 5).await;
    assert_eq!(ids(&kafka, 6).await[4..], [405, 505]);
}

/// What each topic holds after its records went through a proxy with rules.
#[tokio::test(flavor = "multi_thread")]
async fn rules_say_what_is_done_in_which_topic() {
    if !real::available() {
        return;
    }
    let kafka = Kafka::start(1);
    let topics = ["orders-eu", "orders-keys", "other", "raw-data", "strict"];
    for topic in topics {
        client::create_topic(&kafka.bootstrap(), topic, 2).await.unwrap();
    }
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let rewrite = "{ keys: false, exclude: [\"raw-*\"], rules: [ \
                   { topics: [\"*-keys\"], keys: true, values: false }, \
                   { topics: [\"orders-*\"], keys: true }, \
                   { topics: [strict], unmapped: reject } ] }";
    let proxy = shop.proxy(&shop.proxy_yaml(&kafka.bootstrap(), &map, rewrite));
    let both = |id| Message::new(Some(&framed(id, b"key")), Some(&framed(id, b"value")));
    for topic in topics {
        client::produce(&proxy.bootstrap, topic, Compression::Zstd, &[both(5)]).await.unwrap();
    }
    for (topic, key, value) in [
        ("orders-keys", 105, 5),
        ("orders-eu", 105, 105),
        ("other", 5, 105),
        ("raw-data", 5, 5),
        ("strict", 5, 105),
    ] {
        let found = client::consume(&kafka.bootstrap(), topic, 2, 1).await.unwrap();
        let ids =
            (id_of(found[0].key.as_deref().unwrap()), id_of(found[0].value.as_deref().unwrap()));
        assert_eq!(ids, (Some(key), Some(value)), "{topic}");
    }

    // An id that the map lacks: that partition is refused, with the reason; the other one goes on.
    let plain = |id, partition| Message::new(None, Some(&framed(id, b"v"))).partition(partition);
    let messages = [plain(5, 0), plain(7, 1)];
    let refused = client::produce(&proxy.bootstrap, "strict", Compression::None, &messages).await;
    let why = refused.unwrap_err().to_string();
    assert!(why.to_lowercase().contains("invalid"), "{why}");
    let found = client::consume(&kafka.bootstrap(), "strict", 2, 2).await.unwrap();
    let values: Vec<Option<u32>> =
        found.iter().map(|it| id_of(it.value.as_deref().unwrap())).collect();
    assert_eq!(values, [Some(105), Some(105)], "the unmapped one is not there");
    assert_eq!(proxy.metric("schema_proxy_batches_rejected_total"), 1);
    let wanted =
        "schema id 7 in the Value of record 0 of the batch for strict-1 is not in the id map";
    assert!(proxy.process.output().contains(wanted), "{}", proxy.process.output());
    client::produce(&proxy.bootstrap, "other", Compression::None, &messages).await.unwrap();

    // Kafka's own producer, which names topics by id, shows its user the reason; with acks=0 its
    // connection ends.
    let producer = "org.apache.kafka.tools.ProducerPerformance";
    let payload = shop.write("payload", "\0\0\0\0\u{7}payload\n");
    let payload = ["--topic", "strict", "--payload-file", payload.to_str().unwrap()];
    let servers = format!("bootstrap.servers={}", proxy.bootstrap);
    let load = ["--num-records", "1", "--throughput", "-1", "--producer-props", &servers];
    let produce =
        |acks: &str| real::tool_says(producer, &[&payload[..], &load, &[acks]].concat(), b"");
    let said = produce("acks=all");
    assert!(said.contains("schema id 7 in the Value of record 0"), "{said}");
    produce("acks=0");
    let (_, metrics) = proxy.get("/metrics");
    assert!(metrics.contains("failures_total{reason=\"rejected\"}"), "{metrics}");
    let found = client::consume(&kafka.bootstrap(), "strict", 2, 2).await.unwrap();
    assert_eq!(found.len(), 2);
}
