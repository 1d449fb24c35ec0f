//! The proxy while it runs: maps that change under it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use testbed::broker::Embedded;
use testbed::client::{self, Compression, Message, framed, id_of};
use testbed::real::{self, Kafka};
use testbed::registry::Options;
use testbed::workshop::{RunningProxy, Workshop, done, kafka_backup, stderr};
use testbed::{Broker, EmbeddedRegistry};

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
    assert!(metrics.contains("added_latency_seconds_count{side=\"client\"} 4"), "{metrics}");
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

async fn read_through(proxy: &RunningProxy, topic: &str, count: usize) -> Vec<u32> {
    let found = client::consume(&proxy.bootstrap, topic, 1, count).await.unwrap();
    found.iter().map(|it| id_of(it.value.as_deref().unwrap()).unwrap()).collect()
}

/// Old records are read with the new registry, new ones with the old, and none is translated that
/// was written after the cut-over.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_is_translated_either_way() {
    if !real::available() {
        return;
    }
    let kafka = Kafka::start(1);
    let bootstrap = kafka.bootstrap();
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"5": 105, "6": 106, "105": 7}"#);
    let write = async |id: u32| {
        let message = Message::new(None, Some(&framed(id, b"payload")));
        client::produce(&bootstrap, "orders", Compression::Lz4, &[message]).await.unwrap();
    };
    client::create_topic(&bootstrap, "orders", 1).await.unwrap();
    write(5).await;
    write(6).await;
    let snapshot = shop.path("cut-over.json");
    let job = shop.write(
        "job.yaml",
        &format!(
            "mode: restore\nbackup_id: one\ntarget: {{ bootstrap_servers: \"{bootstrap}\" }}\n\
             storage: {}\n",
            shop.storage()
        ),
    );
    let arguments = ["offsets", "snapshot", "--config", job.to_str().unwrap(), "-o"];
    let output = kafka_backup(&[&arguments[..], &[snapshot.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    write(105).await;

    let start = |rewrite: &str| shop.proxy(&shop.proxy_yaml(&bootstrap, &map, rewrite));
    // 105 is an id of the old registry too, and one of the new: only the cut-over tells them apart.
    let forward = start("{ produce: false, fetch: forward }");
    assert_eq!(read_through(&forward, "orders", 3).await, [105, 106, 7]);
    let until = format!("until_offsets: {}", snapshot.display());
    let forward = start(&format!("{{ produce: false, fetch: true, {until} }}"));
    assert_eq!(read_through(&forward, "orders", 3).await, [105, 106, 105]);
    assert_eq!(forward.metric("schema_proxy_topic_ids_translated_total{topic=\"orders\"}"), 2);
    let reverse = start("{ produce: true, fetch: reverse }");
    assert_eq!(read_through(&reverse, "orders", 3).await, [5, 6, 5]);

    // A share group (KIP-932) sees the same.
    let features = "org.apache.kafka.tools.ConfigCommand";
    let earliest = ["--entity-type", "groups", "--entity-name", "sharing", "--alter"];
    let earliest = [&earliest[..], &["--add-config", "share.auto.offset.reset=earliest"]].concat();
    let server = ["--bootstrap-server", bootstrap.as_str()];
    real::tool_says(features, &[&server[..], &earliest].concat(), b"");
    real::tool_says("kafka.admin.ConfigCommand", &[&server[..], &earliest].concat(), b"");
    let share = "org.apache.kafka.tools.consumer.ConsoleShareConsumer";
    let through = ["--bootstrap-server", &reverse.bootstrap, "--topic", "orders"];
    let group = ["--group", "sharing", "--max-messages", "3", "--timeout-ms", "30000"];
    let seen = real::tool(share, &[&through[..], &group].concat(), b"");
    let ids: Vec<u8> =
        seen.split(|it| *it == b'\n').filter(|it| it.len() > 4).map(|it| it[4]).collect();
    assert_eq!(ids, [5, 6, 5], "{}", String::from_utf8_lossy(&seen));

    // Two ids that become one have no way back.
    let twice = shop.write("twice.json", r#"{"3": 9, "4": 9}"#);
    let file = shop.proxy_yaml(&bootstrap, &twice, "{ fetch: reverse }");
    let mut refused = shop.start_proxy(&file);
    refused.wait_for_text("schema ids 3 and 4 both become 9, so `fetch: reverse`", 1);
}

/// Ids are translated once, whoever stands in a row.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_translated_twice() {
    if !real::available() {
        return;
    }
    let (source, target) = (Kafka::start(1), Kafka::start(1));
    let old = EmbeddedRegistry::start(Options::default()).await.unwrap();
    let options = Options { first_id: Some(70), ..Options::default() };
    let new = EmbeddedRegistry::start(options).await.unwrap();
    let id = old.register("orders-value", &json!({ "schema": "\"string\"" }));
    client::create_topic(&source.bootstrap(), "orders", 1).await.unwrap();
    let message = Message::new(None, Some(&framed(id, b"payload")));
    client::produce(&source.bootstrap(), "orders", Compression::None, &[message]).await.unwrap();
    let shop = Workshop::new();
    done("backup", &shop.backup_yaml("one", &source.bootstrap(), &old.url()));

    // A proxy with another map: refused before the first record.
    let map = shop.write("map.json", &json!({ id.to_string(): 4, "70": 71 }).to_string());
    let proxy = shop.proxy(&shop.proxy_yaml(&target.bootstrap(), &map, "{}"));
    let restore = shop.restore_yaml("one", &proxy.bootstrap, &new.url());
    let output = kafka_backup(&["restore", "--config", restore.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("a schema-proxy whose id map is not the one of this restore"), "{text}");

    // With the restore's own map the proxy does it.
    std::fs::copy(shop.path("store/one/id-map.json"), &map).unwrap();
    assert_eq!(proxy.post("/id-map/reload").0, 200);
    let restored = done("restore", &restore);
    assert_eq!(restored["topics"][0]["translated"], 0, "{restored}");
    assert_eq!(proxy.metric("schema_proxy_ids_translated_total"), 1);
    let found = client::consume(&target.bootstrap(), "orders", 1, 1).await.unwrap();
    assert_eq!(found[0].value.as_deref(), Some(&framed(70, b"payload")[..]));

    // A proxy in front of another one lets nobody through.
    let second = shop.proxy_yaml(&proxy.bootstrap, &map, "{}");
    let mut second = shop.start_proxy(&second);
    let bootstrap = Workshop::bootstrap_of(&mut second);
    let stream = TcpStream::connect(&bootstrap).unwrap();
    let mut request = vec![0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 0, 2, b'a', 2, b'1', 0];
    request.splice(0..0, (request.len() as i32).to_be_bytes());
    (&stream).write_all(&request).unwrap();
    let mut answer = Vec::new();
    assert_eq!((&stream).read_to_end(&mut answer).unwrap_or(0), 0);
    second.wait_for_text("the target is a schema-proxy too", 1);
    drop(proxy.process);
}

/// Produce 0 to 2 are refused in words of their own; too many connections too; and the admin port
/// tells, and does, what it is asked.
#[tokio::test(flavor = "multi_thread")]
async fn bounds_and_the_admin_port() {
    let kafka = Embedded::start(1).await.unwrap();
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let file = shop.proxy_yaml(&kafka.bootstrap(), &map, "{}");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}limits: {{ max_connections: 2 }}\n")).unwrap();
    let mut proxy = shop.proxy(&file);

    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    for version in 0..=2_u8 {
        // Those before count until the broker has closed its side too.
        while proxy.get("/connections").1.trim() != "[]" {
            assert!(std::time::Instant::now() < deadline, "{}", proxy.get("/connections").1);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let stream = TcpStream::connect(&proxy.bootstrap).unwrap();
        let mut request = vec![0, 0, 0, version, 0, 0, 0, 7, 0xff, 0xff];
        request.extend([0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 3]);
        request.extend([0, 0, 0, 2, 9, 9]);
        request.splice(0..0, (request.len() as i32).to_be_bytes());
        (&stream).write_all(&request).unwrap();
        let mut answer = vec![0; 25];
        (&stream).read_exact(&mut answer).unwrap();
        assert_eq!(answer[4..8], 7_i32.to_be_bytes());
        let wanted = [0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 3, 0, 35];
        assert_eq!(answer[8..], wanted, "version {version}");
    }

    while proxy.get("/connections").1.trim() != "[]" {
        assert!(std::time::Instant::now() < deadline, "{}", proxy.get("/connections").1);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let open: Vec<TcpStream> =
        (0..2).map(|_| TcpStream::connect(&proxy.bootstrap).unwrap()).collect();
    let listed = loop {
        let listed: Value = serde_json::from_str(&proxy.get("/connections").1).unwrap();
        if listed.as_array().unwrap().len() == 2 {
            break listed;
        }
        assert!(std::time::Instant::now() < deadline, "{listed}");
    };
    let clients: BTreeSet<String> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["client"].as_str().unwrap().to_owned())
        .collect();
    let ours = open.iter().map(|it| it.local_addr().unwrap().to_string());
    assert_eq!(clients, ours.collect());
    assert_eq!(listed[0]["broker"], "bootstrap");
    let mut third = TcpStream::connect(&proxy.bootstrap).unwrap();
    assert_eq!(third.read(&mut [0; 1]).unwrap_or(0), 0, "it is closed at once");
    proxy.process.wait_for_text("2 connections are open, which is limits.max_connections", 1);

    assert_eq!(proxy.post("/log-level?level=debug"), (200, "log level debug\n".to_owned()));
    assert_eq!(proxy.post("/log-level?level=,,=").0, 422);
    drop(open);
    assert_eq!(proxy.post("/drain").0, 200);
    proxy.process.wait_for_text("POST /drain", 1);
    while !proxy.process.has_ended() {
        assert!(std::time::Instant::now() < deadline, "it did not end");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }

    // Off loopback only with a token, which probes do not need.
    let open =
        text.replace("admin: { listen: \"127.0.0.1:0\" }", "admin: { listen: \"0.0.0.0:0\" }");
    assert_ne!(open, text);
    std::fs::write(&file, &open).unwrap();
    let mut refused = shop.start_proxy(&file);
    refused.wait_for_text("admin.token", 1);
    let guarded = text.replace("0.1:0\" }", "0.1:0\", token: s3cret }");
    assert_ne!(guarded, text);
    std::fs::write(&file, guarded).unwrap();
    let proxy = shop.proxy(&file);
    assert_eq!((proxy.get("/readyz").0, proxy.get("/metrics").0), (200, 401));
    assert_eq!(proxy.get_with("/metrics", "Authorization: Bearer s3cret\r\n").0, 200);
    assert_eq!(proxy.get_with("/metrics", "Authorization: Bearer s3cre7\r\n").0, 401);
}

/// An id that the map lacks is registered in the target with what it references, and translated; one
/// that nobody knows follows the policy.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_ids_are_resolved() {
    if !real::available() {
        return;
    }
    let kafka = Kafka::start(1);
    client::create_topic(&kafka.bootstrap(), "orders", 1).await.unwrap();
    let old = EmbeddedRegistry::start(Options::default()).await.unwrap();
    let options = Options { first_id: Some(700), ..Options::default() };
    let new = EmbeddedRegistry::start(options).await.unwrap();
    let address =
        r#"{"type":"record","name":"Address","fields":[{"name":"street","type":"string"}]}"#;
    old.register("address", &json!({ "schema": address }));
    let order = r#"{"type":"record","name":"Order","fields":[{"name":"to","type":"Address"}]}"#;
    let reference = json!([{ "name": "Address", "subject": "address", "version": 1 }]);
    let id = old.register("orders-value", &json!({ "schema": order, "references": reference }));
    let shop = Workshop::new();
    let map = shop.write("map.json", "{}");
    let rewrite = "{ unmapped: resolve, unresolved: reject }";
    let file = shop.proxy_yaml(&kafka.bootstrap(), &map, rewrite);
    let text = std::fs::read_to_string(&file).unwrap();
    let mut refused = shop.start_proxy(&file);
    refused.wait_for_text("`unmapped: resolve` needs `registries", 1);
    let registries = format!(
        "registries: {{ source: {{ url: \"{}\" }}, target: {{ url: \"{}\" }} }}\n",
        old.url(),
        new.url()
    );
    std::fs::write(&file, text + &registries).unwrap();
    let mut proxy = shop.proxy(&file);
    let message = |id: u32| Message::new(None, Some(&framed(id, b"payload")));
    let many: Vec<Message> = (0..50).map(|_| message(id)).collect();
    // From several connections at once: it is asked for once.
    let bootstrap = proxy.bootstrap.clone();
    let all: Vec<_> = (0..4)
        .map(|_| {
            let (bootstrap, many) = (bootstrap.clone(), many.clone());
            tokio::spawn(async move {
                client::produce(&bootstrap, "orders", Compression::Lz4, &many).await
            })
        })
        .collect();
    for done in all {
        done.await.unwrap().unwrap();
    }
    let found = client::consume(&kafka.bootstrap(), "orders", 1, 200).await.unwrap();
    assert_eq!(found.len(), 200);
    let ids: BTreeSet<u32> =
        found.iter().map(|it| id_of(it.value.as_deref().unwrap()).unwrap()).collect();
    let target = new.call("GET", "/subjects/orders-value/versions/1", &Value::Null);
    assert_eq!(ids, [target["id"].as_u64().unwrap() as u32].into());
    assert_eq!(target["references"][0]["subject"], "address");
    let registered = new.seen().iter().filter(|it| it.method == "POST").count();
    assert!(registered <= 4, "{registered} posts for two schemas");
    let shown: Value = serde_json::from_str(&proxy.get("/id-map").1).unwrap();
    assert_eq!(shown["mapping"][id.to_string()], target["id"]);

    // A new map does not take away what was learned.
    shop.write("map.json", r#"{"1000": 1}"#);
    assert_eq!(proxy.post("/id-map/reload").0, 200);
    client::produce(&bootstrap, "orders", Compression::None, &[message(id)]).await.unwrap();

    // One that the source does not know: refused, and not asked for again at once.
    for _ in 0..2 {
        let refused =
            client::produce(&bootstrap, "orders", Compression::None, &[message(99)]).await;
        assert!(refused.unwrap_err().to_string().to_lowercase().contains("invalid"));
    }
    proxy.process.wait_for_text("schema id 99 is not in the id map and stays unknown", 1);
    let asked = old.seen().iter().filter(|it| it.path.contains("/schemas/ids/99")).count();
    assert_eq!(asked, 1);
    assert_eq!(proxy.metric("schema_proxy_ids_unresolved_total"), 2);
}

/// One proxy's map is another's, over HTTP; a rule says whose ids are in its topics; and connections on
/// which nothing happens are closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_map_over_http_contexts_and_idle_connections() {
    let kafka = Embedded::start(1).await.unwrap();
    for topic in ["orders", "eu-orders"] {
        client::create_topic(&kafka.bootstrap(), topic, 1).await.unwrap();
    }
    let shop = Workshop::new();
    let map = r#"{"mapping": {"5": 105}, "contexts": {".eu": {"5": 205}}}"#;
    let map = shop.write("map.json", map);
    let first = shop.proxy_yaml(&kafka.bootstrap(), &map, "{}");
    let text = std::fs::read_to_string(&first).unwrap();
    std::fs::write(&first, text.replace("0.1:0\" }", "0.1:0\", token: s3cret }")).unwrap();
    let mut first = shop.proxy(&first);

    let rewrite = "{ rules: [ { topics: [\"eu-*\"], context: .eu, unmapped: reject } ] }";
    let second = shop.proxy_yaml(&kafka.bootstrap(), &map, rewrite);
    let address = format!("http://{}/id-map", first.admin);
    let text = std::fs::read_to_string(&second).unwrap();
    let from = |authorization: &str| {
        let place = format!("file: \"{address}\", reload_every: 100ms, {authorization}");
        let text = text.replace(&format!("file: {}", map.display()), &place);
        std::fs::write(&second, text + "limits: { idle_timeout_secs: 1 }\n").unwrap();
    };
    from("authorization: \"Bearer guess\"");
    let mut refused = shop.start_proxy(&second);
    refused.wait_for_text("HTTP 401", 1);
    assert!(!refused.output().contains("guess"), "{}", refused.output());
    from("authorization: \"Bearer s3cret\"");
    let mut proxy = shop.proxy(&second);
    let write = async |topic: &str, id: u32| {
        let message = Message::new(None, Some(&framed(id, b"payload")));
        client::produce(&proxy.bootstrap, topic, Compression::None, &[message]).await
    };
    write("orders", 5).await.unwrap();
    write("eu-orders", 5).await.unwrap();
    write("orders", 6).await.unwrap();
    write("eu-orders", 6).await.unwrap_err();
    for (topic, wanted) in [("orders", &[105, 6][..]), ("eu-orders", &[205])] {
        let found = client::consume(&kafka.bootstrap(), topic, 1, wanted.len()).await.unwrap();
        let ids = found.iter().map(|it| id_of(it.value.as_deref().unwrap()).unwrap());
        assert_eq!(ids.collect::<Vec<_>>(), wanted, "{topic}");
    }
    assert_eq!(proxy.metric("schema_proxy_id_map_ids"), 2);

    // A change there is one here; while the other is away, the map stays.
    shop.write("map.json", r#"{"mapping": {"5": 1}, "contexts": {".eu": {"6": 206}}}"#);
    assert_eq!(first.get_with("/metrics", "Authorization: Bearer s3cret\r\n").0, 200);
    first.process.wait_for_text("was loaded again", 1);
    proxy.process.wait_for_text("was loaded again", 1);
    drop(first);
    proxy.process.wait_for_text("the id map stays the old one", 1);
    assert_eq!(proxy.get("/readyz").0, 200);
    let stream = TcpStream::connect(&proxy.bootstrap).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    assert_eq!((&stream).read(&mut [0; 1]).unwrap(), 0, "it is closed");
    let (_, metrics) = proxy.get("/metrics");
    assert!(metrics.contains("failures_total{reason=\"idle\"}"), "{metrics}");
}

/// A map that is not there yet is waited for; until then nothing passes.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_map_nothing_passes() {
    let kafka = Embedded::start(1).await.unwrap();
    client::create_topic(&kafka.bootstrap(), "orders", 1).await.unwrap();
    let shop = Workshop::new();
    let file = shop.proxy_yaml(&kafka.bootstrap(), &shop.path("map.json"), "{}");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("map.json }", "map.json, reload_every: 100ms }")).unwrap();
    let mut process = shop.start_proxy(&file);
    let admin = process.wait_for(|line| {
        let (_, rest) = line
            .split_once("map.json does not exist; until it is there nothing passes, and http://")?;
        Some(rest.split('/').next()?.to_owned())
    });
    let mut waiting = RunningProxy { process, bootstrap: String::new(), admin };
    let (status, why) = waiting.get("/readyz");
    assert!(status == 503 && why.contains("map.json does not exist"), "{status} {why}");
    assert_eq!(waiting.get("/healthz").0, 200);
    // Stopped while it waits it ends at once, and well.
    let other = shop.start_proxy(&file);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(other.terminate(), Some(0));
    shop.write("map.json", r#"{"5": 105}"#);
    waiting.bootstrap = Workshop::bootstrap_of(&mut waiting.process);
    write_through(&waiting, 5).await;
    assert_eq!(ids(&kafka, 1).await, [105]);
    assert_eq!(waiting.metric("schema_proxy_ids_translated_total"), 1);
}

/// What a scrape has is in the documentation, with its type.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_documented() {
    let kafka = Embedded::start(1).await.unwrap();
    client::create_topic(&kafka.bootstrap(), "orders", 1).await.unwrap();
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let proxy = shop.proxy(&shop.proxy_yaml(&kafka.bootstrap(), &map, "{}"));
    write_through(&proxy, 5).await;
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, scrape) = proxy.get("/metrics");
    let mut types = scrape.lines().filter_map(|it| it.strip_prefix("# TYPE ")).peekable();
    assert!(types.peek().is_some(), "{scrape}");
    for it in types {
        let (name, kind) = it.split_once(' ').unwrap();
        assert!(page.contains(&format!("| `{name}` | {kind} |")), "{name}, a {kind}, is not there");
    }
}
