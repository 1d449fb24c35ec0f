//! What dashboards and alerts ask for is what a scrape has: each metric and label in each
//! expression is looked for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};
use testbed::broker::Embedded;
use testbed::client::{self, Compression, Message, framed};
use testbed::registry::Options;
use testbed::workshop::{RunningProxy, Workshop};
use testbed::{Broker, EmbeddedRegistry};

/// What Prometheus adds to every series.
const ADDED: [&str; 4] = ["namespace", "pod", "instance", "job"];
/// Metrics of others that alerts lean on: kube-state-metrics.
const OTHERS: [(&str, &[&str]); 2] = [
    ("kube_cronjob_status_last_successful_time", &["cronjob"]),
    ("kube_job_status_failed", &["job_name"]),
];

/// The labels of each series.
type Series = BTreeMap<String, BTreeSet<String>>;

/// A scrape in Prometheus' text format.
fn series(scrape: &str) -> Series {
    let mut all = Series::new();
    for line in scrape.lines().filter(|it| !it.starts_with('#') && !it.is_empty()) {
        let (name, labels) = match line.split_once('{') {
            Some((name, rest)) => (name, rest.rsplit_once('}').unwrap().0),
            None => (line.split(' ').next().unwrap(), ""),
        };
        let labels = labels.split("\",").filter_map(|it| it.split_once("=\""));
        all.entry(name.to_owned()).or_default().extend(labels.map(|(name, _)| name.to_owned()));
    }
    all
}

/// A proxy to which everything has happened that has a counter.
async fn eventful(shop: &Workshop) -> RunningProxy {
    let kafka = Embedded::start(1).await.unwrap();
    for topic in ["orders", "strict"] {
        client::create_topic(&kafka.bootstrap(), topic, 1).await.unwrap();
    }
    let old = EmbeddedRegistry::start(Options::default()).await.unwrap();
    let new = EmbeddedRegistry::start(Options::default()).await.unwrap();
    let id = old.register("a-value", &json!({ "schema": "\"string\"" }));
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let rewrite = "{ unmapped: resolve, rules: [ { topics: [strict], unmapped: reject } ] }";
    let file = shop.proxy_yaml(&kafka.bootstrap(), &map, rewrite);
    let registries = format!(
        "registries: {{ source: {{ url: \"{}\" }}, target: {{ url: \"{}\" }} }}\n",
        old.url(),
        new.url()
    );
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text + &registries).unwrap();
    let proxy = shop.proxy(&file);
    let write = async |topic: &str, id: u32| {
        let message = Message::new(None, Some(&framed(id, b"payload")));
        client::produce(&proxy.bootstrap, topic, Compression::Lz4, &[message]).await
    };
    write("orders", 5).await.unwrap();
    write("orders", id).await.unwrap();
    write("orders", 999).await.unwrap();
    write("strict", 999).await.unwrap_err();
    // No Kafka frame; and a batch of a magic number that there is not.
    TcpStream::connect(&proxy.bootstrap).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut batch = vec![0; 61];
    (batch[11], batch[16]) = (49, 9);
    let mut frame =
        vec![0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 6];
    frame.extend(b"orders");
    frame.extend([0, 0, 0, 1, 0, 0, 0, 0]);
    frame.extend((batch.len() as i32).to_be_bytes());
    frame.extend(batch);
    let sized = [&(frame.len() as i32).to_be_bytes()[..], &frame].concat();
    let mut odd = TcpStream::connect(&proxy.bootstrap).unwrap();
    odd.write_all(&sized).unwrap();
    shop.write("map.json", r#"{"5": 205}"#);
    proxy.post("/id-map/reload");
    shop.write("map.json", "no map");
    proxy.post("/id-map/reload");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !proxy.get("/metrics").1.contains("decode_errors_total{kind=\"magic\"} 1") {
        assert!(std::time::Instant::now() < deadline, "{}", proxy.get("/metrics").1);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    proxy
}

/// The functions, operators and keywords of PromQL that are used here.
const WORDS: [&str; 9] =
    ["by", "histogram_quantile", "increase", "max", "min", "rate", "sum", "time", "topk"];

/// Looks at every name in an expression; gives the metrics in it.
fn check(expression: &str, known: &Series) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut grouped = BTreeSet::new();
    // Where names are: outside, within `{…}` of the metric before it, or in the list after `by`.
    let (mut metric, mut in_braces, mut after_by, mut in_by) = (None, false, false, false);
    let mut rest = expression;
    let mut depth = 0_i32;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|it: char| !(it.is_alphanumeric() || it == '_')).unwrap_or(rest.len());
        if end > 0 {
            let (word, after) = rest.split_at(end);
            rest = after;
            if first.is_ascii_digit() {
                continue;
            }
            if in_braces {
                let name: &String = metric.as_ref().expect("braces stand behind a metric");
                let is_known = ADDED.contains(&word) || known[name].contains(word);
                assert!(is_known, "{expression}: {name} has no label {word}");
            } else if in_by {
                grouped.insert(word.to_owned());
            } else if WORDS.contains(&word) {
                after_by = word == "by";
            } else {
                assert!(known.contains_key(word), "{expression}: no scrape has {word}");
                metric = Some(word.to_owned());
                found.insert(word.to_owned());
            }
            continue;
        }
        rest = &rest[first.len_utf8()..];
        match first {
            '"' => rest = rest.split_once('"').expect("a string ends").1,
            '[' => rest = rest.split_once(']').expect("a range ends").1,
            '{' => in_braces = true,
            '}' => in_braces = false,
            '(' => {
                depth += 1;
                in_by = std::mem::take(&mut after_by);
            }
            ')' => {
                depth -= 1;
                in_by = false;
            }
            _ => {}
        }
    }
    assert_eq!(depth, 0, "{expression}: brackets");
    for label in grouped {
        let is_known = ADDED.contains(&label.as_str())
            || found.iter().any(|metric: &String| known[metric].contains(&label));
        assert!(is_known, "{expression}: no metric in it has the label {label}");
    }
    assert!(!found.is_empty(), "{expression} asks for nothing");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_and_alerts_ask_for_what_there_is() {
    let shop = Workshop::new();
    let proxy = eventful(&shop).await;
    let mut known = series(&proxy.get("/metrics").1);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut used = BTreeSet::new();
    for file in std::fs::read_dir(root.join("deploy/grafana")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                used.extend(check(target["expr"].as_str().unwrap(), &known));
            }
        }
    }
    // Each metric is on a dashboard.
    let family = |name: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        ends.iter().find_map(|it| name.strip_suffix(it)).unwrap_or(name).to_owned()
    };
    let on_dashboards: BTreeSet<String> = used.iter().map(|it| family(it)).collect();
    let all: BTreeSet<String> = known.keys().map(|it| family(it)).collect();
    assert_eq!(all.difference(&on_dashboards).collect::<Vec<_>>(), Vec::<&String>::new());

    // The chart's alerts, as they are written: their expressions stand on one line each.
    for (name, labels) in OTHERS {
        known.insert(name.to_owned(), labels.iter().map(|it| (*it).to_owned()).collect());
    }
    let rules = root.join("deploy/helm/schema-migration/templates/monitoring.yaml");
    let rules = std::fs::read_to_string(rules).unwrap();
    let expressions = rules.lines().filter_map(|it| it.trim().strip_prefix("expr: "));
    let expressions: Vec<String> =
        expressions.map(|it| it.replace("{{ .Release.Name }}", "move")).collect();
    assert!(expressions.len() >= 7);
    for expression in &expressions {
        check(expression, &known);
    }

    // And the test itself tells what there is from what there is not.
    for wrong in [
        "rate(schema_proxy_ids_total[5m])",
        "sum by (topic) (schema_proxy_connections)",
        "up{a=\"b\"}",
    ] {
        let refused = std::panic::catch_unwind(|| check(wrong, &known));
        assert!(refused.is_err(), "{wrong} was taken");
    }
}
