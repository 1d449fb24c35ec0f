//! The proxy while it runs: maps that change under it.

use serde_json::Value;
use testbed::Broker;
use testbed::broker::Embedded;
use testbed::client::{self, Compression, Message, framed, id_of};
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
