//! The S3 store, and a backup and restore with it, against an S3 server in this process.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use artifact::store::{Bucket, BucketSettings, Store, StoreError};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;
use testbed::broker::Embedded;
use testbed::client::{self, Compression, Message, framed};
use testbed::registry::Options;
use testbed::workshop::{Workshop, done, stderr};
use testbed::{Broker, EmbeddedRegistry, bins};
use tokio::net::TcpListener;

struct Server {
    address: SocketAddr,
    /// Every so many requests one fails; zero for none.
    fails_each: Arc<AtomicUsize>,
    _folder: TempDir,
}

const BUCKET: &str = "kafka-backups";

/// Serves one bucket until the test's runtime ends.
async fn server() -> Server {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
    builder.set_auth(SimpleAuth::from_single("id", "secret"));
    let service = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let fails_each = Arc::new(AtomicUsize::new(0));
    let (each, asked) = (Arc::clone(&fails_each), Arc::new(AtomicUsize::new(1)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (service, each, asked) = (service.clone(), Arc::clone(&each), Arc::clone(&asked));
            let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                let each = each.load(Ordering::Relaxed);
                // Some fail before they are done, some after: then the answer is lost.
                let fails = each > 0 && number.is_multiple_of(each);
                let done = (!fails || number.is_multiple_of(2 * each))
                    .then(|| hyper::service::Service::call(&service, request));
                async move {
                    let answer = match done {
                        Some(done) => Some(done.await?),
                        None => None,
                    };
                    let mut refused = Response::new(s3s::Body::empty());
                    *refused.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    let answer = answer.filter(|_| !fails).unwrap_or(refused);
                    Ok::<_, s3s::HttpError>(answer)
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer);
            tokio::spawn(connection);
        }
    });
    Server { address, fails_each, _folder: folder }
}

impl Server {
    fn settings(&self, secret: &str) -> BucketSettings {
        BucketSettings {
            bucket: BUCKET.to_owned(),
            prefix: "some/where".to_owned(),
            region: Some("eu-west-1".to_owned()),
            endpoint: Some(format!("http://{}", self.address)),
            path_style: true,
            credentials: Some(("id".to_owned(), secret.to_owned())),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_whole_or_not_there() {
    let server = server().await;
    check_objects(Bucket::open(server.settings("secret")).await).await;
}

/// The same against another service: `S3_BUCKET` and AWS's own variables (`AWS_ENDPOINT_URL`,
/// `AWS_ACCESS_KEY_ID`, …) name it. What it writes stays there, below a prefix of its own.
#[tokio::test(flavor = "multi_thread")]
async fn objects_in_a_service_of_the_environment() {
    let Ok(bucket) = std::env::var("S3_BUCKET") else {
        return eprintln!("skipped: S3_BUCKET names no bucket");
    };
    let prefix = format!("kafka-backup-test-{}", std::process::id());
    let path_style = std::env::var("S3_PATH_STYLE").is_ok();
    let settings = BucketSettings { bucket, prefix, path_style, ..BucketSettings::default() };
    check_objects(Bucket::open(settings).await).await;
}

async fn check_objects(bucket: Bucket) {
    assert!(matches!(bucket.get("none").await, Err(StoreError::NotFound { .. })));
    assert_eq!(bucket.size("none").await.unwrap(), None);
    bucket.put("one/a.json", Bytes::from_static(b"{}")).await.unwrap();
    assert_eq!(bucket.get("one/a.json").await.unwrap(), &b"{}"[..]);

    // Larger than two parts, so that it goes up in three.
    let piece = Bytes::from(vec![7_u8; 5 << 20]);
    let mut upload = bucket.upload("two/big.log").await.unwrap();
    for _ in 0..4 {
        upload.write(piece.clone()).await.unwrap();
    }
    assert_eq!(bucket.size("two/big.log").await.unwrap(), None, "not before it is finished");
    upload.finish().await.unwrap();
    assert_eq!(bucket.size("two/big.log").await.unwrap(), Some(20 << 20));
    assert_eq!(bucket.get_range("two/big.log", 5..9).await.unwrap(), &[7; 4][..]);

    let mut dropped = bucket.upload("two/dropped.log").await.unwrap();
    dropped.write(piece).await.unwrap();
    drop(dropped);
    assert_eq!(bucket.list("").await.unwrap(), ["one/a.json", "two/big.log"]);
    assert_eq!(bucket.list("two/").await.unwrap(), ["two/big.log"]);
    assert_eq!(bucket.folders().await.unwrap(), ["one", "two"]);
    bucket.rename("one/a.json", "one/b.json").await.unwrap();
    assert_eq!(bucket.list("one/").await.unwrap(), ["one/b.json"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_named_and_not_shown() {
    let server = server().await;
    let bucket = Bucket::open(server.settings("guessed")).await;
    let error = bucket.put("a", Bytes::from_static(b"x")).await.unwrap_err().to_string();
    assert!(error.contains("writing s3://kafka-backups/some/where/a failed"), "{error}");
    assert!(error.contains("SignatureDoesNotMatch") && !error.contains("guessed"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_in_a_bucket_is_restored_from_it() {
    let server = server().await;
    let (from, to) = (Embedded::start(1).await.unwrap(), Embedded::start(1).await.unwrap());
    let old = EmbeddedRegistry::start(Options::default()).await.unwrap();
    let options = Options { first_id: Some(70), ..Options::default() };
    let new = EmbeddedRegistry::start(options).await.unwrap();
    let schema = serde_json::json!({ "schema": "\"string\"" });
    let id = old.register("orders-value", &schema);
    client::create_topic(&from.bootstrap(), "orders", 1).await.unwrap();
    let message = Message::new(None, Some(&framed(id, b"payload")));
    client::produce(&from.bootstrap(), "orders", Compression::Lz4, &[message]).await.unwrap();

    let shop = Workshop::new();
    let storage = format!(
        "{{ backend: s3, bucket: {BUCKET}, prefix: production, region: eu-west-1, path_style: true, \
         endpoint: \"http://{}\", access_key_id: id, secret_access_key: secret }}",
        server.address
    );
    let in_bucket = |path: std::path::PathBuf| {
        let yaml = std::fs::read_to_string(&path).unwrap().replace(&shop.storage(), &storage);
        std::fs::write(&path, yaml).unwrap();
        path
    };
    done("backup", &in_bucket(shop.backup_yaml("one", &from.bootstrap(), &old.url())));
    let restored =
        done("restore", &in_bucket(shop.restore_yaml("one", &to.bootstrap(), &new.url())));
    assert_eq!(restored["id_map"], format!("s3://{BUCKET}/production/one/id-map.json"));
    let found = client::consume(&to.bootstrap(), "orders", 1, 1).await.unwrap();
    assert_eq!(found[0].value.as_deref(), Some(&framed(70, b"payload")[..]));

    // The standard environment reaches it too: for `describe`, and for the proxy's map.
    let with_environment = |binary: &str, arguments: &[&str]| {
        Command::new(bins::path(binary))
            .args(arguments)
            .env("AWS_ENDPOINT_URL", format!("http://{}", server.address))
            .env("AWS_ACCESS_KEY_ID", "id")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_REGION", "eu-west-1")
            .output()
            .unwrap()
    };
    let path = format!("s3://{BUCKET}/production");
    let described = with_environment(
        "kafka-backup",
        &["describe", "--path", &path, "--backup-id", "one", "--format", "json"],
    );
    assert!(described.status.success(), "{}", stderr(&described));
    let described: serde_json::Value = serde_json::from_slice(&described.stdout).unwrap();
    assert_eq!(described["topics"][0]["records"], 1);
    let map = format!("{path}/one/id-map.json");
    let proxy = shop.proxy_yaml(&to.bootstrap(), map.as_ref(), "{ produce: true }");
    let checked =
        with_environment("schema-proxy", &["--config", proxy.to_str().unwrap(), "--check"]);
    assert!(checked.status.success(), "{}", stderr(&checked));
    assert!(stderr(&checked).contains("the map has 1 ids"), "{}", stderr(&checked));
}

/// Objects that must be new: whoever comes second is told, unless it was its own first try.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_over() {
    let server = server().await;
    let (first, second) = (
        Bucket::open(server.settings("secret")).await,
        Bucket::open(server.settings("secret")).await,
    );
    for size in [10, 20 << 20] {
        let key = format!("{size}.log");
        let write = async |bucket: &Bucket, byte: u8| {
            let mut upload = bucket.upload(&key).await?;
            upload.write(Bytes::from(vec![byte; size])).await?;
            upload.finish().await
        };
        write(&first, 1).await.unwrap();
        let refused = write(&second, 2).await.unwrap_err();
        assert!(matches!(refused, StoreError::Taken { .. }), "{refused}");
        assert_eq!(first.get_range(&key, 0..1).await.unwrap(), &[1][..]);
    }
}

/// A store that fails one call in ten, before or after it has done it.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_now_and_then_loses_nothing() {
    let server = server().await;
    let (from, to) = (Embedded::start(1).await.unwrap(), Embedded::start(1).await.unwrap());
    client::create_topic(&from.bootstrap(), "orders", 3).await.unwrap();
    let mut sent = Vec::new();
    for number in 0..300 {
        let message = Message::new(None, Some(format!("{number}").as_bytes()));
        sent.push(message.partition(number % 3));
    }
    for part in sent.chunks(10) {
        client::produce(&from.bootstrap(), "orders", Compression::Lz4, part).await.unwrap();
    }
    let shop = Workshop::new();
    let storage = format!(
        "{{ backend: s3, bucket: {BUCKET}, region: eu-west-1, path_style: true, \
         endpoint: \"http://{}\", access_key_id: id, secret_access_key: secret }}",
        server.address
    );
    let job = |mode: &str, side: &str, bootstrap: &str, more: &str| {
        shop.write(
            &format!("{mode}.yaml"),
            &format!(
                "mode: {mode}\nbackup_id: one\n{side}: {{ bootstrap_servers: \"{bootstrap}\" }}\n\
                 storage: {storage}\n{more}"
            ),
        )
    };
    server.fails_each.store(10, Ordering::Relaxed);
    let small = "backup: { segment_max_records: 7 }\n";
    let backup = job("backup", "source", &from.bootstrap(), small);
    assert_eq!(done("backup", &backup)["topics"][0]["records"], 300);
    done("restore", &job("restore", "target", &to.bootstrap(), ""));
    let found = client::consume(&to.bootstrap(), "orders", 3, sent.len()).await.unwrap();
    let values = |messages: &[Message]| -> Vec<_> {
        messages.iter().map(|it| (it.partition, it.value.clone())).collect()
    };
    sent.sort_by_key(|it| it.partition);
    assert_eq!(values(&found), values(&sent));

    // One that fails every call ends the backup with its address and what it says.
    server.fails_each.store(1, Ordering::Relaxed);
    let output = testbed::workshop::kafka_backup(&["backup", "--config", backup.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains(&format!("s3://{BUCKET}/one")) && text.contains("failed"), "{text}");
    server.fails_each.store(0, Ordering::Relaxed);
    assert_eq!(done("backup", &backup)["runs"], 2);
}
