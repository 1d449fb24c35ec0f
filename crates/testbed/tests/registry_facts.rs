//! The embedded registry against a table of what a real one answers, observed on Confluent Schema
//! Registry 7.9. With `REGISTRY_URL` the same table is run against the registry there; it must be
//! one that may be filled with subjects.

use serde_json::{Value, json};
use testbed::EmbeddedRegistry;
use testbed::registry::{Fault, Options};

/// A request and what comes back: the status, and a part of the answer.
struct Row {
    request: &'static str,
    body: Value,
    status: u16,
    answer: Value,
}

fn row(request: &'static str, body: Value, status: u16, answer: Value) -> Row {
    Row { request, body, status, answer }
}

fn get(request: &'static str, status: u16, answer: Value) -> Row {
    row(request, Value::Null, status, answer)
}

fn code(code: u32) -> Value {
    json!({ "error_code": code })
}

/// `$` in a path stands for a subject name that nobody has.
fn table() -> Vec<Row> {
    let string = json!({ "schema": "\"string\"" });
    let record = |fields: &str| json!({ "schema": format!("{{\"type\":\"record\",\"name\":\"R\",\"fields\":[{fields}]}}") });
    let a = "{\"name\":\"a\",\"type\":\"int\"}";
    let b = "{\"name\":\"b\",\"type\":\"int\"}";
    let b_default = "{\"name\":\"b\",\"type\":\"int\",\"default\":0}";
    let with_reference = |subject: &str| {
        json!({ "schema": "{\"type\":\"record\",\"name\":\"W\",\"fields\":[{\"name\":\"r\",\"type\":\"R\"}]}",
                "references": [{ "name": "R", "subject": subject, "version": 1 }] })
    };
    vec![
        get("GET /schemas/types", 200, json!(["JSON", "PROTOBUF", "AVRO"])),
        get("GET /subjects/$none/versions", 404, code(40401)),
        get("GET /subjects/$none/versions/1", 404, code(40401)),
        get("GET /schemas/ids/2147483000", 404, code(40403)),
        get("GET /config/$none", 404, code(40408)),
        get("GET /mode/$none", 404, code(40409)),
        get(
            "GET /config/$none?defaultToGlobal=true",
            200,
            json!({ "compatibilityLevel": "BACKWARD" }),
        ),
        get("GET /mode", 200, json!({ "mode": "READWRITE" })),
        // Registering, looking up, compatibility.
        row("POST /subjects/$a/versions", record(a), 200, json!({})),
        row("POST /subjects/$a/versions", record(a), 200, json!({})),
        get("GET /subjects/$a/versions", 200, json!([1])),
        row("POST /subjects/$a", record(a), 200, json!({ "version": 1 })),
        row("POST /subjects/$a", string.clone(), 404, code(40403)),
        row("POST /subjects/$none", string.clone(), 404, code(40401)),
        row("POST /subjects/$a/versions", record(&format!("{a},{b}")), 409, code(409)),
        row("POST /subjects/$a/versions", record(&format!("{a},{b_default}")), 200, json!({})),
        get("GET /subjects/$a/versions", 200, json!([1, 2])),
        get("GET /subjects/$a/versions/latest", 200, json!({ "version": 2 })),
        get("GET /subjects/$a/versions/3", 404, code(40402)),
        get("GET /subjects/$a/versions/abc", 422, code(42202)),
        row("POST /subjects/$a/versions", json!({ "schema": "{not json" }), 422, code(42201)),
        row(
            "POST /subjects/$a/versions",
            json!({ "schema": "x", "schemaType": "XML" }),
            422,
            code(42201),
        ),
        // An id or a version of one's own.
        row(
            "POST /subjects/$n/versions",
            json!({ "schema": "\"int\"", "id": 7 }),
            422,
            code(42205),
        ),
        row(
            "POST /subjects/$n/versions",
            json!({ "schema": "\"int\"", "version": 9 }),
            422,
            code(42201),
        ),
        // References.
        row("POST /subjects/$w/versions", with_reference("$none"), 422, code(42201)),
        row("POST /subjects/$w/versions", with_reference("$a"), 200, json!({})),
        row("DELETE /subjects/$a/versions/1", Value::Null, 422, code(42206)),
        // Config and mode.
        row(
            "PUT /config/$a",
            json!({ "compatibility": "NONE" }),
            200,
            json!({ "compatibility": "NONE" }),
        ),
        get("GET /config/$a", 200, json!({ "compatibilityLevel": "NONE" })),
        row("PUT /config/$a", json!({ "compatibility": "SOME" }), 422, code(42203)),
        row("PUT /mode/$a", json!({ "mode": "SOME" }), 422, code(42204)),
        row("PUT /mode/$a", json!({ "mode": "IMPORT" }), 422, code(42205)),
        row("PUT /mode/$a", json!({ "mode": "READONLY" }), 200, json!({ "mode": "READONLY" })),
        row("POST /subjects/$a/versions", string.clone(), 422, code(42205)),
        row("DELETE /mode/$a", Value::Null, 200, json!({})),
        get("GET /mode/$a", 404, code(40409)),
        // Deleting: soft, then permanent; numbers go on.
        row("POST /subjects/$d/versions", string.clone(), 200, json!({})),
        row("DELETE /subjects/$d/versions/1?permanent=true", Value::Null, 404, code(40407)),
        row("DELETE /subjects/$d/versions/1", Value::Null, 200, json!(1)),
        get("GET /subjects/$d/versions", 404, code(40401)),
        get("GET /subjects/$d/versions?deleted=true", 200, json!([1])),
        get("GET /subjects/$d/versions/1?deleted=true", 200, json!({ "version": 1 })),
        row("POST /subjects/$d/versions", json!({ "schema": "\"long\"" }), 200, json!({})),
        get("GET /subjects/$d/versions", 200, json!([2])),
        // IMPORT mode.
        row("PUT /mode/$i", json!({ "mode": "IMPORT" }), 200, json!({ "mode": "IMPORT" })),
        row("POST /subjects/$i/versions", string.clone(), 422, code(42205)),
        row(
            "POST /subjects/$i/versions",
            json!({ "schema": "\"bytes\"", "id": 1_900_000_001, "version": 7 }),
            200,
            json!({ "id": 1_900_000_001 }),
        ),
        get("GET /subjects/$i/versions", 200, json!([7])),
        row(
            "POST /subjects/$i/versions",
            json!({ "schema": "\"double\"", "id": 1_900_000_001, "version": 8 }),
            422,
            code(42205),
        ),
        row("DELETE /mode/$i", Value::Null, 200, json!({ "mode": "IMPORT" })),
        // Contexts: ids of their own.
        row("POST /subjects/:.$c:x/versions", string, 200, json!({})),
        get("GET /subjects/:.$c:x/versions/1", 200, json!({ "version": 1 })),
    ]
}

async fn run(url: &str) {
    let run = std::process::id().to_string();
    let client = reqwest::Client::new();
    for Row { request, body, status, answer } in table() {
        let (method, path) = request.split_once(' ').unwrap();
        let url = format!("{url}{}", path.replace('$', &format!("facts{run}-")));
        let mut call = client.request(method.parse().unwrap(), url);
        if !body.is_null() {
            let text = body.to_string().replace('$', &format!("facts{run}-"));
            call = call.header("Content-Type", "application/vnd.schemaregistry.v1+json").body(text);
        }
        let response = call.send().await.unwrap();
        let found = response.status().as_u16();
        let text = response.text().await.unwrap();
        assert_eq!(found, status, "{request}: {text}");
        let json: Value = serde_json::from_str(&text).unwrap();
        match &answer {
            Value::Object(wanted) => {
                for (key, value) in wanted {
                    assert_eq!(&json[key], value, "{request}: {text}");
                }
            }
            Value::Array(wanted) if request.contains("types") => {
                assert!(wanted.iter().all(|it| json.as_array().unwrap().contains(it)), "{text}");
            }
            wanted => assert_eq!(&json, wanted, "{request}"),
        }
    }
}

#[tokio::test]
async fn the_embedded_registry_answers_as_a_real_one() {
    let registry = EmbeddedRegistry::start(Options::default()).await.unwrap();
    run(&registry.url()).await;
}

#[tokio::test]
async fn the_registry_at_registry_url_answers_so_too() {
    match std::env::var("REGISTRY_URL") {
        Ok(url) => run(url.trim_end_matches('/')).await,
        Err(_) => eprintln!("skipped: REGISTRY_URL is not set"),
    }
}

#[tokio::test]
async fn immutable_modes_credentials_and_faults() {
    let options = Options {
        immutable_mode: true,
        basic_auth: Some(("user".to_owned(), "secret".to_owned())),
        ..Options::default()
    };
    let registry = EmbeddedRegistry::start(options).await.unwrap();
    let client = reqwest::Client::new();
    let url = format!("{}/subjects", registry.url());
    assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
    let wrong = client.get(&url).basic_auth("user", Some("guess")).send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    let right = || client.get(&url).basic_auth("user", Some("secret")).send();
    assert_eq!(right().await.unwrap().text().await.unwrap(), "[]");

    let mode = client.put(format!("{}/mode", registry.url())).basic_auth("user", Some("secret"));
    let refused = mode.body(r#"{"mode":"IMPORT"}"#).send().await.unwrap();
    assert_eq!(refused.status(), 422);

    let fault = Fault { status: 429, retry_after: Some(3) };
    registry.inject([fault]);
    let limited = right().await.unwrap();
    assert_eq!(limited.status(), 429);
    assert_eq!(limited.headers()["Retry-After"], "3");
    assert_eq!(right().await.unwrap().status(), 200);
}
