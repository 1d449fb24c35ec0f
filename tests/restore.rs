//! Registries rebuilt: what each strategy makes of each target, and what every id becomes.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Deed, apply, deed, shown};
use proptest::prelude::*;
use serde_json::{Value, json};
use testbed::real::{self, Apicurio};
use testbed::registry::{Fault, Options};
use testbed::workshop::{Workshop, done, kafka_backup, stderr, stdout};
use testbed::{EmbeddedRegistry, bins};

async fn registry(first_id: u32) -> EmbeddedRegistry {
    let options = Options { first_id: Some(first_id), ..Options::default() };
    EmbeddedRegistry::start(options).await.unwrap()
}

/// Schemas `A`, `B`, `C` of a type; each may follow each.
fn letter(kind: &str, letter: char) -> Value {
    let schema = match kind {
        "AVRO" => {
            let field = json!({ "name": letter.to_string(), "type": "int", "default": 0 });
            json!({ "type": "record", "name": "R", "fields": [field] }).to_string()
        }
        "JSON" => {
            let draft = "http://json-schema.org/draft-07/schema#";
            json!({ "$schema": draft, "type": "object", "properties": { letter.to_string(): {} } })
                .to_string()
        }
        _ => format!("syntax = \"proto3\";\n\nmessage R {{\n  int32 {letter} = 1;\n}}\n"),
    };
    if kind == "AVRO" {
        json!({ "schema": schema })
    } else {
        json!({ "schemaType": kind, "schema": schema })
    }
}

fn which(kind: &str, answer: &Value) -> char {
    let compact =
        |it: &Value| it["schema"].as_str().unwrap().split_whitespace().collect::<String>();
    let same = |it: &char| compact(&letter(kind, *it)) == compact(answer);
    ['A', 'B', 'C'].into_iter().find(same).unwrap_or('?')
}

/// Settings of schemas alone; `more` goes below `restore:`.
fn settings(shop: &Workshop, mode: &str, url: &str, keys: &str) -> PathBuf {
    let storage = shop.storage();
    let section =
        if keys.is_empty() { String::new() } else { format!("    {mode}: {{ {keys} }}\n") };
    shop.write(
        &format!("{mode}.yaml"),
        &format!(
            "mode: {mode}\nbackup_id: one\nstorage: {storage}\nenterprise:\n  schema_registry:\n    \
             url: \"{url}\"\n    rate_limit: {{ requests_per_second: 10000 }}\n    \
             retry: {{ initial_backoff: 1ms, max_backoff: 20ms, max_attempts: 4 }}\n{section}"
        ),
    )
}

fn back_up(shop: &Workshop, registry: &EmbeddedRegistry) {
    done("backup", &settings(shop, "backup", &registry.url(), "include_soft_deleted: true"));
}

fn run(command: &str, settings: &Path, flags: &[&str]) -> Output {
    let settings = settings.to_str().unwrap();
    kafka_backup(&[&[command, "--config", settings, "--format", "json"], flags].concat())
}

fn parsed(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap_or_else(|_| panic!("{}", stderr(output)))
}

fn get(registry: &EmbeddedRegistry, path: &str) -> (u16, Value) {
    registry.try_call("GET", path, &Value::Null)
}

/// `1:A:50 2:B:51!` for a subject with versions 1 and 2 of ids 50 and 51, the second soft-deleted.
fn state(registry: &EmbeddedRegistry, kind: &str) -> String {
    let list = |query: &str| match get(registry, &format!("/subjects/s/versions{query}")) {
        (200, numbers) => numbers.as_array().unwrap().clone(),
        _ => Vec::new(),
    };
    let live = list("");
    let each = list("?deleted=true").into_iter().map(|number| {
        let path = format!("/subjects/s/versions/{number}?deleted=true");
        let answer = registry.call("GET", &path, &Value::Null);
        let mark = if live.contains(&number) { "" } else { "!" };
        format!("{number}:{}:{}{mark}", which(kind, &answer), answer["id"])
    });
    each.collect::<Vec<_>>().join(" ")
}

/// Brings subject `s` of an empty registry into a state.
fn prepare(registry: &EmbeddedRegistry, kind: &str, state: &str) {
    let put = |it| {
        registry.register("s", &letter(kind, it));
    };
    match state {
        "empty" => {}
        "same" => ['A', 'B'].into_iter().for_each(put),
        "prefix" => put('A'),
        "conflict" => put('C'),
        "moved" => {
            // Version 1 has an id that the backup does not need.
            registry.call("PUT", "/mode/s", &json!({ "mode": "IMPORT" }));
            let mut schema = letter(kind, 'C');
            (schema["id"], schema["version"]) = (json!(9), json!(1));
            registry.call("POST", "/subjects/s/versions", &schema);
            registry.call("DELETE", "/mode/s", &Value::Null);
        }
        "deleted" => {
            ['A', 'B'].into_iter().for_each(put);
            registry.call("DELETE", "/subjects/s", &Value::Null);
        }
        other => panic!("{other}"),
    }
}

/// Source: subject `s`, version 1 `A` with id 1, version 2 `B` with id 2. The target's ids start at
/// 1 for `force` and at 50 otherwise.
///
/// Strategy, ids, target, exit code, the subject afterwards, the map.
const CELLS: &[(&str, &str, &str, i32, &str, &str)] = &[
    ("preserve", "force", "empty", 0, "1:A:1 2:B:2", r#"{"1":1,"2":2}"#),
    ("preserve", "force", "same", 0, "1:A:1 2:B:2", r#"{"1":1,"2":2}"#),
    ("preserve", "force", "prefix", 0, "1:A:1 2:B:2", r#"{"1":1,"2":2}"#),
    ("preserve", "force", "conflict", 3, "1:C:1", ""),
    ("preserve", "force", "moved", 3, "1:C:9", ""),
    ("preserve", "force", "deleted", 0, "1:A:1 2:B:2", r#"{"1":1,"2":2}"#),
    ("preserve", "rewrite", "empty", 0, "1:A:50 2:B:51", r#"{"1":50,"2":51}"#),
    ("preserve", "rewrite", "same", 0, "1:A:50 2:B:51", r#"{"1":50,"2":51}"#),
    ("preserve", "rewrite", "prefix", 0, "1:A:50 2:B:51", r#"{"1":50,"2":51}"#),
    ("preserve", "rewrite", "conflict", 0, "1:C:50 2:A:51 3:B:52", r#"{"1":51,"2":52}"#),
    ("preserve", "rewrite", "deleted", 0, "1:A:50! 2:B:51! 3:A:50 4:B:51", r#"{"1":50,"2":51}"#),
    ("preserve", "neither", "empty", 0, "1:A:50 2:B:51", r#"{"1":50,"2":51}"#),
    ("preserve", "neither", "same", 0, "1:A:50 2:B:51", r#"{"1":50,"2":51}"#),
    ("preserve", "neither", "prefix", 0, "1:A:50 2:B:51", r#"{"1":50,"2":51}"#),
    ("preserve", "neither", "conflict", 0, "1:C:50 2:A:51 3:B:52", r#"{"1":51,"2":52}"#),
    ("preserve", "neither", "deleted", 0, "1:A:50! 2:B:51! 3:A:50 4:B:51", r#"{"1":50,"2":51}"#),
    ("overwrite", "force", "empty", 0, "1:A:1 2:B:2", r#"{"1":1,"2":2}"#),
    ("overwrite", "force", "same", 0, "1:A:1 2:B:2", r#"{"1":1,"2":2}"#),
    ("overwrite", "force", "prefix", 0, "1:A:1 2:B:2", r#"{"1":1,"2":2}"#),
    ("overwrite", "force", "conflict", 3, "1:C:1", ""),
    ("overwrite", "force", "moved", 0, "1:A:1 2:B:2", r#"{"1":1,"2":2}"#),
    ("overwrite", "force", "deleted", 0, "1:A:1 2:B:2", r#"{"1":1,"2":2}"#),
    ("overwrite", "rewrite", "empty", 0, "1:A:50 2:B:51", r#"{"1":50,"2":51}"#),
    ("overwrite", "rewrite", "same", 0, "1:A:50 2:B:51", r#"{"1":50,"2":51}"#),
    ("overwrite", "rewrite", "prefix", 0, "1:A:50 2:B:51", r#"{"1":50,"2":51}"#),
    ("overwrite", "rewrite", "conflict", 0, "1:C:50! 2:A:51 3:B:52", r#"{"1":51,"2":52}"#),
    ("overwrite", "rewrite", "deleted", 0, "1:A:50! 2:B:51! 3:A:50 4:B:51", r#"{"1":50,"2":51}"#),
    ("overwrite", "neither", "empty", 0, "1:A:50 2:B:51", r#"{"1":50,"2":51}"#),
    ("overwrite", "neither", "same", 0, "1:A:50 2:B:51", r#"{"1":50,"2":51}"#),
    ("overwrite", "neither", "prefix", 0, "1:A:50 2:B:51", r#"{"1":50,"2":51}"#),
    ("overwrite", "neither", "conflict", 0, "1:C:50! 2:A:51 3:B:52", r#"{"1":51,"2":52}"#),
    ("overwrite", "neither", "deleted", 0, "1:A:50! 2:B:51! 3:A:50 4:B:51", r#"{"1":50,"2":51}"#),
    ("skip", "force", "empty", 0, "1:A:1 2:B:2", r#"{"1":1,"2":2}"#),
    ("skip", "force", "same", 0, "1:A:1 2:B:2", r#"{"1":1,"2":2}"#),
    ("skip", "force", "prefix", 0, "1:A:1", r#"{"1":1}"#),
    ("skip", "force", "conflict", 0, "1:C:1", "{}"),
    ("skip", "force", "moved", 0, "1:C:9", "{}"),
    ("skip", "force", "deleted", 0, "1:A:1 2:B:2", r#"{"1":1,"2":2}"#),
    ("skip", "rewrite", "empty", 0, "1:A:50 2:B:51", r#"{"1":50,"2":51}"#),
    ("skip", "rewrite", "same", 0, "1:A:50 2:B:51", r#"{"1":50,"2":51}"#),
    ("skip", "rewrite", "prefix", 0, "1:A:50", r#"{"1":50}"#),
    ("skip", "rewrite", "conflict", 0, "1:C:50", "{}"),
    ("skip", "rewrite", "deleted", 0, "1:A:50! 2:B:51! 3:A:50 4:B:51", r#"{"1":50,"2":51}"#),
    ("skip", "neither", "empty", 0, "1:A:50 2:B:51", r#"{"1":50,"2":51}"#),
    ("skip", "neither", "same", 0, "1:A:50 2:B:51", r#"{"1":50,"2":51}"#),
    ("skip", "neither", "prefix", 0, "1:A:50", r#"{"1":50}"#),
    ("skip", "neither", "conflict", 0, "1:C:50", "{}"),
    ("skip", "neither", "deleted", 0, "1:A:50! 2:B:51! 3:A:50 4:B:51", r#"{"1":50,"2":51}"#),
];

fn keys(strategy: &str, ids: &str) -> String {
    match ids {
        "neither" => format!("strategy: {strategy}"),
        ids => format!("strategy: {strategy}, {ids}_ids: true"),
    }
}

async fn cells_of(kind: &str) {
    let source = registry(1).await;
    source.register("s", &letter(kind, 'A'));
    source.register("s", &letter(kind, 'B'));
    for &(strategy, ids, target, exit, wanted, map) in CELLS {
        let cell = format!("{kind} {strategy} {ids} {target}");
        let shop = Workshop::new();
        back_up(&shop, &source);
        let registry = registry(if ids == "force" { 1 } else { 50 }).await;
        prepare(&registry, kind, target);
        let before = state(&registry, kind);
        let file = settings(&shop, "restore", &registry.url(), &keys(strategy, ids));

        // A dry run foretells the end, and changes nothing.
        let dry = run("restore", &file, &["--dry-run"]);
        assert_eq!(dry.status.code(), Some(exit), "{cell}: {}", stderr(&dry));
        assert_eq!(state(&registry, kind), before, "{cell}: the dry run changed something");
        let replaces = !parsed(&dry)["removals"].as_array().unwrap().is_empty();
        if replaces {
            let asked = run("restore", &file, &[]);
            assert_eq!(asked.status.code(), Some(3), "{cell}");
            assert!(stderr(&asked).contains("s version 1 in the target is"), "{}", stderr(&asked));
            assert_eq!(state(&registry, kind), before, "{cell}");
        }
        assert_eq!(
            replaces,
            strategy == "overwrite" && ["conflict", "moved"].contains(&target) && exit == 0
        );

        // Twice: the second run finds nothing to do and ends the same.
        for round in 0..2 {
            let output = run("restore", &file, &["--yes"]);
            assert_eq!(output.status.code(), Some(exit), "{cell} {round}: {}", stderr(&output));
            assert_eq!(state(&registry, kind), wanted, "{cell} {round}");
            assert_eq!(get(&registry, "/mode/s").0, 404, "{cell}: a mode was left behind");
            let file = shop.path("store/one/id-map.json");
            if exit == 0 {
                let written: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
                assert_eq!(written["mapping"].to_string(), map, "{cell} {round}");
                assert_eq!(parsed(&output)["removed"] == json!([]), !replaces || round == 1);
            } else {
                assert!(!file.exists(), "{cell}");
            }
            assert!(!shop.path("store/one/restore-in-progress").exists(), "{cell}");
        }
        let verified = run("verify", &file, &[]);
        // `skip` leaves out what is in the way, and `neither` promises the same ids.
        let promised = exit == 0 && ids != "neither";
        let same = promised || (ids == "neither" && map == "{}");
        assert_eq!(verified.status.code() == Some(0), same, "{cell}: {}", stdout(&verified));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_of_avro() {
    cells_of("AVRO").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_of_json() {
    cells_of("JSON").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_of_protobuf() {
    cells_of("PROTOBUF").await;
}

/// The rewriting rows against a registry that gives out ids as it likes and knows no modes: letters
/// of the live versions, in order.
#[tokio::test(flavor = "multi_thread")]
async fn rewriting_cells_on_apicurio() {
    if !real::available() {
        return;
    }
    let rows = [
        ("preserve", "empty", "AB"),
        ("preserve", "same", "AB"),
        ("preserve", "prefix", "AB"),
        ("preserve", "conflict", "CAB"),
        ("overwrite", "empty", "AB"),
        ("overwrite", "same", "AB"),
        ("overwrite", "prefix", "AB"),
        ("overwrite", "conflict", "AB"),
        ("skip", "empty", "AB"),
        ("skip", "same", "AB"),
        ("skip", "prefix", "A"),
        ("skip", "conflict", "C"),
    ];
    let apicurio = Apicurio::start();
    let client = registry::Client::new(&registry::Settings {
        requests_per_second: 1000.try_into().unwrap(),
        ..registry::Settings::new(&apicurio.url())
    });
    let client = client.unwrap();
    let schema = |kind: &str, it: char| -> registry::Schema {
        serde_json::from_value(letter(kind, it)).unwrap()
    };
    for kind in ["AVRO", "JSON", "PROTOBUF"] {
        let source = registry(1).await;
        // Apicurio looks at JSON and Protobuf too, and an empty registry takes over the level.
        source.call("PUT", "/config", &json!({ "compatibility": "NONE" }));
        for (index, (strategy, target, wanted)) in rows.into_iter().enumerate() {
            let cell = format!("{kind} {strategy} {target}");
            // A subject of its own for each cell.
            let subject = format!("{kind}-{index}");
            let shop = Workshop::new();
            for it in ['A', 'B'] {
                source.register(&subject, &letter(kind, it));
            }
            let selected = format!("subjects: [\"{subject}\"]");
            done("backup", &settings(&shop, "backup", &source.url(), &selected));
            let there = match target {
                "same" => "AB",
                "prefix" => "A",
                "conflict" => "C",
                _ => "",
            };
            for it in there.chars() {
                client.register(&subject, &schema(kind, it)).await.unwrap();
            }
            let file = settings(&shop, "restore", &apicurio.url(), &keys(strategy, "rewrite"));
            for round in 0..2 {
                let output = run("restore", &file, &["--yes"]);
                assert!(output.status.success(), "{cell} {round}: {}", stderr(&output));
                let mut found = String::new();
                for number in client.versions(&subject, false).await.unwrap().unwrap() {
                    let version = client.version(&subject, number, false).await.unwrap();
                    found.push(which(kind, &json!({ "schema": version.schema.schema })));
                }
                assert_eq!(found, wanted, "{cell} {round}");
                // Every id of the map leads to the schema that it stood for.
                let map = std::fs::read(shop.path("store/one/id-map.json")).unwrap();
                let map: Value = serde_json::from_slice(&map).unwrap();
                for (id, target) in map["mapping"].as_object().unwrap() {
                    let path = format!("/schemas/ids/{id}");
                    let old = source.call("GET", &path, &Value::Null);
                    let new = client.schema(target.as_u64().unwrap() as u32, ".").await.unwrap();
                    let new = json!({ "schema": new.unwrap().schema });
                    assert_eq!(which(kind, &new), which(kind, &old), "{cell} {round}");
                }
            }
            let verified = run("verify", &file, &[]);
            assert_eq!(verified.status.code(), Some(0), "{cell}: {}", stdout(&verified));
            let force = settings(&shop, "restore", &apicurio.url(), "force_ids: true");
            let refused = run("restore", &force, &["--dry-run"]);
            assert_eq!(refused.status.code(), Some(3), "{cell}");
            assert!(stdout(&refused).contains("has no IMPORT mode"), "{}", stdout(&refused));
        }
    }
}

fn reading(method: &str, path: &str) -> bool {
    // A lookup and a question about compatibility are POSTs that change nothing.
    let asks = path.starts_with("/compatibility/")
        || (path.starts_with("/subjects/") && !path.contains("/versions"));
    method == "GET" || (method == "POST" && asks)
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_runs_and_verify_send_nothing_that_changes_anything() {
    let source = registry(1).await;
    for it in ['A', 'B'] {
        source.register("s", &letter("AVRO", it));
        source.register("other", &letter("JSON", it));
    }
    source.call("PUT", "/config/s", &json!({ "compatibility": "FULL" }));
    for ids in ["force", "rewrite", "neither"] {
        for strategy in ["preserve", "overwrite", "skip"] {
            let shop = Workshop::new();
            back_up(&shop, &source);
            let target = registry(50).await;
            target.register("s", &letter("AVRO", 'C'));
            let before = target.seen().len();
            let file = settings(&shop, "restore", &target.url(), &keys(strategy, ids));
            let dry = run("restore", &file, &["--dry-run"]);
            run("verify", &file, &[]);
            for it in &target.seen()[before..] {
                assert!(reading(&it.method, &it.path), "{strategy} {ids}: {it:?}");
            }
            // The same by a key in the file.
            let with_key = format!("{}, dry_run: true", keys(strategy, ids));
            let file = settings(&shop, "restore", &target.url(), &with_key);
            assert_eq!(parsed(&run("restore", &file, &[])), parsed(&dry));
            if strategy == "preserve" && ids == "rewrite" {
                let report = parsed(&dry);
                // Known where the schema exists, to be assigned where it does not.
                assert_eq!(
                    report["id_map"]["."],
                    json!({ "1": null, "2": null, "3": null, "4": null })
                );
                let file = settings(&shop, "restore", &target.url(), &keys(strategy, ids));
                done("restore", &file);
                let report = parsed(&run("restore", &file, &["--dry-run"]));
                assert_eq!(report["id_map"]["."], json!({ "1": 53, "2": 51, "3": 54, "4": 52 }));
                let exist = report["schemas"].as_array().unwrap();
                assert!(exist.iter().all(|it| it["outcome"] == "exists"));
            }
        }
    }
}

fn referring(subject: &str, version: u32) -> Value {
    let schema =
        json!({ "type": "record", "name": "Order", "fields": [{ "name": "it", "type": "R" }] });
    json!({
        "schema": schema.to_string(),
        "references": [{ "name": "R", "subject": subject, "version": version }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn renamed_subjects_keep_their_references() {
    let source = registry(1).await;
    source.register("common", &letter("AVRO", 'A'));
    source.register("orders-value", &referring("common", 1));
    source.register(":.eu:common", &letter("AVRO", 'B'));
    source.register(":.eu:orders-value", &referring("common", 1));
    let shop = Workshop::new();
    back_up(&shop, &source);
    let target = registry(50).await;
    let more = "rewrite_ids: true, subject_mapping: { common: shared, \"orders-*\": \"old-orders-*\" }, \
                context_mapping: { \".eu\": \".prod\" }";
    let file = settings(&shop, "restore", &target.url(), more);
    let restored = done("restore", &file);
    assert_eq!(restored["schemas"].as_array().unwrap().len(), 4);
    let (_, subjects) = get(&target, "/subjects");
    let wanted = [":.prod:common", ":.prod:orders-value", "old-orders-value", "shared"];
    assert_eq!(subjects, json!(wanted));
    let order = target.call("GET", "/subjects/old-orders-value/versions/1", &Value::Null);
    assert_eq!(order["references"][0]["subject"], "shared");
    let order = target.call("GET", "/subjects/:.prod:orders-value/versions/1", &Value::Null);
    assert_eq!(order["references"][0]["subject"], "common", "within the context");
    let map: Value =
        serde_json::from_slice(&std::fs::read(shop.path("store/one/id-map.json")).unwrap())
            .unwrap();
    assert_eq!(map["mapping"], json!({ "1": 50, "2": 51 }));
    assert_eq!(map["contexts"][".eu"], json!({ "1": 1, "2": 2 }), "ids of the source's context");
    assert_eq!(run("verify", &file, &[]).status.code(), Some(0));

    let joined = settings(&shop, "restore", &target.url(), "context_mapping: { \".eu\": \".\" }");
    let refused = run("restore", &joined, &[]);
    assert_eq!(refused.status.code(), Some(3));
    let text = stderr(&refused);
    assert!(text.contains("would both become 'common'"), "{text}");
    let odd = settings(&shop, "restore", &target.url(), "subject_mapping: { \"a-*\": b }");
    assert_eq!(run("restore", &odd, &[]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_and_rules_are_restored_and_make_another_schema() {
    let source = registry(1).await;
    let mut contract = letter("AVRO", 'A');
    contract["metadata"] = json!({ "properties": { "owner": "team" }, "sensitive": ["A"] });
    contract["ruleSet"] = json!({ "domainRules": [{ "name": "r", "kind": "CONDITION", "type": "CEL",
        "mode": "WRITE", "expr": "size(message.A) > 0" }] });
    source.register("s", &letter("AVRO", 'A'));
    source.register("s", &contract);
    for ids in ["force", "rewrite"] {
        let shop = Workshop::new();
        back_up(&shop, &source);
        let target = registry(if ids == "force" { 1 } else { 50 }).await;
        let file = settings(&shop, "restore", &target.url(), &keys("preserve", ids));
        done("restore", &file);
        let first = if ids == "force" { 1 } else { 50 };
        let found = get(&target, "/subjects/s/versions/2").1;
        assert_eq!(
            (&found["metadata"], &found["ruleSet"]),
            (&contract["metadata"], &contract["ruleSet"])
        );
        assert_eq!(found["id"], first + 1, "{ids}");
        assert!(get(&target, "/subjects/s/versions/1").1.get("metadata").is_none());
        assert_eq!(run("verify", &file, &[]).status.code(), Some(0));
    }
}

/// A GUID has the references in it, so a renamed subject gives another one.
#[tokio::test(flavor = "multi_thread")]
async fn guids_that_change_are_in_the_map() {
    let options = |first_id| Options { first_id, guids: true, ..Options::default() };
    let source = EmbeddedRegistry::start(options(None)).await.unwrap();
    source.register("common", &letter("AVRO", 'A'));
    source.register("orders", &referring("common", 1));
    let target = EmbeddedRegistry::start(options(Some(50))).await.unwrap();
    let shop = Workshop::new();
    back_up(&shop, &source);
    let more = "rewrite_ids: true, subject_mapping: { common: shared }";
    done("restore", &settings(&shop, "restore", &target.url(), more));
    let guid = |registry: &EmbeddedRegistry| {
        get(registry, "/subjects/orders/versions/1").1["guid"].as_str().unwrap().to_owned()
    };
    let wanted = json!({ guid(&source): guid(&target) });
    let map = std::fs::read(shop.path("store/one/id-map.json")).unwrap();
    let map: Value = serde_json::from_slice(&map).unwrap();
    assert_eq!(map["guids"], wanted);
    let arguments = ["map", "generate", "--source", &source.url(), "--target", &target.url()];
    let made = parsed(&kafka_backup(&[&arguments[..], &["--format", "json"]].concat()));
    assert_eq!((&made["map"]["guids"], &made["map"]["mapping"]), (&wanted, &map["mapping"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_compatible_is_told_before_and_can_be_forced() {
    let source = registry(1).await;
    let field = |kind: &str| {
        let fields = json!([{ "name": "a", "type": kind }]);
        json!({ "schema": json!({ "type": "record", "name": "R", "fields": fields }).to_string() })
    };
    source.register("s", &field("string"));
    source.call("PUT", "/config/s", &json!({ "compatibility": "FORWARD" }));
    let target = registry(50).await;
    target.register("s", &field("int"));
    target.call("PUT", "/config/s", &json!({ "compatibility": "FULL", "normalize": true }));
    let shop = Workshop::new();
    back_up(&shop, &source);
    let file = settings(&shop, "restore", &target.url(), "rewrite_ids: true");
    let refused = run("restore", &file, &[]);
    assert_eq!(refused.status.code(), Some(3));
    let text = stderr(&refused);
    assert!(text.contains("Schema registration failed for subject s"), "{text}");
    assert!(text.contains("TYPE_MISMATCH") && text.contains("force_register: true"), "{text}");

    let more = "rewrite_ids: true, force_register: true";
    done("restore", &settings(&shop, "restore", &target.url(), more));
    assert_eq!(get(&target, "/subjects/s/versions").1, json!([1, 2]));
    let config = json!({ "compatibilityLevel": "FULL", "normalize": true });
    assert_eq!(get(&target, "/config/s").1, config, "put back whole");

    // An absent subject gets the backup's level, none, or the one that is asked for.
    let cases = [
        ("", json!("FORWARD")),
        (", set_compatibility: true", json!("FORWARD")),
        (", set_compatibility: false", Value::Null),
        (", set_compatibility: FULL_TRANSITIVE", json!("FULL_TRANSITIVE")),
        (", set_compatibility: FULL, force_register: true", json!("FULL")),
    ];
    for (more, level) in cases {
        let empty = registry(1).await;
        empty.register("unrelated", &letter("AVRO", 'A'));
        let more = format!("rewrite_ids: true{more}");
        done("restore", &settings(&shop, "restore", &empty.url(), &more));
        assert_eq!(get(&empty, "/config/s").1["compatibilityLevel"], level, "{more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_map_counts_and_must_lead_somewhere() {
    let source = registry(1).await;
    source.register("s", &letter("AVRO", 'A'));
    let target = registry(50).await;
    let other = target.register("elsewhere", &letter("AVRO", 'B'));
    let shop = Workshop::new();
    back_up(&shop, &source);
    let given = shop.write("given.json", &format!(r#"{{"1":{other},"77":{other}}}"#));
    let more = format!("rewrite_ids: true, id_mapping_file: {}", given.display());
    let file = settings(&shop, "restore", &target.url(), &more);
    let restored = done("restore", &file);
    let conflict = json!([{ "context": ".", "id": 1, "learned": 51, "given": other }]);
    assert_eq!(restored["conflicts"], conflict);
    let map: Value =
        serde_json::from_slice(&std::fs::read(shop.path("store/one/id-map.json")).unwrap())
            .unwrap();
    assert_eq!(map["mapping"], json!({ "1": other, "77": other }));

    shop.write("given.json", r#"{"1":42}"#);
    let refused = run("restore", &file, &[]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(stderr(&refused).contains("Schema ID 42 not found in target registry"));

    for (more, what) in [
        ("force_ids: true, rewrite_ids: true", "choose one"),
        ("rewrite_ids: true, id_mapping: false", "needs the id map"),
    ] {
        let refused = run("restore", &settings(&shop, "restore", &target.url(), more), &[]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(stderr(&refused).contains(what), "{}", stderr(&refused));
    }
    let shop = Workshop::new();
    back_up(&shop, &source);
    done("restore", &settings(&shop, "restore", &target.url(), "id_mapping: false"));
    assert!(!shop.path("store/one/id-map.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn force_ids_needs_a_registry_that_lets_modes_be_changed() {
    let source = registry(1).await;
    source.register("s", &letter("AVRO", 'A'));
    for occupied in [false, true] {
        let options = Options { immutable_mode: true, ..Options::default() };
        let target = EmbeddedRegistry::start(options).await.unwrap();
        if occupied {
            target.register("other", &letter("AVRO", 'A'));
        }
        let shop = Workshop::new();
        back_up(&shop, &source);
        let refused =
            run("restore", &settings(&shop, "restore", &target.url(), "force_ids: true"), &[]);
        assert_eq!(refused.status.code(), Some(3));
        assert!(stderr(&refused).contains("mode.mutability=false"), "{}", stderr(&refused));
        assert_eq!(get(&target, "/subjects/s/versions").0, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_failures_are_reported_together() {
    let source = registry(1).await;
    for name in ["a", "b", "c"] {
        source.register(name, &letter("AVRO", 'A'));
    }
    source.register("d", &letter("AVRO", 'B'));
    let target = registry(1).await;
    for name in ["a", "b"] {
        target.register(name, &letter("AVRO", 'C'));
    }
    let shop = Workshop::new();
    back_up(&shop, &source);
    let output = run("restore", &settings(&shop, "restore", &target.url(), "force_ids: true"), &[]);
    assert_eq!(output.status.code(), Some(3));
    let text = stderr(&output);
    for subject in ["version 1 of subject 'a' is taken", "version 1 of subject 'b' is taken"] {
        assert!(text.contains(subject), "{text}");
    }
    std::fs::write(shop.path("store/one/schema-registry/subjects/c/v1.json"), "{}").unwrap();
    let output = run("restore", &settings(&shop, "restore", "http://127.0.0.1:1", ""), &[]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(3));
    assert!(text.contains("v1.json") && text.contains("can't be reached"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_names_each_difference() {
    let source = registry(1).await;
    source.register("s", &letter("AVRO", 'A'));
    source.register("t", &letter("AVRO", 'B'));
    source.call("PUT", "/config/s", &json!({ "compatibility": "FULL" }));
    let target = registry(50).await;
    let shop = Workshop::new();
    back_up(&shop, &source);
    let file = settings(&shop, "restore", &target.url(), "rewrite_ids: true");
    let before = run("verify", &file, &[]);
    assert_eq!(before.status.code(), Some(4));
    done("restore", &file);
    assert_eq!(parsed(&run("verify", &file, &[]))["differences"], json!([]));
    // What preserve does not touch is no difference; what overwrite would change is one.
    target.call("PUT", "/config/s", &json!({ "compatibility": "NONE" }));
    target.call("DELETE", "/subjects/t", &Value::Null);
    shop.write("store/one/id-map.json", r#"{"1":77,"2":51}"#);
    let more = "rewrite_ids: true, strategy: overwrite";
    let found = run("verify", &settings(&shop, "restore", &target.url(), more), &[]);
    assert_eq!(found.status.code(), Some(4));
    let found = parsed(&found).to_string();
    for part in
        ["its config is to be", "does not have it as 't'", "50 in the target, and 77 in the id map"]
    {
        assert!(found.contains(part), "{part} is not in {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_are_made_between_live_registries() {
    let (source, target) = (registry(1).await, registry(900).await);
    let mut wanted = serde_json::Map::new();
    let kinds = ["AVRO", "JSON", "PROTOBUF"];
    for (kind, it) in kinds.into_iter().zip(["avro", "json", "proto"]) {
        let id = source.register(it, &letter(kind, 'A'));
        // Another layout, another subject, another order.
        let text = letter(kind, 'A')["schema"].as_str().unwrap().replace(' ', "  ");
        let mut schema = letter(kind, 'A');
        schema["schema"] = json!(text);
        target.register(&format!("{it}-x"), &letter(kind, 'B'));
        wanted.insert(id.to_string(), json!(target.register(&format!("{it}-new"), &schema)));
    }
    let referring_id = source.register("order", &referring("avro", 1));
    wanted.insert(
        referring_id.to_string(),
        json!(target.register("order", &referring("avro-new", 1))),
    );
    let lost = source.register("lost", &letter("AVRO", 'C'));
    // The same schema with and without documentation: two ids, one canonical form.
    let plain = json!({ "schema": json!({ "type": "fixed", "name": "F", "size": 4 }).to_string() });
    let documented = |doc: &str| {
        let schema = json!({ "type": "fixed", "name": "F", "size": 4, "doc": doc });
        json!({ "schema": schema.to_string() })
    };
    let vague = source.register("vague", &plain);
    let (one, two) =
        (target.register("x", &documented("one")), target.register("y", &documented("two")));
    let shop = Workshop::new();
    let output = shop.path("made.json");
    let arguments = ["map", "generate", "--source", &source.url(), "--target", &target.url()];
    let file = ["--output", output.to_str().unwrap(), "--format", "json"];
    let made = kafka_backup(&[&arguments[..], &file].concat());
    assert_eq!(made.status.code(), Some(4));
    let found = parsed(&made);
    assert_eq!(found["map"]["mapping"], Value::Object(wanted));
    let unmatched = json!([{ "context": ".", "id": lost,
        "versions": [{ "subject": "lost", "version": 1 }] }]);
    assert_eq!(found["unmatched"], unmatched);
    let ambiguous = json!([{ "context": ".", "id": vague, "candidates": [one, two] }]);
    assert_eq!(found["ambiguous"], ambiguous);

    let output = output.to_str().unwrap();
    let shown = kafka_backup(&["map", "show", output]);
    assert!(stdout(&shown).contains("1 -> 901  avro"), "{}", stdout(&shown));
    let check = ["map", "check", output, "--source", &source.url(), "--target"];
    assert_eq!(kafka_backup(&[&check[..], &[&target.url()]].concat()).status.code(), Some(0));
    let wrong = kafka_backup(&[&check[..], &[&source.url()]].concat());
    assert_eq!(wrong.status.code(), Some(4));
    assert!(stdout(&wrong).contains("Schema ID 901 not found in target registry"));
}

/// Ten subjects, each referencing the one before, with settings of their own.
async fn chain() -> EmbeddedRegistry {
    let source = registry(1).await;
    source.register("s0", &letter("AVRO", 'A'));
    for number in 1..10 {
        let mut schema = referring(&format!("s{}", number - 1), 1);
        let text = schema["schema"].as_str().unwrap().replace("Order", &format!("Order{number}"));
        schema["schema"] = json!(text);
        source.register(&format!("s{number}"), &schema);
    }
    source.call("PUT", "/mode/s3", &json!({ "mode": "READONLY" }));
    source
}

fn all_of(registry: &EmbeddedRegistry) -> Vec<(u16, Value)> {
    let paths = (0..10).flat_map(|it| {
        [
            format!("/subjects/s{it}/versions"),
            format!("/subjects/s{it}/versions/1"),
            format!("/mode/s{it}"),
            format!("/config/s{it}"),
        ]
    });
    paths.map(|path| get(registry, &path)).collect()
}

fn in_import(registry: &EmbeddedRegistry) -> Vec<String> {
    let mode = |it: &i32| get(registry, &format!("/mode/s{it}")).1["mode"] == "IMPORT";
    (0..10).filter(mode).map(|it| format!("s{it}")).collect()
}

/// Kills restores at random moments: what is left in IMPORT is said, and the next run ends as an
/// undisturbed one.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_restore_says_what_it_left_and_the_next_one_ends_it() {
    let source = chain().await;
    let shop = Workshop::new();
    back_up(&shop, &source);
    let mut left = 0;
    for round in 0_u64..14 {
        let target = registry(1).await;
        let file = settings(&shop, "restore", &target.url(), "force_ids: true");
        // Slow enough to be hit at every stage: some seventy requests.
        let slow = std::fs::read_to_string(&file).unwrap().replace("10000", "20");
        std::fs::write(&file, slow).unwrap();
        let mut child = Command::new(bins::path("kafka-backup"))
            .args(["restore", "--config", file.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while target.seen().len() < 25 + round as usize * 3 && child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let file = settings(&shop, "restore", &target.url(), "force_ids: true");
        let held = in_import(&target);
        if !held.is_empty() {
            left += 1;
            let said = stdout(&run("verify", &file, &[]));
            assert!(held.iter().all(|it| said.contains(it.as_str())), "{held:?}: {said}");
            assert!(said.contains("a restore that was killed left it in IMPORT mode"), "{said}");
        }
        done("restore", &file);
        assert_eq!(all_of(&target), all_of(&source), "round {round}");
        assert_eq!(run("verify", &file, &[]).status.code(), Some(0), "round {round}");
    }
    assert!(left > 2, "no kill came in the middle");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_restore_puts_modes_back() {
    let source = chain().await;
    let shop = Workshop::new();
    back_up(&shop, &source);
    let target = registry(1).await;
    let file = settings(&shop, "restore", &target.url(), "force_ids: true");
    let slow = std::fs::read_to_string(&file).unwrap().replace("10000", "20");
    std::fs::write(&file, slow).unwrap();
    let mut command = Command::new(bins::path("kafka-backup"));
    command.args(["restore", "--config", file.to_str().unwrap()]);
    let mut process = testbed::Process::start(&mut command, &shop.path("log")).unwrap();
    process.wait_until(|_| (!in_import(&target).is_empty()).then_some(()));
    assert_eq!(process.terminate(), Some(1));
    let log = std::fs::read_to_string(shop.path("log")).unwrap();
    assert!(log.contains("interrupted; run it again to go on"), "{log}");
    assert_eq!(in_import(&target), [""; 0]);
    assert!(!shop.path("store/one/restore-in-progress").exists());
    done("restore", &settings(&shop, "restore", &target.url(), "force_ids: true"));
    assert_eq!(all_of(&target), all_of(&source));
}

/// Refusals and cut connections at each request in turn: the restore ends well, or says what it left.
#[tokio::test(flavor = "multi_thread")]
async fn storms_leave_nothing_unsaid() {
    let source = chain().await;
    let shop = Workshop::new();
    back_up(&shop, &source);
    for ids in ["force", "rewrite"] {
        for (status, count) in [(429, 3), (500, 3), (0, 3), (429, 40), (503, 5), (0, 8)] {
            for at in (0..75).step_by(7) {
                let target = registry(1).await;
                let fault = Fault { status, retry_after: None };
                target.inject_after(at, vec![fault; count]);
                let file = settings(&shop, "restore", &target.url(), &keys("preserve", ids));
                let output = run("restore", &file, &[]);
                let case = format!("{ids} {status} x{count} at {at}");
                // Three in a row are within the four attempts.
                if count == 3 {
                    assert!(output.status.success(), "{case}: {}", stderr(&output));
                }
                let text = stderr(&output);
                for subject in in_import(&target) {
                    assert!(!output.status.success(), "{case}");
                    let said = text.contains("still in IMPORT mode") && text.contains(&subject);
                    assert!(said, "{case}: {subject} is in IMPORT, but: {text}");
                }
                target.inject_after(0, Vec::new());
                done("restore", &file);
                let map = std::fs::read(shop.path("store/one/id-map.json")).unwrap();
                let map: Value = serde_json::from_slice(&map).unwrap();
                let wanted: serde_json::Map<_, _> =
                    (1..=10).map(|it| (it.to_string(), json!(it))).collect();
                assert_eq!(map["mapping"], Value::Object(wanted), "{case}");
                assert_eq!(in_import(&target), [""; 0], "{case}");
                if ids == "force" {
                    assert_eq!(all_of(&target), all_of(&source), "{case}");
                }
            }
        }
    }
}

/// Versions that can't be registered anywhere: soft-deleted, and their references are gone.
fn dangling(shop: &Workshop) -> BTreeSet<(String, u64)> {
    let manifest = std::fs::read(shop.path("store/one/schema-registry/_manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let all = manifest["dangling"].as_array().into_iter().flatten();
    all.map(|it| (it["subject"].as_str().unwrap().to_owned(), it["version"].as_u64().unwrap()))
        .collect()
}

fn settings_of(registry: &EmbeddedRegistry, subject: &str) -> [(u16, Value); 2] {
    ["config", "mode"].map(|it| get(registry, &format!("/{it}/{subject}")))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    /// With forced ids, an empty registry becomes one that the API can't tell from the source.
    #[test]
    fn forced_into_an_empty_registry_nothing_differs(
        deeds in prop::collection::vec(deed(), 0..60),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (source, target) = runtime.block_on(async { (registry(1).await, registry(1).await) });
        for it in &deeds {
            apply(&source, it);
        }
        let shop = Workshop::new();
        back_up(&shop, &source);
        let file = settings(&shop, "restore", &target.url(), "force_ids: true");
        done("restore", &file);
        let lost = dangling(&shop);
        let wanted: Vec<_> = shown(&source)
            .into_iter()
            .filter(|(name, number, ..)| !lost.contains(&(name.clone(), *number)))
            .collect();
        prop_assert_eq!(&shown(&target), &wanted);
        for (name, ..) in &wanted {
            prop_assert_eq!(settings_of(&target, name), settings_of(&source, name), "{}", name);
        }
        let verified = run("verify", &file, &[]);
        prop_assert!(verified.status.success(), "{}", stdout(&verified));
        // Once more: everything is there.
        let again = done("restore", &file);
        let all = again["schemas"].as_array().unwrap();
        prop_assert!(all.iter().all(|it| it["outcome"] == "exists"), "{}", again);
        prop_assert_eq!(shown(&target), wanted);
    }

    /// With rewritten ids, in a registry that is in use, every id leads to the schema that it stood
    /// for, and what was there stays.
    #[test]
    fn rewritten_into_a_busy_registry_every_id_leads_to_its_schema(
        deeds in prop::collection::vec(deed(), 0..60),
        others in prop::collection::vec(deed(), 0..40),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (source, target) = runtime.block_on(async { (registry(1).await, registry(500).await) });
        for it in &deeds {
            apply(&source, it);
        }
        // A protected subject would refuse the restore, as it should.
        let others = others.iter().filter(|it| !matches!(it, Deed::Protect { .. }));
        for it in others {
            apply(&target, it);
        }
        let before = shown(&target);
        let shop = Workshop::new();
        back_up(&shop, &source);
        let more = "rewrite_ids: true, force_register: true";
        let file = settings(&shop, "restore", &target.url(), more);
        done("restore", &file);
        let map = std::fs::read(shop.path("store/one/id-map.json")).unwrap();
        let map: Value = serde_json::from_slice(&map).unwrap();
        let lost = dangling(&shop);
        for (name, number, _, answer) in shown(&source) {
            if lost.contains(&(name.clone(), number)) {
                continue;
            }
            let context = name.strip_prefix(':').and_then(|it| it.split(':').next());
            let pairs = context.map_or(&map["mapping"], |it| &map["contexts"][it]);
            let id = &pairs[answer["id"].to_string()];
            let query = context.map(|it| format!("?subject=:{it}:")).unwrap_or_default();
            let (status, found) = get(&target, &format!("/schemas/ids/{id}{query}"));
            prop_assert_eq!(status, 200, "{} {} has id {}", name, number, id);
            prop_assert_eq!(&found["schema"], &answer["schema"]);
        }
        let after = shown(&target);
        for version in before {
            prop_assert!(after.contains(&version), "{:?} is gone", version);
        }
        let verified = run("verify", &file, &[]);
        prop_assert!(verified.status.success(), "{}", stdout(&verified));
    }
}
