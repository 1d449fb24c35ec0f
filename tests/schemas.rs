//! Registries captured and rebuilt: what is selected, what is pulled in, what comes out.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{apply, deed, record, referring, shown};
use proptest::prelude::*;
use registry::{Client, Schema};
use serde_json::{Value, json};
use testbed::broker::Embedded;
use testbed::client::{self, Compression, Message, framed};
use testbed::real::{self, Apicurio};
use testbed::registry::Options;
use testbed::workshop::{Workshop, done, kafka_backup, stderr};
use testbed::{Broker, EmbeddedRegistry, bins};

async fn registry(options: Options) -> EmbeddedRegistry {
    EmbeddedRegistry::start(options).await.unwrap()
}

/// A backup of schemas alone; `more` goes below `schema_registry`.
fn backup_yaml(shop: &Workshop, registry: &EmbeddedRegistry, more: &str) -> std::path::PathBuf {
    backup_yaml_of(shop, &registry.url(), more)
}

fn backup_yaml_of(shop: &Workshop, url: &str, more: &str) -> std::path::PathBuf {
    let storage = shop.storage();
    shop.write(
        "schemas.yaml",
        &format!(
            "mode: backup\nbackup_id: one\nstorage: {storage}\nenterprise:\n  schema_registry:\n    \
             url: \"{url}\"\n    rate_limit: {{ requests_per_second: 10000 }}\n{more}"
        ),
    )
}

fn restore_yaml(shop: &Workshop, registry: &EmbeddedRegistry) -> std::path::PathBuf {
    let (storage, url) = (shop.storage(), registry.url());
    shop.write(
        "restore.yaml",
        &format!(
            "mode: restore\nbackup_id: one\nstorage: {storage}\nenterprise:\n  schema_registry:\n    \
             url: \"{url}\"\n    rate_limit: {{ requests_per_second: 10000 }}\n    \
             restore: {{ rewrite_ids: true }}\n"
        ),
    )
}

fn read(shop: &Workshop, object: &str) -> Value {
    let text = std::fs::read(shop.path("store/one").join(object)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn names(described: &Value) -> Vec<&str> {
    let subjects = described["schema_registry"]["subjects"].as_array().unwrap();
    subjects.iter().map(|it| it["name"].as_str().unwrap()).collect()
}

/// Two types, three contexts, gaps, soft deletes, configs and modes.
async fn full_registry() -> EmbeddedRegistry {
    let registry = registry(Options::default()).await;
    for fields in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
        registry.register("orders-value", &record("Order", fields));
    }
    registry.call("DELETE", "/subjects/orders-value/versions/2", &Value::Null);
    registry.register("gone-value", &record("Gone", &[]));
    registry.call("DELETE", "/subjects/gone-value", &Value::Null);
    registry.register(
        "invoices-value",
        &json!({ "schemaType": "JSON", "schema": "{\"title\":\"I\"}" }),
    );
    registry.register(":.eu:orders-value", &record("EuOrder", &["a"]));
    registry.register(":.us:common-value", &record("Common", &["a"]));
    registry.register(":.us:orders-value", &referring("UsOrder", "Common", "common-value", 1));
    registry.call("PUT", "/config", &json!({ "compatibility": "FULL", "normalize": true }));
    registry.call("PUT", "/config/orders-value", &json!({ "compatibility": "NONE", "alias": "o" }));
    registry.call("PUT", "/config/:.eu:", &json!({ "compatibility": "FORWARD" }));
    registry.call("PUT", "/mode/invoices-value", &json!({ "mode": "READONLY" }));
    registry
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_the_api_shows_is_in_the_artefact() {
    let registry = full_registry().await;
    let shop = Workshop::new();
    let more = "    backup: { include_soft_deleted: true }\n";
    let described = done("backup", &backup_yaml(&shop, &registry, more));
    let all = [
        ":.eu:orders-value",
        ":.us:common-value",
        ":.us:orders-value",
        "gone-value",
        "invoices-value",
        "orders-value",
    ];
    assert_eq!(names(&described), all);

    let manifest = read(&shop, "schema-registry/_manifest.json");
    assert_eq!(manifest["schema_registry_version"], "7.9.9");
    assert_eq!(manifest["schema_registry_cluster_id"], "testbed");
    assert_eq!(manifest["not_offered"], json!([]));
    let mut versions = 0;
    for subject in manifest["subjects"].as_array().unwrap() {
        for version in subject["versions"].as_array().unwrap() {
            let (name, number) = (subject["name"].as_str().unwrap(), &version["version"]);
            let path = format!("/subjects/{name}/versions/{number}?deleted=true");
            let mut wanted = registry.call("GET", &path, &Value::Null);
            let mut found = read(&shop, version["schema_file"].as_str().unwrap());
            let deleted = found.as_object_mut().unwrap().remove("deleted").is_some();
            let live =
                ["gone-value 1", "orders-value 2"].contains(&format!("{name} {number}").as_str());
            assert_eq!(deleted, live, "{name} {number}");
            assert_eq!(version["id"], found["id"]);
            wanted.as_object_mut().unwrap().retain(|_, it| !it.is_null());
            assert_eq!(found, wanted);
            versions += 1;
        }
    }
    assert_eq!(manifest["schemas_count"], versions);
    assert_eq!(versions, 8);
    // Ids are unique within a context only, so they stand below theirs.
    assert_eq!(
        manifest["id_mapping"][".eu"]["1"],
        "schema-registry/subjects/%3A.eu%3Aorders-value/v1.json"
    );
    let global = read(&shop, "schema-registry/_global_config.json");
    assert_eq!(global["config"], json!({ "compatibilityLevel": "FULL", "normalize": true }));
    assert_eq!(global["mode"], "READWRITE");
    assert_eq!(global["contexts"][".eu"]["config"], json!({ "compatibilityLevel": "FORWARD" }));
    let orders = read(&shop, "schema-registry/subjects/orders-value/_metadata.json");
    assert_eq!(orders["config"], json!({ "compatibilityLevel": "NONE", "alias": "o" }));
    let invoices = read(&shop, "schema-registry/subjects/invoices-value/_metadata.json");
    assert_eq!(invoices["mode"], "READONLY");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_modes_is_recorded_as_such() {
    let registry = registry(Options { apicurio: true, ..Options::default() }).await;
    registry.register("a-value", &record("A", &[]));
    let shop = Workshop::new();
    done("backup", &backup_yaml(&shop, &registry, ""));
    let manifest = read(&shop, "schema-registry/_manifest.json");
    assert_eq!(manifest["not_offered"], json!(["mode"]));
    // One context needs no name.
    assert_eq!(manifest["id_mapping"], json!({ "1": "schema-registry/subjects/a-value/v1.json" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_types_and_references_select() {
    let registry = registry(Options::default()).await;
    registry.register("common-address-value", &record("Address", &["a"]));
    registry.register("common-address-value", &record("Address", &["a", "b"]));
    registry.register("orders-eu", &referring("Eu", "Address", "common-address-value", 2));
    registry.register("orders-test", &record("Test", &[]));
    registry.register("orders-json", &json!({ "schemaType": "JSON", "schema": "{}" }));
    registry.register("users", &record("User", &["a"]));
    registry.register("users", &record("User", &["a", "b"]));

    let cases = [
        (
            "    backup: { subjects: [\"orders-*\"], exclude: [\"*-test\"] }\n",
            vec!["common-address-value", "orders-eu", "orders-json"],
        ),
        ("    schema_types: [JSON]\n", vec!["orders-json"]),
        (
            "    schema_types: [AVRO]\n    backup: { subjects: orders-* }\n",
            vec!["common-address-value", "orders-eu", "orders-test"],
        ),
        ("    backup: { subjects: \"~user.\" }\n", vec!["users"]),
    ];
    for (more, wanted) in cases {
        let shop = Workshop::new();
        let described = done("backup", &backup_yaml(&shop, &registry, more));
        assert_eq!(names(&described), wanted, "{more}");
    }

    let shop = Workshop::new();
    let more = "    backup: { include_versions: latest, subjects: [users, orders-eu] }\n";
    let described = done("backup", &backup_yaml(&shop, &registry, more));
    let versions: Vec<&Value> = described["schema_registry"]["subjects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["versions"])
        .collect();
    assert_eq!(versions, [&json!([2]), &json!([1]), &json!([2])]);

    let shop = Workshop::new();
    let more = "    backup: { subjects: orders-eu, include_references: false }\n";
    let file = backup_yaml(&shop, &registry, more);
    let refused = kafka_backup(&["backup", "--config", file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    let text = stderr(&refused);
    assert!(text.contains("Reference to subject 'common-address-value' not found"), "{text}");
    assert!(text.contains("referenced by orders-eu version 1"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_close_in_the_target_and_references_follow() {
    let source = registry(Options::default()).await;
    source.register("common", &record("Common", &["a"]));
    source.register("common", &record("Common", &["a", "b"]));
    source.call("DELETE", "/subjects/common/versions/1", &Value::Null);
    source.call("DELETE", "/subjects/common/versions/1?permanent=true", &Value::Null);
    let id = source.register("orders", &referring("Order", "Common", "common", 2));
    let target = registry(Options { first_id: Some(40), ..Options::default() }).await;
    let shop = Workshop::new();
    done("backup", &backup_yaml(&shop, &source, ""));
    let restored = done("restore", &restore_yaml(&shop, &target));
    assert_eq!(restored["schemas"][1]["source_id"], id);
    let order = target.call("GET", "/subjects/orders/versions/1", &Value::Null);
    assert_eq!(order["references"][0]["version"], 1, "version 2 of the source is 1 in the target");

    // Once more: nothing is new, and the map is the same.
    let again = done("restore", &restore_yaml(&shop, &target));
    assert!(
        again["schemas"].as_array().unwrap().iter().all(|it| it["outcome"] == "exists"),
        "{again}"
    );
    let map = read(&shop, "id-map.json");
    assert_eq!(map["mapping"], json!({ "2": 40, "3": 41 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn soft_deleted_versions_come_back_soft_deleted() {
    let source = full_registry().await;
    let target = registry(Options { first_id: Some(100), ..Options::default() }).await;
    let shop = Workshop::new();
    let more = "    backup: { include_soft_deleted: true }\n";
    done("backup", &backup_yaml(&shop, &source, more));
    for _ in 0..2 {
        let restored = done("restore", &restore_yaml(&shop, &target));
        assert_eq!(restored["schemas"].as_array().unwrap().len(), 8);
        for path in [
            "/subjects",
            "/subjects?deleted=true",
            "/subjects?deletedOnly=true",
            "/subjects/orders-value/versions",
            "/subjects/orders-value/versions?deleted=true",
            "/config/orders-value",
            "/mode/invoices-value",
        ] {
            let (there, here) =
                (source.call("GET", path, &Value::Null), target.call("GET", path, &Value::Null));
            assert_eq!(here, there, "{path}");
        }
    }
}

fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Kills the backup at random moments: what is left is told apart, and the next run completes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_backup_is_unfinished_and_the_next_one_complete() {
    let registry = registry(Options::default()).await;
    for number in 0..60 {
        registry.register(&format!("s{number}"), &record(&format!("R{number}"), &["a"]));
    }
    // Undisturbed, as the measure of the moments.
    let shop = Workshop::new();
    let begun = Instant::now();
    done("backup", &backup_yaml(&shop, &registry, ""));
    let whole = begun.elapsed().as_millis() as u64;
    let mut seed = 0x2545_f491_4f6c_dd1d;
    let (mut unfinished, mut rounds) = (0, 0);
    while rounds < 12 || (unfinished == 0 && rounds < 100) {
        rounds += 1;
        let shop = Workshop::new();
        let file = backup_yaml(&shop, &registry, "");
        let mut child = Command::new(bins::path("kafka-backup"))
            .args(["backup", "--config", file.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(random(&mut seed) % (whole + 1)));
        child.kill().unwrap();
        child.wait().unwrap();

        let store = shop.path("store");
        let describe = || {
            let place = store.to_str().unwrap();
            kafka_backup(&["describe", "--path", place, "--backup-id", "one", "--format", "json"])
        };
        let before = describe();
        if before.status.success() {
            continue;
        }
        let text = stderr(&before);
        assert!(text.contains("is unfinished") || text.contains("no backup `one`"), "{text}");
        unfinished += u32::from(text.contains("is unfinished"));
        done("backup", &file);
        let after: Value = serde_json::from_slice(&describe().stdout).unwrap();
        assert_eq!(after["schema_registry"]["schemas_count"], 60);
        assert_eq!(temporary_files(&store), [""; 0].map(std::path::PathBuf::from));
    }
    assert!(unfinished > 0, "no kill came in the middle");
}

fn temporary_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|it| it.unwrap().path());
    paths
        .flat_map(|it| if it.is_dir() { temporary_files(&it) } else { vec![it] })
        .filter(|it| it.extension().is_some_and(|it| it == "tmp"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_alone_need_no_cluster() {
    let registry = registry(Options::default()).await;
    registry.register("a-value", &record("A", &[]));
    let shop = Workshop::new();
    let dead = format!("127.0.0.1:{}", testbed::free_port());
    let file = shop.backup_yaml("one", &dead, &registry.url());
    let arguments = ["backup", "--config", file.to_str().unwrap(), "--schemas-only"];
    let output = kafka_backup(&arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(shop.path("store/one/manifest.json").exists());
}

fn schema(schema: &Value) -> Schema {
    serde_json::from_value(schema.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_are_listed_and_pruned() {
    let registry = registry(Options::default()).await;
    registry.register("a-value", &record("A", &[]));
    let shop = Workshop::new();
    for id in ["b-first", "a-second", "c-third"] {
        let file = backup_yaml(&shop, &registry, "");
        let text = std::fs::read_to_string(&file)
            .unwrap()
            .replace("backup_id: one", &format!("backup_id: {id}"));
        std::fs::write(&file, text).unwrap();
        done("backup", &file);
    }
    let store = shop.path("store");
    std::fs::create_dir(store.join("broken")).unwrap();
    std::fs::write(store.join("broken/x.json"), "{}").unwrap();
    let store = store.to_str().unwrap();
    let run = |arguments: &[&str]| -> Value {
        let output = kafka_backup(&[arguments, &["--path", store, "--format", "json"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let states = |listed: &Value| -> Vec<String> {
        let each = listed.as_array().unwrap().iter();
        each.map(|it| format!("{} {}", it["backup_id"], it["state"])).collect()
    };
    let all = [
        r#""b-first" "complete""#,
        r#""a-second" "complete""#,
        r#""c-third" "complete""#,
        r#""broken" "unfinished""#,
    ];
    assert_eq!(states(&run(&["list"])), all);
    let wanted = json!(["b-first", "a-second"]);
    assert_eq!(run(&["prune", "--keep", "1", "--dry-run"])["deleted"], wanted);
    assert_eq!(states(&run(&["list"])), all);
    assert_eq!(run(&["prune", "--keep", "1"])["deleted"], wanted);
    assert_eq!(states(&run(&["list"])), all[2..]);
    assert_eq!(run(&["prune", "--keep", "5"])["deleted"], json!([]));
}

/// What is captured of a registry, of whatever make, is what it answers.
async fn captured_as_it_answers(url: &str) {
    let client = Client::new(&registry::Settings::new(url)).unwrap();
    let own = format!("kafka-backup-test-{}", std::process::id());
    let (common, order) = (format!("{own}-common"), format!("{own}-order"));
    client.register(&common, &schema(&record("Common", &["a"]))).await.unwrap();
    client.register(&common, &schema(&record("Common", &["a", "b"]))).await.unwrap();
    let referring = referring("Order", "Common", &common, 2);
    client.register(&order, &schema(&referring)).await.unwrap();
    let json = json!({ "schemaType": "JSON", "schema": r#"{"$schema":"http://json-schema.org/draft-07/schema#","type":"object"}"# });
    client.register(&format!("{own}-json"), &schema(&json)).await.unwrap();
    let proto = "syntax = \"proto3\";\npackage p;\n\nmessage M {\n  int32 a = 1;\n}\n";
    let proto = json!({ "schemaType": "PROTOBUF", "schema": proto });
    client.register(&format!("{own}-proto"), &schema(&proto)).await.unwrap();
    let level = json!({ "compatibilityLevel": "FULL" });
    client.set_config(Some(&common), &level).await.unwrap();

    let shop = Workshop::new();
    let more = format!("    backup: {{ subjects: [\"{own}-*\"] }}\n");
    done("backup", &backup_yaml_of(&shop, url, &more));
    let manifest = read(&shop, "schema-registry/_manifest.json");
    assert_eq!((&manifest["subjects_count"], &manifest["schemas_count"]), (&json!(4), &json!(5)));
    for subject in manifest["subjects"].as_array().unwrap() {
        let name = subject["name"].as_str().unwrap();
        let numbers = client.versions(name, false).await.unwrap().unwrap();
        assert_eq!(subject["versions"].as_array().unwrap().len(), numbers.len());
        for (version, number) in subject["versions"].as_array().unwrap().iter().zip(numbers) {
            let answer = client.version(name, number, false).await.unwrap();
            let file = read(&shop, version["schema_file"].as_str().unwrap());
            assert_eq!(serde_json::from_value::<registry::Version>(file).unwrap(), answer);
        }
    }
    let settings = read(&shop, &format!("schema-registry/subjects/{common}/_metadata.json"));
    assert_eq!(settings["config"]["compatibilityLevel"], "FULL");

    let target = registry(Options { first_id: Some(70_000), ..Options::default() }).await;
    let restored = done("restore", &restore_yaml(&shop, &target));
    assert_eq!(restored["schemas"].as_array().unwrap().len(), 5);
    // The referring one first, or the registry refuses.
    for name in [order, common, format!("{own}-json"), format!("{own}-proto")] {
        for number in client.versions(&name, false).await.unwrap().unwrap().into_iter().rev() {
            client.delete_version(&name, number).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_registry_is_captured_as_it_answers() {
    captured_as_it_answers(&registry(Options::default()).await.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apicurio_is_captured_as_it_answers() {
    if real::available() {
        captured_as_it_answers(&Apicurio::start().url()).await;
    }
}

/// Any other: `REGISTRY_URL=http://user:password@host:8081 cargo test --test schemas`.
#[tokio::test(flavor = "multi_thread")]
async fn the_registry_at_registry_url_is_captured_as_it_answers() {
    if let Ok(url) = std::env::var("REGISTRY_URL") {
        captured_as_it_answers(&url).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_in_a_circle_are_refused_before_anything_is_written() {
    let registry = registry(Options::default()).await;
    let import = |name: &str, id: u32, schema: Value| {
        let mut schema = schema;
        schema["id"] = json!(id);
        schema["version"] = json!(1);
        registry.call("POST", &format!("/subjects/{name}/versions"), &schema);
    };
    registry.call("PUT", "/mode", &json!({ "mode": "IMPORT" }));
    import("a", 1, record("A", &[]));
    import("b", 2, referring("B", "A", "a", 1));
    // An import overwrites a version without a word.
    import("a", 3, referring("A", "B", "b", 1));
    let shop = Workshop::new();
    let file = backup_yaml(&shop, &registry, "");
    let refused = kafka_backup(&["backup", "--config", file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    let circle = "schemas reference each other in a circle: a version 1 -> b version 1 -> a";
    assert!(stderr(&refused).contains(circle), "{}", stderr(&refused));
    assert!(!shop.path("store/one").exists(), "something was written");
}

/// A registry deletes for good what only soft-deleted versions reference.
#[tokio::test(flavor = "multi_thread")]
async fn a_soft_deleted_version_may_have_lost_its_reference() {
    let source = registry(Options::default()).await;
    source.register("common", &record("Common", &["a"]));
    source.register("order", &referring("Order", "Common", "common", 1));
    source.register("other", &record("Other", &[]));
    for path in ["order", "common", "common?permanent=true"] {
        source.call("DELETE", &format!("/subjects/{path}"), &Value::Null);
    }
    let shop = Workshop::new();
    let more = "    backup: { include_soft_deleted: true }\n";
    let described = done("backup", &backup_yaml(&shop, &source, more));
    assert_eq!(names(&described), ["order", "other"]);
    let manifest = read(&shop, "schema-registry/_manifest.json");
    let lost = json!({ "subject": "order", "version": 1,
        "reference": { "subject": "common", "version": 1 } });
    assert_eq!(manifest["dangling"], json!([lost]));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_only_the_registry_still_knows_are_captured() {
    let registry = registry(Options::default()).await;
    let live = registry.register("orders-value", &record("Order", &["a"]));
    let gone = registry.register("old-value", &record("Old", &["a"]));
    for path in ["/subjects/old-value", "/subjects/old-value?permanent=true"] {
        registry.call("DELETE", path, &Value::Null);
    }
    let kafka = Embedded::start(1).await.unwrap();
    let message = |id| Message::new(None, Some(&framed(id, b"payload")));
    for (topic, ids) in [("orders", vec![live, gone, 77]), ("plain", vec![gone])] {
        client::create_topic(&kafka.bootstrap(), topic, 1).await.unwrap();
        let messages: Vec<Message> = ids.into_iter().map(message).collect();
        client::produce(&kafka.bootstrap(), topic, Compression::Lz4, &messages).await.unwrap();
    }
    let wanted = json!({ gone.to_string(): format!("schema-registry/ids/{gone}.json") });
    // By default topics with a subject are read; `plain` has the same id and no subject.
    let cases = [
        ("", json!({ "include": ["*"] }), &wanted),
        ("audit_ids: false", json!({ "include": ["*"] }), &Value::Null),
        ("audit_ids: true", json!({ "include": ["plain"] }), &wanted),
        ("", json!({ "include": ["plain"] }), &Value::Null),
    ];
    for (more, topics, wanted) in cases {
        let shop = Workshop::new();
        let file = shop.backup_yaml("one", &kafka.bootstrap(), &registry.url());
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.replace("{ include: [\"*\"] }", &topics.to_string());
        std::fs::write(&file, format!("{text}    backup: {{ {more} }}\n")).unwrap();
        done("backup", &file);
        let manifest = read(&shop, "schema-registry/_manifest.json");
        assert_eq!(&manifest["audited_ids"], wanted, "{more} {topics}");
        if wanted.is_null() {
            continue;
        }
        assert_eq!(&manifest["id_mapping"][gone.to_string()], &wanted[gone.to_string()]);
        let file = read(&shop, wanted[gone.to_string()].as_str().unwrap());
        assert_eq!(file["schema"], record("Old", &["a"])["schema"]);
        let path = shop.path("store");
        let place = ["--path", path.to_str().unwrap(), "--backup-id", "one"];
        let deep =
            kafka_backup(&[&["validate", "--deep", "--format", "json"], &place[..]].concat());
        let found: Value = serde_json::from_slice(&deep.stdout).unwrap();
        // 77 is unknown to the registry too.
        let problems = usize::from(topics["include"][0] == "*");
        assert_eq!(found["problems"].as_array().unwrap().len(), problems, "{found}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    /// Whatever was done to a registry, the artefact has what the API shows, and its order has each
    /// version after those that it references.
    #[test]
    fn any_registry_is_captured_as_the_api_shows_it(deeds in prop::collection::vec(deed(), 0..60)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let registry = runtime.block_on(self::registry(Options::default()));
        for deed in &deeds {
            apply(&registry, deed);
        }
        let shop = Workshop::new();
        done("backup", &backup_yaml(&shop, &registry, "    backup: { include_soft_deleted: true }\n"));
        let manifest = read(&shop, "schema-registry/_manifest.json");
        let mut captured = Vec::new();
        for subject in manifest["subjects"].as_array().unwrap() {
            for version in subject["versions"].as_array().unwrap() {
                let mut file = read(&shop, version["schema_file"].as_str().unwrap());
                let deleted = file.as_object_mut().unwrap().remove("deleted").is_some();
                let name = subject["name"].as_str().unwrap().to_owned();
                captured.push((name, version["version"].as_u64().unwrap(), deleted, file));
            }
        }
        prop_assert_eq!(&captured, &shown(&registry));

        let order = manifest["dependency_order"].as_array().unwrap();
        prop_assert_eq!(order.len(), captured.len());
        // What only a soft-deleted version references can be deleted for good.
        let dangling: Vec<(&Value, &Value, bool)> = manifest["dangling"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|it| (&it["subject"], &it["version"], true))
            .collect();
        let place = |subject: &str, version: &Value| {
            order.iter().position(|it| it["subject"] == subject && &it["version"] == version).unwrap()
        };
        for (name, version, deleted, file) in &captured {
            if dangling.contains(&(&json!(name), &json!(version), *deleted)) {
                continue;
            }
            let prefix = name.rfind(':').map_or("", |end| &name[..=end]);
            for reference in file["references"].as_array().into_iter().flatten() {
                let subject = format!("{prefix}{}", reference["subject"].as_str().unwrap());
                prop_assert!(place(&subject, &reference["version"]) < place(name, &json!(version)));
            }
        }
    }
}
