//! A registry behind TLS that wants a client certificate.

mod common;

use std::sync::Arc;

use common::{Authority, Identity};
use registry::{Client, Error, Settings};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use testbed::EmbeddedRegistry;
use testbed::registry::Options;
use testbed::workshop::{Workshop, kafka_backup, stderr};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Ends TLS in front of a registry and gives its address; only clients with a certificate of the
/// authority get through.
async fn guarded(registry: &EmbeddedRegistry, authority: &Authority) -> String {
    let server = authority.issue("localhost");
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server.key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap()],
            key,
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = registry.url().trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                // A client without a certificate ends here.
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let mut server = TcpStream::connect(behind).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    format!("https://localhost:{port}")
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_shown_and_wanted() {
    let registry = EmbeddedRegistry::start(Options::default()).await.unwrap();
    registry.register("a-value", &serde_json::json!({ "schema": "\"string\"" }));
    let authority = Authority::new();
    let url = guarded(&registry, &authority).await;
    let ours = authority.issue("client");
    let strangers = Authority::new().issue("client");

    let mut settings = Settings::new(&url);
    settings.retry.max_attempts = 1;
    settings.ca_certificates = Some(authority.issuer.pem());
    let with = |identity: &Identity| Settings {
        client_certificate: Some(identity.certificate.clone()),
        client_key: Some(identity.key.serialize_pem().into()),
        ..settings.clone()
    };
    let good = Client::new(&with(&ours)).unwrap();
    assert_eq!(good.subjects(false).await.unwrap(), ["a-value"]);

    let unknown = Settings { ca_certificates: None, ..with(&ours) };
    for (what, settings) in [
        ("no certificate", settings.clone()),
        ("another authority's certificate", with(&strangers)),
        ("an authority that we do not know", unknown),
    ] {
        let error = Client::new(&settings).unwrap().subjects(false).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{what}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_files_certificates_are_used() {
    let registry = EmbeddedRegistry::start(Options::default()).await.unwrap();
    let authority = Authority::new();
    let url = guarded(&registry, &authority).await;
    let ours = authority.issue("client");
    let shop = Workshop::new();
    let ca = shop.write("ca.pem", &authority.issuer.pem());
    let certificate = shop.write("client.pem", &ours.certificate);
    let key = shop.write("client.key", &ours.key.serialize_pem());
    let yaml = |auth: &str, key: &std::path::Path| {
        let (ca, certificate, key) = (ca.display(), certificate.display(), key.display());
        shop.write(
            "backup.yaml",
            &format!(
                "mode: backup\nbackup_id: one\nstorage: {}\nenterprise:\n  schema_registry:\n    \
                 url: \"{url}\"\n    auth: {auth}\n    retry: {{ max_attempts: 1 }}\n    \
                 tls: {{ ca_cert: {ca}, client_cert: {certificate}, client_key: {key} }}\n",
                shop.storage()
            ),
        )
    };
    let run =
        |file: std::path::PathBuf| kafka_backup(&["backup", "--config", file.to_str().unwrap()]);
    let missing = run(yaml("{ type: mtls }", &shop.path("none.key")));
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("none.key: No such file"), "{}", stderr(&missing));
    let swapped = run(yaml("{ type: mtls }", &ca));
    assert_eq!(swapped.status.code(), Some(2), "{}", stderr(&swapped));
    assert!(stderr(&swapped).contains("tls.client_cert and client_key"), "{}", stderr(&swapped));
    let good = run(yaml("{ type: mtls }", &key));
    assert!(good.status.success(), "{}", stderr(&good));
}
