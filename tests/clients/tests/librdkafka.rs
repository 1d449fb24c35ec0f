//! librdkafka on real Kafka through the proxy, with each codec.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::Message as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use testbed::Broker;
use testbed::client::framed;
use testbed::real::{self, Kafka};
use testbed::workshop::Workshop;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn old_ids_become_the_targets_in_every_codec() {
    if !real::available() {
        return;
    }
    let kafka = Kafka::start(1);
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"5": 105, "6": 106}"#);
    let proxy = shop.proxy(&shop.proxy_yaml(&kafka.bootstrap(), &map, "{ produce: true }"));

    let admin: AdminClient<DefaultClientContext> = config(&proxy.bootstrap).create().unwrap();
    let topic = NewTopic::new("orders", 3, TopicReplication::Fixed(1));
    admin.create_topics(&[topic], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();

    let mut wanted = Vec::new();
    for codec in CODECS {
        for idempotent in ["true", "false"] {
            let producer: FutureProducer = config(&proxy.bootstrap)
                .set("compression.type", codec)
                .set("enable.idempotence", idempotent)
                .create()
                .unwrap();
            let (key, value) = (framed(6, codec.as_bytes()), framed(5, &[b'x'; 500]));
            let headers = OwnedHeaders::new()
                .insert(Header { key: "trace", value: Some("1") })
                .insert(Header { key: "trace", value: Some("2") });
            let record = FutureRecord::to("orders").key(&key).payload(&value).headers(headers);
            producer.send(record, Duration::from_secs(20)).await.unwrap();
            wanted.push((framed(106, codec.as_bytes()), framed(105, &[b'x'; 500]), 2));
        }
    }
    wanted.sort();

    // Straight from Kafka, and through the proxy: both have the target's ids.
    for (group, bootstrap) in
        [("straight", kafka.bootstrap()), ("proxied", proxy.bootstrap.clone())]
    {
        let consumer: BaseConsumer = config(&bootstrap)
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        consumer.subscribe(&["orders"]).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut found = Vec::new();
        while found.len() < wanted.len() && Instant::now() < deadline {
            if let Some(message) = consumer.poll(Duration::from_millis(200)) {
                let message = message.unwrap();
                let headers = message.headers().map_or(0, Headers::count);
                let (key, value) = (message.key().unwrap(), message.payload().unwrap());
                found.push((key.to_vec(), value.to_vec(), headers));
            }
        }
        found.sort();
        assert_eq!(found, wanted, "{group}");
    }
    assert_eq!(proxy.metric("schema_proxy_batches_undecodable_total"), 0);
}
