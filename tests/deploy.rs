//! What is in `deploy/`: every object that the chart renders is one that Kubernetes takes, and the real
//! programs run with the settings and arguments in them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use testbed::broker::Embedded;
use testbed::client::{self, Compression, Message, framed, id_of};
use testbed::registry::Options;
use testbed::workshop::{Workshop, kafka_backup, stderr, stdout};
use testbed::{Broker, EmbeddedRegistry, real};

/// The releases of Kubernetes whose schemas are used.
const KUBERNETES: [&str; 2] = ["1.30.0", "1.34.0"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Checks manifests against a release's schemas; gives the objects.
fn checked(manifests: &[u8], version: &str) -> Vec<Value> {
    let script = root().join("crates/testbed/python/manifests.py");
    let mut child = Command::new(real::python_for_manifests())
        .arg(script)
        .arg(version)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(manifests).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{}", stderr(&output), String::from_utf8_lossy(manifests));
    serde_json::from_slice(&output.stdout).unwrap()
}

struct Chart {
    helm: PathBuf,
    shop: Workshop,
}

impl Chart {
    fn helm(&self, arguments: &[&str], values: &str) -> std::process::Output {
        let values = self.shop.write("values.yaml", values);
        let mut command = Command::new(&self.helm);
        command.args(arguments).arg(root().join("deploy/helm/schema-migration"));
        // Not the user's repositories and plug-ins.
        command.env("HELM_CACHE_HOME", self.shop.path("cache"));
        command.env("HELM_CONFIG_HOME", self.shop.path("config"));
        command.env("HELM_DATA_HOME", self.shop.path("data"));
        command.arg("--values").arg(values).output().unwrap()
    }

    /// The manifests of one set of values, linted, for one release.
    fn manifests(&self, values: &str, version: &str) -> Vec<u8> {
        let linted = self.helm(&["lint", "--strict"], values);
        assert!(linted.status.success(), "{}{}", stdout(&linted), stderr(&linted));
        let rendered = self.helm(&["template", "move", "--kube-version", version], values);
        assert!(rendered.status.success(), "{}", stderr(&rendered));
        rendered.stdout
    }

    /// The objects of one set of values, checked for each release.
    fn render(&self, values: &Value) -> Vec<Value> {
        // JSON is YAML.
        let values = values.to_string();
        let mut each = KUBERNETES
            .map(|version| checked(&self.manifests(&values, version), version))
            .into_iter();
        each.next_back().unwrap()
    }
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|it| it["kind"] == kind).collect()
}

/// The pod of a workload, wherever its kind has it.
fn pod(workload: &Value) -> &Value {
    let spec = &workload["spec"];
    let job = if workload["kind"] == "CronJob" { &spec["jobTemplate"]["spec"] } else { spec };
    &job["template"]["spec"]
}

fn proxy(mode: &str) -> Value {
    json!({
        "image": { "repository": "registry.example/schema-migration" },
        "idMap": { "inline": r#"{"5":105}"# },
        "proxy": {
            "enabled": true, "mode": mode, "adminTokenSecret": "admin",
            "target": { "bootstrapServers": ["kafka:9092"] },
            "app": { "containers": [{ "name": "app", "image": "registry.example/app:1" }] },
            "transparent": { "initImage": "registry.example/iptables:1" },
        },
    })
}

/// One set of values with some of another in it.
fn with(mut values: Value, more: &Value) -> Value {
    fn merge(into: &mut Value, from: &Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from.clone(),
        }
    }
    merge(&mut values, more);
    values
}

fn job(bootstrap: &str, side: &str, store: &Path, registry: &str) -> Value {
    json!({
        "mode": if side == "source" { "backup" } else { "restore" },
        "backup_id": "one",
        side: { "bootstrap_servers": [bootstrap] },
        "storage": { "backend": "filesystem", "path": store },
        "enterprise": { "schema_registry": {
            "url": registry,
            "rate_limit": { "requests_per_second": 1000 },
            "restore": { "strategy": "preserve", "rewrite_ids": true },
        }},
    })
}

#[test]
fn every_object_of_the_chart_is_one_that_kubernetes_takes() {
    let Some(helm) = real::helm() else { return };
    let chart = Chart { helm, shop: Workshop::new() };
    // Nothing that was not asked for.
    assert_eq!(chart.render(&json!({})).len(), 1, "the service account");

    let gateway = chart.render(&with(
        proxy("gateway"),
        &json!({
            "metrics": { "serviceMonitor": { "enabled": true }, "prometheusRule": { "enabled": true } },
            "networkPolicy": { "enabled": true },
            "proxy": {
                "gateway": { "autoscaling": { "enabled": true } },
                "rewrite": { "unmapped": "reject" },
                "limits": { "max_connections": 100 },
            },
        }),
    ));
    for kind in [
        "Deployment",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "ServiceMonitor",
        "PrometheusRule",
    ] {
        assert_eq!(of_kind(&gateway, kind).len(), 1, "{kind}");
    }
    let container = &pod(of_kind(&gateway, "Deployment")[0])["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["ports"].as_array().unwrap().len(), 5, "bootstrap, admin, three brokers");
    // No secret but by reference.
    assert!(container["env"].as_array().unwrap().iter().all(|it| it["value"].is_null()));

    let sni = json!({
        "idMap": { "inline": "", "location": "s3://maps/id-map.json" },
        "serviceAccount": { "annotations": { "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r" } },
        "proxy": { "gateway": {
            "brokers": "sni", "advertisedHost": "b{node}.example", "tlsSecret": "tls", "clientCa": true,
            "service": { "type": "LoadBalancer" },
        }},
    });
    let sni = chart.render(&with(proxy("gateway"), &sni));
    let services = of_kind(&sni, "Service");
    let service = services.iter().find(|it| it["spec"]["type"] == "LoadBalancer").unwrap();
    assert_eq!(service["spec"]["ports"].as_array().unwrap().len(), 1);

    for (mode, inits) in [("sidecar", 1), ("transparent", 2)] {
        let objects = chart.render(&proxy(mode));
        let pod = pod(of_kind(&objects, "Deployment")[0]);
        let init = pod["initContainers"].as_array().unwrap();
        assert_eq!(init.len(), inits);
        let sidecar = &init[inits - 1];
        assert_eq!(sidecar["restartPolicy"], "Always", "a native sidecar");
        let added = |it: &Value| it["securityContext"]["capabilities"]["add"].clone();
        assert!(added(sidecar).is_null());
        if mode == "transparent" {
            assert_eq!(added(&init[0]), json!(["NET_ADMIN", "NET_RAW"]));
            let user = sidecar["securityContext"]["runAsUser"].as_u64().unwrap();
            let rule = init[0]["args"][0].as_str().unwrap();
            assert!(rule.contains(&format!("! --uid-owner {user} ")), "{rule}");
        }
    }
    let store = Path::new("/backups");
    let backup = json!({
        "backup": { "enabled": true, "config": job("kafka:9092", "source", store, "http://r:8081") },
        "restore": { "enabled": true, "config": job("new:9092", "target", store, "http://r:8081") },
    });
    let both = chart.render(&backup);
    assert_eq!((of_kind(&both, "CronJob").len(), of_kind(&both, "Job").len()), (1, 1));
    let shards = chart.render(&with(backup, &json!({ "backup": { "shards": 3 } })));
    let jobs = of_kind(&shards, "Job");
    let indexed = jobs.iter().find(|it| it["spec"]["completionMode"] == "Indexed").unwrap();
    let arguments = &pod(indexed)["containers"][0]["args"];
    assert_eq!(arguments[4], "$(JOB_COMPLETION_INDEX)/3");
    assert_eq!(jobs.len(), 3, "shards, finalize, restore");

    // Values that could not work are refused in words.
    for (values, why) in [
        (with(proxy("gateway"), &json!({ "idMap": { "inline": "" } })), "say where the id map is"),
        (
            with(proxy("sidecar"), &json!({ "proxy": { "app": { "containers": [] } } })),
            "containers",
        ),
        (
            with(proxy("gateway"), &json!({ "proxy": { "adminTokenSecret": "" } })),
            "adminTokenSecret",
        ),
        (json!({ "backup": { "enabled": true } }), "backup.config is needed"),
        (json!({ "restore": { "enabled": true } }), "restore.config is needed"),
        (
            with(proxy("gateway"), &json!({ "proxy": { "target": { "bootstrapServers": [] } } })),
            "bootstrapServers is needed",
        ),
        (proxy("beside"), "proxy.mode is gateway, sidecar or transparent"),
    ] {
        let template = ["template", "move", "--kube-version", KUBERNETES[0]];
        let refused = chart.helm(&template, &values.to_string());
        assert!(!refused.status.success(), "{why}");
        assert!(stderr(&refused).contains(why), "{why}: {}", stderr(&refused));
    }
}

/// The values in docs/kubernetes.md are rendered, and so are the examples for those without Helm.
/// `UPDATE=1 cargo test --test deploy` writes those anew.
#[test]
fn the_examples_are_what_the_documented_values_make() {
    let Some(helm) = real::helm() else { return };
    let chart = Chart { helm, shop: Workshop::new() };
    let examples = root().join("deploy/examples");
    let page = std::fs::read_to_string(root().join("docs/kubernetes.md")).unwrap();
    let blocks = page.split("```yaml\n# ").skip(1).map(|it| {
        let (name, rest) = it.split_once('\n').unwrap();
        (name.strip_suffix("-values.yaml").unwrap(), rest.split("```").next().unwrap())
    });
    let mut names = Vec::new();
    for (name, values) in blocks {
        let manifests = KUBERNETES.map(|version| {
            let manifests = chart.manifests(values, version);
            checked(&manifests, version);
            String::from_utf8(manifests).unwrap()
        });
        let path = examples.join(format!("{name}.yaml"));
        let text =
            format!("# Made from {name}-values.yaml in docs/kubernetes.md.\n{}", manifests[1]);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "{} is not what the chart makes: UPDATE=1", path.display());
        names.push(name);
    }
    assert_eq!(names, ["backup", "restore", "gateway", "sidecar"]);
    let secret = std::fs::read(examples.join("secret.yaml")).unwrap();
    assert_eq!(checked(&secret, KUBERNETES[1]).len(), 2);
}

/// A container as its pod would have it: its config maps as files, below a folder of ours.
struct Container {
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
}

fn container(objects: &[Value], pod: &Value, it: &Value, shop: &Workshop) -> Container {
    let mut places = Vec::new();
    for mount in it["volumeMounts"].as_array().unwrap() {
        let name = &mount["name"];
        let volumes = pod["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|it| it["name"] == *name).unwrap();
        let place = mount["mountPath"].as_str().unwrap();
        let folder = shop.path(place.trim_start_matches('/'));
        std::fs::create_dir_all(&folder).unwrap();
        places.push((place.to_owned(), folder.display().to_string()));
        let Some(map) = volume["configMap"]["name"].as_str() else { continue };
        let maps = of_kind(objects, "ConfigMap");
        let data = &maps.iter().find(|it| it["metadata"]["name"] == map).unwrap()["data"];
        for (file, text) in data.as_object().unwrap() {
            std::fs::write(folder.join(file), text.as_str().unwrap()).unwrap();
        }
    }
    let here = |text: &str| {
        places.iter().fold(text.to_owned(), |text, (from, to)| {
            if from == "/tmp" { text } else { text.replace(from, to) }
        })
    };
    // Settings name other mounted files.
    for (_, folder) in &places {
        for file in std::fs::read_dir(folder).unwrap() {
            let file = file.unwrap().path();
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, here(&text)).unwrap();
        }
    }
    let arguments = it["args"].as_array().unwrap();
    let arguments = arguments.iter().map(|it| here(it.as_str().unwrap())).collect();
    let environment = it["env"].as_array().into_iter().flatten().map(|it| {
        let name = it["name"].as_str().unwrap().to_owned();
        (name, it["value"].as_str().unwrap_or("from a secret").to_owned())
    });
    Container { arguments, environment: environment.collect() }
}

/// The chart's own config maps and arguments, in the real programs: a backup, the init step and the
/// records of a restore, and a sidecar through which an app writes.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_chart_renders_does_its_work() {
    let Some(helm) = real::helm() else { return };
    let chart = Chart { helm, shop: Workshop::new() };
    let shop = Workshop::new();
    let (from, to) = (Embedded::start(1).await.unwrap(), Embedded::start(1).await.unwrap());
    let old = EmbeddedRegistry::start(Options::default()).await.unwrap();
    let options = Options { first_id: Some(700), ..Options::default() };
    let new = EmbeddedRegistry::start(options).await.unwrap();
    let id = old.register("orders-value", &json!({ "schema": "\"string\"" }));
    client::create_topic(&from.bootstrap(), "orders", 1).await.unwrap();
    let message = Message::new(None, Some(&framed(id, b"one")));
    client::produce(&from.bootstrap(), "orders", Compression::None, &[message]).await.unwrap();

    let store = shop.path("store");
    let port = testbed::free_port();
    let values = json!({
        "backup": { "enabled": true, "config": job(&from.bootstrap(), "source", &store, &old.url()) },
        "restore": { "enabled": true, "config": job(&to.bootstrap(), "target", &store, &new.url()) },
    });
    let objects = chart.render(&values);
    let run = |workload: &Value, list: &str| {
        let pod = pod(workload);
        let container = container(&objects, pod, &pod[list][0], &shop);
        let arguments: Vec<&str> = container.arguments.iter().map(String::as_str).collect();
        let output = kafka_backup(&arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    };
    run(of_kind(&objects, "CronJob")[0], "containers");
    let restore = of_kind(&objects, "Job")[0];
    run(restore, "initContainers");
    let map = store.join("one/id-map.json");
    assert!(map.exists(), "the map is there before the records");
    run(restore, "containers");

    let inline = std::fs::read_to_string(&map).unwrap();
    let values = with(
        proxy("sidecar"),
        &json!({
            "idMap": { "inline": inline },
            "proxy": {
                "port": port, "adminPort": testbed::free_port(),
                "target": { "bootstrapServers": [to.bootstrap()] },
            },
        }),
    );
    let objects = chart.render(&values);
    let pod = pod(of_kind(&objects, "Deployment")[0]);
    let sidecar = container(&objects, pod, &pod["initContainers"][0], &shop);
    let mut command = Command::new(testbed::bins::path("schema-proxy"));
    command.args(&sidecar.arguments).envs(&sidecar.environment);
    // Brokers are on the ports behind it, which have to be free.
    let mut process = testbed::Process::start(&mut command, &shop.path("proxy.log")).unwrap();
    process.wait_for_text("clients bootstrap at", 1);
    let through = format!("127.0.0.1:{port}");
    let message = Message::new(None, Some(&framed(id, b"two")));
    client::produce(&through, "orders", Compression::Lz4, &[message]).await.unwrap();
    let found = client::consume(&to.bootstrap(), "orders", 1, 2).await.unwrap();
    let ids: Vec<_> = found.iter().map(|it| id_of(it.value.as_deref().unwrap())).collect();
    assert_eq!(ids, [Some(700), Some(700)]);
    // A secret's value is not in the log, which is JSON.
    let log = process.output();
    assert!(!log.contains("from a secret") && log.starts_with('{'), "{log}");
}
