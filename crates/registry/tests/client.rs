//! The client against a registry that is slow to answer, refuses, or is not there.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use registry::client::{OAuth, Retry};
use registry::{Auth, Client, Error, Schema, Settings};
use serde_json::json;
use testbed::EmbeddedRegistry;
use testbed::registry::{Fault, OAuthOptions, Options};

fn settings(url: &str) -> Settings {
    Settings {
        requests_per_second: NonZeroU32::new(10_000).unwrap(),
        retry: Retry {
            max_attempts: 3,
            initial_backoff: Duration::from_millis(5),
            max_backoff: Duration::from_millis(20),
        },
        ..Settings::new(url)
    }
}

fn client(url: &str) -> Client {
    Client::new(&settings(url)).unwrap()
}

fn schema(text: &str) -> Schema {
    serde_json::from_value(json!({ "schema": text })).unwrap()
}

fn fault(status: u16) -> Fault {
    Fault { status, retry_after: None }
}

#[tokio::test]
async fn subjects_versions_configs_and_modes() {
    let registry = EmbeddedRegistry::start(Options::default()).await.unwrap();
    let client = client(&registry.url());
    let odd = "a/b c:%é";
    let id = client.register(odd, &schema("\"string\"")).await.unwrap();
    assert_eq!(client.register(odd, &schema("\"string\"")).await.unwrap(), id);
    assert_eq!(client.subjects(false).await.unwrap(), [odd]);
    assert_eq!(client.versions(odd, false).await.unwrap(), Some(vec![1]));
    let version = client.version(odd, 1, false).await.unwrap();
    assert_eq!((version.id, version.subject.as_str()), (id, odd));
    assert_eq!(client.lookup(odd, &schema("\"string\""), false).await.unwrap(), Some(version));
    assert_eq!(client.lookup(odd, &schema("\"int\""), false).await.unwrap(), None);
    assert_eq!(client.lookup("none", &schema("\"int\""), false).await.unwrap(), None);

    assert_eq!(client.config(Some(odd)).await.unwrap(), None);
    let config = json!({ "compatibilityLevel": "FULL" });
    client.set_config(Some(odd), &config).await.unwrap();
    assert_eq!(client.config(Some(odd)).await.unwrap(), Some(config));
    client.set_mode(Some(odd), "READONLY", false).await.unwrap();
    assert_eq!(client.mode(Some(odd)).await.unwrap().as_deref(), Some("READONLY"));
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_not() {
    let registry = EmbeddedRegistry::start(Options::default()).await.unwrap();
    let client = client(&registry.url());
    registry.inject([fault(500), fault(429)]);
    assert!(client.subjects(false).await.is_ok());
    assert_eq!(registry.seen().len(), 3);

    registry.inject([fault(503), fault(503), fault(503), fault(503)]);
    let error = client.subjects(false).await.unwrap_err();
    assert!(matches!(error, Error::Answer { status: 503, .. }), "{error}");
    assert_eq!(registry.seen().len(), 6);
    registry.inject([]);

    let error = client.version("none", 1, false).await.unwrap_err();
    assert_eq!(error.code(), Some(40401));
    assert_eq!(registry.seen().len(), 7);
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let registry = EmbeddedRegistry::start(Options::default()).await.unwrap();
    registry.inject([Fault { status: 429, retry_after: Some(1) }]);
    let begun = Instant::now();
    client(&registry.url()).subjects(false).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn credentials_are_sent_and_never_shown() {
    let basic_auth = Some(("user".to_owned(), "hunter2".to_owned()));
    let registry = EmbeddedRegistry::start(Options { basic_auth, ..Options::default() });
    let registry = registry.await.unwrap();
    let with = |password: &str| {
        let (username, password) = ("user".to_owned(), password.to_owned().into());
        Settings { auth: Auth::Basic { username, password }, ..settings(&registry.url()) }
    };
    Client::new(&with("hunter2")).unwrap().subjects(false).await.unwrap();
    let wrong = Client::new(&with("hunter3")).unwrap();
    let error = wrong.subjects(false).await.unwrap_err().to_string();
    assert!(error.contains("refused the credentials (HTTP 401)"), "{error}");
    assert!(!error.contains("hunter") && !format!("{wrong:?}").contains("hunter"));
}

#[tokio::test]
async fn tokens_are_kept_and_renewed_when_they_are_refused() {
    let client = ("me".to_owned(), "hunter2".to_owned());
    let oauth = Some(OAuthOptions { client, requests_per_token: 3, subject: None });
    let registry = EmbeddedRegistry::start(Options { oauth, ..Options::default() }).await.unwrap();
    let with = |secret: &str| {
        let auth = Auth::OAuth(OAuth {
            token_url: format!("{}/token", registry.url()),
            client_id: "me".to_owned(),
            client_secret: secret.to_owned().into(),
            scope: Some("schemas".to_owned()),
        });
        Client::new(&Settings { auth, ..settings(&registry.url()) }).unwrap()
    };
    let client = with("hunter2");
    for _ in 0..7 {
        client.subjects(false).await.unwrap();
    }
    let asked = registry.seen().iter().filter(|it| it.path == "/token").count();
    assert_eq!(asked, 3, "one token for every three requests");

    let error = with("hunter3").subjects(false).await.unwrap_err().to_string();
    assert!(error.contains("/token refused the credentials (HTTP 401)"), "{error}");
    assert!(!error.contains("hunter"), "{error}");
}

#[tokio::test]
async fn the_first_address_that_answers_serves() {
    let registry = EmbeddedRegistry::start(Options::default()).await.unwrap();
    let dead = format!("http://127.0.0.1:{}", testbed::free_port());
    let urls = vec![dead.clone(), registry.url()];
    let client = Client::new(&Settings { urls, ..settings("") }).unwrap();
    assert!(client.subjects(false).await.is_ok());

    let error = self::client(&dead).subjects(false).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn the_rate_limit_holds() {
    let registry = EmbeddedRegistry::start(Options::default()).await.unwrap();
    let requests_per_second = NonZeroU32::new(20).unwrap();
    let client =
        Client::new(&Settings { requests_per_second, ..settings(&registry.url()) }).unwrap();
    let begun = Instant::now();
    // The bucket holds one second's worth.
    for _ in 0..30 {
        client.subjects(false).await.unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_millis(450), "{:?}", begun.elapsed());
}
