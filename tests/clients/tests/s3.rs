//! The S3 store, and a backup and restore with it, against an S3 server in this process.

use std::net::SocketAddr;
use std::process::Command;

use artifact::store::{Bucket, BucketSettings, Store, StoreError};
use bytes::Bytes;
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
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service.clone());
            tokio::spawn(connection);
        }
    });
    Server { address, _folder: folder }
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
    let bucket = Bucket::open(server.settings("secret")).await;
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
