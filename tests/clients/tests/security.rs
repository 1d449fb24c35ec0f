//! Every way to show a real Kafka broker who we are.

mod common;

use std::path::Path;
use std::time::Duration;

use common::Authority;
use kafka::security::{Certificates, PasswordMechanism, Sasl};
use kafka::{Cluster, Connection, Security};
use testbed::client::{self, Compression, Message};
use testbed::real::{self, Extras, Kafka, Release};
use testbed::registry::{OAuthOptions, Options};
use testbed::workshop::{Workshop, kafka_backup, stderr, stdout};
use testbed::{Broker, EmbeddedRegistry};

const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";
const OAUTH: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule";
/// How long a broker lets a client go without showing its credentials again.
const SESSION: Duration = Duration::from_secs(3);

fn secured(shop: &Workshop, authority: &Authority) -> Kafka {
    let server = authority.issue("127.0.0.1");
    let pem = format!("{}{}", server.key.serialize_pem(), server.certificate);
    let (server, ca) =
        (shop.write("server.pem", &pem), shop.write("ca.pem", &authority.issuer.pem()));
    let mut settings: Vec<(String, String)> = [
        ("ssl.keystore.type", "PEM".to_owned()),
        ("ssl.keystore.location", server.display().to_string()),
        ("ssl.truststore.type", "PEM".to_owned()),
        ("ssl.truststore.location", ca.display().to_string()),
        ("listener.name.mtls.ssl.client.auth", "required".to_owned()),
        ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned()),
        ("listener.name.oauth.sasl.enabled.mechanisms", "OAUTHBEARER".to_owned()),
        (
            "listener.name.oauth.oauthbearer.sasl.jaas.config",
            format!("{OAUTH} required unsecuredLoginStringClaim_sub=\"admin\";"),
        ),
        ("connections.max.reauth.ms", SESSION.as_millis().to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec();
    for listener in ["sasl", "secure"] {
        for (mechanism, module, users) in [
            ("plain", PLAIN, " user_alice=\"secret\""),
            ("scram-sha-256", SCRAM, ""),
            ("scram-sha-512", SCRAM, ""),
        ] {
            settings.push((
                format!("listener.name.{listener}.{mechanism}.sasl.jaas.config"),
                format!("{module} required{users};"),
            ));
        }
    }
    let scram = ["SCRAM-SHA-256", "SCRAM-SHA-512"];
    Kafka::start_with(
        1,
        &Extras {
            listeners: vec![
                ("TLS", "SSL"),
                ("MTLS", "SSL"),
                ("SASL", "SASL_PLAINTEXT"),
                ("SECURE", "SASL_SSL"),
                ("OAUTH", "SASL_PLAINTEXT"),
            ],
            settings,
            scram: scram.map(|it| format!("{it}=[name=alice,password=secret]")).to_vec(),
            release: Release::Newest,
        },
    )
}

fn back_up(shop: &Workshop, bootstrap: &str, security: &str) -> std::process::Output {
    let store = tempfile::TempDir::new_in(shop.path("")).unwrap();
    let file = shop.write(
        "backup.yaml",
        &format!(
            "mode: backup\nbackup_id: one\nsource:\n  bootstrap_servers: \"{bootstrap}\"\n  \
             security: {{ {security} }}\nstorage: {{ backend: filesystem, path: {} }}\n",
            store.path().display()
        ),
    );
    kafka_backup(&["backup", "--config", file.to_str().unwrap(), "--format", "json"])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mechanism_and_each_refusal() {
    if !real::available() {
        return;
    }
    let shop = Workshop::new();
    let authority = Authority::new();
    let kafka = secured(&shop, &authority);
    client::create_topic(&kafka.bootstrap(), "orders", 1).await.unwrap();
    let messages: Vec<Message> =
        (0..20).map(|it: i32| Message::new(None, Some(&it.to_be_bytes()))).collect();
    client::produce(&kafka.bootstrap(), "orders", Compression::Lz4, &messages).await.unwrap();
    let tokens = EmbeddedRegistry::start(Options {
        oauth: Some(OAuthOptions {
            client: ("backup".to_owned(), "hush".to_owned()),
            requests_per_token: 100,
            subject: Some("alice".to_owned()),
        }),
        ..Options::default()
    });
    let tokens = tokens.await.unwrap();
    let ours = authority.issue("client");
    let certificate = shop.write("client.pem", &ours.certificate);
    let key = shop.write("client.key", &ours.key.serialize_pem());
    let shown = |path: &Path| path.display().to_string();
    let ca = format!("ssl_ca_location: {}", shown(&shop.path("ca.pem")));
    let own = format!(
        "ssl_certificate_location: {}, ssl_key_location: {}",
        shown(&certificate),
        shown(&key)
    );
    let user = |mechanism: &str, password: &str| {
        format!("sasl_mechanism: {mechanism}, sasl_username: alice, sasl_password: {password}")
    };
    let bearer = |secret: &str| {
        format!(
            "security_protocol: SASL_PLAINTEXT, sasl_mechanism: OAUTHBEARER, \
             sasl_oauthbearer_token_endpoint_url: \"{}/token\", sasl_oauthbearer_client_id: backup, \
             sasl_oauthbearer_client_secret: {secret}",
            tokens.url()
        )
    };
    let mut good = vec![
        ("TLS", format!("security_protocol: SSL, {ca}")),
        ("MTLS", format!("security_protocol: SSL, {ca}, {own}")),
        ("OAUTH", bearer("hush")),
    ];
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let user = user(mechanism, "secret");
        good.push(("SASL", format!("security_protocol: SASL_PLAINTEXT, {user}")));
        good.push(("SECURE", format!("security_protocol: SASL_SSL, {ca}, {user}")));
    }
    for (listener, security) in good {
        let output = back_up(&shop, kafka.listener(listener), &security);
        assert!(output.status.success(), "{listener} {security}: {}", stderr(&output));
        let described: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(described["topics"][0]["records"], 20, "{listener} {security}");
    }

    let stranger = Authority::new().issue("client");
    let other = shop.write("other.pem", &stranger.certificate);
    let wrong = [
        (
            "TLS",
            format!("security_protocol: SSL, ssl_ca_location: {}", shown(&other)),
            "certificate",
        ),
        ("MTLS", format!("security_protocol: SSL, {ca}"), "ertificate"),
        ("OAUTH", bearer("guess"), "refused the client credentials (HTTP 401)"),
        (
            "SASL",
            format!("security_protocol: SASL_PLAINTEXT, {}", user("PLAIN", "wrong-one")),
            "PLAIN: Authentication failed",
        ),
        (
            "SECURE",
            format!("security_protocol: SASL_SSL, {ca}, {}", user("SCRAM-SHA-512", "wrong-one")),
            "SCRAM-SHA-512: Authentication failed",
        ),
        (
            "OAUTH",
            format!("security_protocol: SASL_PLAINTEXT, {}", user("PLAIN", "wrong-one")),
            "the broker offers only OAUTHBEARER",
        ),
        ("TLS", "security_protocol: PLAINTEXT".to_owned(), "no bootstrap server can be reached"),
    ];
    for (listener, security, why) in wrong {
        let output = back_up(&shop, kafka.listener(listener), &security);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{listener} {security}: {text}");
        assert!(text.contains(why), "{listener} {security}: {text}");
        assert!(!text.contains("wrong-one") && !text.contains("guess"), "{text}");
        assert_eq!(text.lines().filter(|it| it.starts_with("error: ")).count(), 1, "{text}");
    }

    // KIP-368: a connection outlives the session that the broker gave it.
    let sasl = Sasl::Password {
        mechanism: PasswordMechanism::ScramSha256,
        username: "alice".to_owned(),
        password: "secret".to_owned().into(),
    };
    let certificates = Certificates { authorities: Some(authority.issuer.pem()), own: None };
    let security = Security::default().with_tls(&certificates).unwrap().with_sasl(sasl);
    let address = kafka.listener("SECURE").parse().unwrap();
    let mut connection = Connection::open(&address, &security).await.unwrap();
    for _ in 0..4 {
        tokio::time::sleep(SESSION.mul_f64(0.9)).await;
        let request = kafka_protocol::messages::MetadataRequest::default();
        connection.call(&request).await.unwrap();
    }
    let metadata = Cluster::new(vec![address], security).metadata(None).await.unwrap();
    assert!(metadata.topics.contains_key("orders"));
}

/// Settings that can't be meant end before any broker is asked.
#[test]
fn settings_that_do_not_fit_are_refused() {
    let shop = Workshop::new();
    for (security, why) in [
        ("sasl_mechanism: PLAIN", "needs `security_protocol: SASL_SSL`"),
        ("security_protocol: SASL_SSL", "`sasl_mechanism` is missing"),
        ("security_protocol: SASL_SSL, sasl_mechanism: PLAIN", "`sasl_username` is missing"),
        ("security_protocol: SSL, ssl_ca_location: /none", "ssl_ca_location: /none: No such file"),
        (
            "security_protocol: SSL, ssl_key_location: /dev/null",
            "`ssl_certificate_location` is missing",
        ),
        ("security_protocol: TLS", "expected one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
    ] {
        let output = back_up(&shop, "127.0.0.1:1", security);
        assert_eq!(output.status.code(), Some(2), "{security}: {}", stderr(&output));
        assert!(stderr(&output).contains(why), "{security}: {}", stderr(&output));
    }
}

/// Clients without credentials, or with TLS towards the proxy, in front of brokers that want both.
#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_speaks_tls_and_sasl_to_both_sides() {
    if !real::available() {
        return;
    }
    let shop = Workshop::new();
    let authority = Authority::new();
    let kafka = secured(&shop, &authority);
    client::create_topic(&kafka.bootstrap(), "orders", 2).await.unwrap();
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let ca = shop.path("ca.pem");
    let identity = |name: &str| {
        let identity = authority.issue("127.0.0.1");
        let key = shop.write(&format!("{name}.key"), &identity.key.serialize_pem());
        (shop.write(&format!("{name}.pem"), &identity.certificate), key, identity)
    };
    let (certificate, key, _) = identity("proxy");
    let (_, _, ours) = identity("app");
    let store = format!("{}{}", ours.key.serialize_pem(), ours.certificate);
    let store = shop.write("app-store.pem", &store);
    let truststore = shop.write(
        "client.properties",
        &format!(
            "security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
             ssl.keystore.type=PEM\nssl.keystore.location={}\n",
            ca.display(),
            store.display()
        ),
    );
    let own = authority.issue("client");
    let own_certificate = shop.write("own.pem", &own.certificate);
    let own_key = shop.write("own.key", &own.key.serialize_pem());
    let upstream = [
        (
            "MTLS",
            format!(
                "security_protocol: SSL, ssl_ca_location: {}, ssl_certificate_location: {}, \
                 ssl_key_location: {}",
                ca.display(),
                own_certificate.display(),
                own_key.display()
            ),
        ),
        ("TLS", format!("security_protocol: SSL, ssl_ca_location: {}", ca.display())),
        (
            "SECURE",
            format!(
                "security_protocol: SASL_SSL, ssl_ca_location: {}, sasl_mechanism: SCRAM-SHA-512, \
                 sasl_username: alice, sasl_password: secret",
                ca.display()
            ),
        ),
    ];
    let mut sent = 0;
    for (listener, security) in upstream {
        for tls in [false, true] {
            let file = shop.proxy_yaml(kafka.listener(listener), &map, "{ keys: false }");
            let mut text = std::fs::read_to_string(&file).unwrap();
            text = text.replace("\"] }", &format!("\"], security: {{ {security} }} }}"));
            if tls {
                let own = format!(
                    ", tls: {{ certificate: {}, key: {}, client_ca: {} }} }}\ntarget:",
                    certificate.display(),
                    key.display(),
                    ca.display()
                );
                text = text.replace(" }\ntarget:", &own);
            }
            std::fs::write(&file, text).unwrap();
            let proxy = shop.proxy(&file);
            let producer = "org.apache.kafka.tools.ConsoleProducer";
            let mut arguments = vec!["--bootstrap-server", &proxy.bootstrap, "--topic", "orders"];
            if tls {
                arguments.extend(["--command-config", truststore.to_str().unwrap()]);
            }
            let line = format!("{listener} {tls}\n");
            real::tool(producer, &arguments, &[b"\0\0\0\0\x05", line.as_bytes()].concat());
            sent += 1;
            let found = client::consume(&kafka.bootstrap(), "orders", 2, sent).await.unwrap();
            let wanted = client::framed(105, format!("{listener} {tls}").as_bytes());
            let there = found.iter().any(|it| it.value.as_deref() == Some(&wanted[..]));
            assert!(there, "{listener} {tls}: {found:?}");
            if !tls {
                continue;
            }
            // A client without a certificate is turned away; a new certificate is taken up.
            let plain = kafka::Security::default();
            let address = proxy.bootstrap.parse().unwrap();
            assert!(Connection::open(&address, &plain).await.is_err());
            let before = proxy.process.output().matches("was loaded again").count();
            identity("proxy");
            let mut proxy = proxy;
            proxy.process.wait_for_text("was loaded again", before + 1);
            let certificates = Certificates {
                authorities: Some(authority.issuer.pem()),
                own: Some((ours.certificate.clone(), ours.key.serialize_pem().into())),
            };
            let security = Security::default().with_tls(&certificates).unwrap();
            Connection::open(&address, &security).await.unwrap();
            shop.write("proxy.pem", "no certificate");
            proxy.process.wait_for_text("stays the old one", 1);
            Connection::open(&address, &security).await.unwrap();
            identity("proxy");
        }
    }
}

/// The proxy asks clients for credentials of its own, shows others to the brokers, and goes on when
/// those want to see them again.
#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_lets_in_users_of_its_own_and_renews_its_session() {
    if !real::available() {
        return;
    }
    let shop = Workshop::new();
    let authority = Authority::new();
    let kafka = secured(&shop, &authority);
    client::create_topic(&kafka.bootstrap(), "orders", 1).await.unwrap();
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let file = shop.proxy_yaml(kafka.listener("SASL"), &map, "{}");
    let text = std::fs::read_to_string(&file).unwrap();
    let own = "security: { security_protocol: SASL_PLAINTEXT, sasl_mechanism: SCRAM-SHA-256, \
               sasl_username: alice, sasl_password: secret }";
    let users = "sasl: { mechanisms: [PLAIN, SCRAM-SHA-256, SCRAM-SHA-512], \
                 users: { app: \"app's own\", other: word } }";
    let text = text
        .replace("\"] }", &format!("\"], {own} }}"))
        .replace(" }\ntarget:", &format!(", {users} }}\ntarget:"));
    std::fs::write(&file, text).unwrap();
    let mut proxy = shop.proxy(&file);
    let properties = |mechanism: &str, user: &str, password: &str| {
        let module = if mechanism == "PLAIN" { PLAIN } else { SCRAM };
        format!(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism={mechanism}\nsasl.jaas.config={module} \
             required username=\"{user}\" password=\"{password}\";\n"
        )
    };
    let producer = "org.apache.kafka.tools.ConsoleProducer";
    let bootstrap = proxy.bootstrap.clone();
    let through = ["--bootstrap-server", bootstrap.as_str(), "--topic", "orders"];
    let mechanisms = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
    for mechanism in mechanisms {
        let config = shop.write("client.properties", &properties(mechanism, "app", "app's own"));
        let config = ["--command-config", config.to_str().unwrap()];
        let line = [b"\0\0\0\0\x05", mechanism.as_bytes(), b"\n"].concat();
        real::tool(producer, &[&through[..], &config].concat(), &line);
    }
    let found = client::consume(&kafka.bootstrap(), "orders", 1, 3).await.unwrap();
    for (message, mechanism) in found.iter().zip(mechanisms) {
        assert_eq!(message.value.as_deref(), Some(&client::framed(105, mechanism.as_bytes())[..]));
    }

    // Without credentials of its own it passes those of clients on, and is ready before the first.
    let file = shop.proxy_yaml(kafka.listener("SASL"), &map, "{}");
    let passing = shop.proxy(&file);
    let token = shop.proxy(&shop.proxy_yaml(kafka.listener("OAUTH"), &map, "{}"));
    let bearer = format!(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\nsasl.jaas.config={OAUTH} \
         required unsecuredLoginStringClaim_sub=\"alice\";\n"
    );
    let mut sent = 3;
    for (proxy, config) in mechanisms
        .map(|it| (&passing, properties(it, "alice", "secret")))
        .into_iter()
        .chain([(&token, bearer)])
    {
        let config = shop.write("client.properties", &config);
        let through = ["--bootstrap-server", proxy.bootstrap.as_str(), "--topic", "orders"];
        let config = ["--command-config", config.to_str().unwrap()];
        real::tool(producer, &[&through[..], &config].concat(), b"\0\0\0\0\x05 passed on\n");
        sent += 1;
    }
    let found = client::consume(&kafka.bootstrap(), "orders", 1, sent).await.unwrap();
    let wanted = client::framed(105, b" passed on");
    assert_eq!(found.iter().filter(|it| it.value.as_deref() == Some(&wanted[..])).count(), 4);
    drop((passing, token));

    // A wrong password, a mechanism that is not there, no credentials at all, other requests first.
    let versions = "org.apache.kafka.tools.BrokerApiVersionsCommand";
    let wrong = shop.write("wrong.properties", &properties("SCRAM-SHA-512", "app", "guess"));
    let wrong = ["--command-config", wrong.to_str().unwrap()];
    let said = real::tool_says(versions, &[&through[..2], &wrong].concat(), b"");
    assert!(said.contains("does not know this user with these credentials"), "{said}");
    let security = Security::default();
    let address = proxy.bootstrap.parse().unwrap();
    let mut stranger = Connection::open(&address, &security).await.unwrap();
    let metadata = kafka_protocol::messages::MetadataRequest::default();
    assert!(stranger.call(&metadata).await.is_err());
    proxy.process.wait_for_text("asked for API 3 before it showed who it is", 1);
    proxy.process.wait_for_text("credentials are not those of a user in listen.sasl", 1);
    let log = proxy.process.output();
    assert!(!log.contains("guess") && !log.contains("app's own"), "{log}");

    // One connection for several of the broker's sessions, which last three seconds.
    let sasl = Sasl::Password {
        mechanism: PasswordMechanism::ScramSha256,
        username: "other".to_owned(),
        password: "word".to_owned().into(),
    };
    let mut connection =
        Connection::open(&address, &Security::default().with_sasl(sasl)).await.unwrap();
    let begun = std::time::Instant::now();
    while begun.elapsed() < SESSION * 4 {
        connection.call(&metadata).await.unwrap();
        tokio::time::sleep(SESSION / 4).await;
    }
    // An idle time in which a session ends.
    tokio::time::sleep(SESSION + Duration::from_secs(1)).await;
    connection.call(&metadata).await.unwrap();
    let open: serde_json::Value = serde_json::from_str(&proxy.get("/connections").1).unwrap();
    assert_eq!(open[0]["user"], "other", "{open}");
}
