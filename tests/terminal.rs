//! What people see: versions, completions, manual pages, quiet runs, and the report for a change ticket.

use serde_json::{Value, json};
use testbed::broker::Embedded;
use testbed::client::{self, Compression, Message, framed};
use testbed::registry::Options;
use testbed::workshop::{Workshop, done, kafka_backup, stderr, stdout};
use testbed::{Broker, EmbeddedRegistry, bins};

#[test]
fn versions_completions_and_manual_pages() {
    let commit =
        std::process::Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let commit = stdout(&commit.unwrap()).trim().to_owned();
    for program in ["kafka-backup", "schema-proxy"] {
        let said =
            std::process::Command::new(bins::path(program)).arg("--version").output().unwrap();
        let said = stdout(&said);
        assert!(said.starts_with(&format!("{program} {} (", env!("CARGO_PKG_VERSION"))), "{said}");
        assert!(commit.is_empty() || said.contains(&commit), "{said} is not of {commit}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout(&kafka_backup(&["completions", shell]));
        for word in ["kafka-backup", "schema-proxy", "finalize", "log-format"] {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
    }
    let shop = Workshop::new();
    let folder = shop.path("man");
    assert!(kafka_backup(&["man", "-o", folder.to_str().unwrap()]).status.success());
    for page in
        ["kafka-backup.1", "kafka-backup-restore.1", "kafka-backup-map-check.1", "schema-proxy.1"]
    {
        let text = std::fs::read_to_string(folder.join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
}

/// A backup of records with a schema that references another, restored where ids differ.
async fn restored(shop: &Workshop) {
    let (from, to) = (Embedded::start(1).await.unwrap(), Embedded::start(1).await.unwrap());
    let old = EmbeddedRegistry::start(Options::default()).await.unwrap();
    let options = Options { first_id: Some(700), ..Options::default() };
    let new = EmbeddedRegistry::start(options).await.unwrap();
    let street = r#"{"type":"record","name":"Street","fields":[{"name":"name","type":"string"}]}"#;
    old.register("<street>", &json!({ "schema": street }));
    let order = r#"{"type":"record","name":"Order","fields":[{"name":"to","type":"Street"}]}"#;
    let reference = json!([{ "name": "Street", "subject": "<street>", "version": 1 }]);
    let id = old.register("orders-value", &json!({ "schema": order, "references": reference }));
    client::create_topic(&from.bootstrap(), "orders", 1).await.unwrap();
    let message = Message::new(None, Some(&framed(id, b"one")));
    client::produce(&from.bootstrap(), "orders", Compression::None, &[message]).await.unwrap();
    let quiet = shop.backup_yaml("one", &from.bootstrap(), &old.url());
    let quiet = ["--quiet", "backup", "--config", quiet.to_str().unwrap()];
    let output = kafka_backup(&quiet);
    assert!(output.status.success() && stderr(&output).is_empty(), "{}", stderr(&output));
    done("restore", &shop.restore_yaml("one", &to.bootstrap(), &new.url()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_says_what_was_captured_and_whether_it_is_whole() {
    let shop = Workshop::new();
    restored(&shop).await;
    let store = shop.path("store");
    let report = |name: &str| {
        let output = shop.path(name);
        let of = ["report", "--path", store.to_str().unwrap(), "--backup-id", "one", "--deep"];
        let output = kafka_backup(&[&of[..], &["-o", output.to_str().unwrap()]].concat());
        (output.status.code(), stderr(&output))
    };
    assert_eq!(report("report.json").0, Some(0));
    let text = std::fs::read_to_string(shop.path("report.json")).unwrap();
    let facts: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(facts["backup"]["topics"][0]["records"], 1);
    assert_eq!(facts["validation"]["problems"], json!([]));
    assert_eq!((&facts["id_map"]["ids"], &facts["id_map"]["changed"]), (&json!(2), &json!(2)));
    let order = &facts["schemas"][1];
    assert_eq!(order["references"], json!(["<street> version 1"]));
    assert_eq!((&order["id"], &order["target_id"]), (&json!(2), &json!(701)));
    let mut sum = std::process::Command::new("sha256sum");
    let sum = stdout(&sum.arg(store.join("one/manifest.json")).output().unwrap());
    let told = facts["checksums"]["manifest"]["sha256"].as_str().unwrap();
    assert!(sum.starts_with(told), "{sum} {told}");

    assert_eq!(report("report.html").0, Some(0));
    let page = std::fs::read_to_string(shop.path("report.html")).unwrap();
    assert!(page.contains("&lt;street&gt; version 1") && !page.contains("<street>"), "{page}");
    assert!(page.contains("<svg") && page.contains(told), "{page}");
    // It needs nothing from elsewhere.
    assert!(!page.contains("src=") && !page.contains("href="), "{page}");

    let version = store.join("one/schema-registry/subjects/orders-value/v1.json");
    std::fs::write(version, "{}").unwrap();
    let (code, said) = report("damaged.html");
    assert_eq!(code, Some(4), "{said}");
    let page = std::fs::read_to_string(shop.path("damaged.html")).unwrap();
    assert!(page.contains("class=bad") && page.contains("orders-value/v1.json"), "{page}");
    assert_eq!(report("report.pdf").0, Some(2));
}
