//! How clients come to each broker: by TLS server names on one port, and by a redirection that they do
//! not notice. (Ports are what all other tests use.)

mod common;

use std::fmt::Write;
use std::io::BufRead;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use common::Authority;
use testbed::client::{self, Compression, Message, framed, id_of};
use testbed::real::{self, Kafka};
use testbed::workshop::{Workshop, stderr};
use testbed::{Broker, bins};

const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const VERSIONS: &str = "org.apache.kafka.tools.BrokerApiVersionsCommand";

async fn value_ids(bootstrap: &str, partitions: i32, count: usize) -> Vec<Option<u32>> {
    let found = client::consume(bootstrap, "orders", partitions, count).await.unwrap();
    found.iter().map(|it| id_of(it.value.as_deref().unwrap())).collect()
}

/// Three brokers behind one port; each is found by its name, and its records go to the right one.
#[tokio::test(flavor = "multi_thread")]
async fn one_port_and_a_name_for_each_broker() {
    if !real::available() {
        return;
    }
    let shop = Workshop::new();
    let authority = Authority::new();
    let identity = authority.issue("*.kafka.test");
    let certificate = shop.write("proxy.pem", &identity.certificate);
    let key = shop.write("proxy.key", &identity.key.serialize_pem());
    let ca = shop.write("ca.pem", &authority.issuer.pem());
    let mut hosts = "127.0.0.1 bootstrap.kafka.test".to_owned();
    (1..=3).for_each(|node| write!(hosts, " b{node}.kafka.test").unwrap());
    let hosts = shop.write("hosts", &hosts);
    let client = shop.write(
        "client.properties",
        &format!(
            "security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={}\n",
            ca.display()
        ),
    );
    let client = ["--command-config", client.to_str().unwrap()];

    let kafka = Kafka::start(3);
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let file = shop.proxy_yaml(&kafka.bootstrap(), &map, "{}");
    let listen = format!(
        "listen: {{ bootstrap: \"127.0.0.1:0\", brokers: sni, \
         advertised_host: \"b{{node}}.kafka.test\", tls: {{ certificate: {}, key: {} }} }}\n",
        certificate.display(),
        key.display()
    );
    let text = std::fs::read_to_string(&file).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    std::fs::write(&file, format!("{listen}{rest}")).unwrap();
    let proxy = shop.proxy(&file);
    let port = proxy.bootstrap.rsplit(':').next().unwrap();
    let bootstrap = format!("bootstrap.kafka.test:{port}");
    let through = [&["--bootstrap-server", bootstrap.as_str()][..], &client].concat();
    let tool = |class: &str, arguments: &[&str], input: &[u8]| {
        real::tool_with_hosts(&hosts, class, &[&through[..], arguments].concat(), input)
    };

    let create =
        ["--create", "--topic", "orders", "--partitions", "6", "--replication-factor", "1"];
    tool(TOPICS, &create, b"");
    let lines = b"\0\0\0\0\x05 one\n".repeat(30);
    let spread = [
        "--command-property",
        "partitioner.class=org.apache.kafka.clients.producer.RoundRobinPartitioner",
    ];
    tool(PRODUCER, &[&["--topic", "orders"][..], &spread].concat(), &lines);
    assert_eq!(value_ids(&kafka.bootstrap(), 6, 30).await, [Some(105); 30]);
    let read = ["--topic", "orders", "--from-beginning", "--max-messages", "30"];
    let read = tool(CONSUMER, &[&read[..], &["--timeout-ms", "30000"]].concat(), b"");
    assert_eq!(read.lines().count(), 30);
    // What the tool lists is what clients are told.
    let brokers = String::from_utf8_lossy(&tool(VERSIONS, &[], b"")).into_owned();
    for node in 1..=3 {
        assert!(brokers.contains(&format!("b{node}.kafka.test:{port} (id: {node} ")), "{brokers}");
    }
    // Every broker had a connection of its own, to where it really is.
    let said = proxy.process.output();
    for address in kafka.bootstrap().split(',') {
        assert!(said.contains(&format!("at {address} is here as b")), "{said}");
    }
    assert!(!said.contains("WARN"), "{said}");

    // A name of no broker.
    let hosts = shop.write("hosts", "127.0.0.1 b9.kafka.test");
    let stray = format!("b9.kafka.test:{port}");
    let stray = [&["--bootstrap-server", stray.as_str()][..], &client].concat();
    let mut proxy = proxy;
    std::thread::scope(|scope| {
        // It tries until its own timeout.
        scope.spawn(|| {
            std::panic::catch_unwind(|| {
                real::tool_with_hosts(&hosts, VERSIONS, &stray, b"");
            })
        });
        proxy.process.wait_for_text("there is no broker 9", 1);
    });
}

/// Clients that know nothing of a proxy: their connections to the broker are redirected.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirected_connection_goes_through_unnoticed() {
    /// Whose connections are not redirected.
    const PROXY_USER: u32 = 1337;
    if !real::available() || !real::in_own_network("a_redirected_connection_goes_through_unnoticed")
    {
        return;
    }
    let kafka = Kafka::start(1);
    let bootstrap = kafka.bootstrap();
    client::create_topic(&bootstrap, "orders", 1).await.unwrap();
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let file = shop.proxy_yaml(&bootstrap, &map, "{}");
    let text = std::fs::read_to_string(&file).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    let listen = "listen: { bootstrap: \"127.0.0.1:0\", brokers: transparent }";
    std::fs::write(&file, format!("{listen}\n{rest}")).unwrap();
    // Another user reads the settings.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(shop.path(""), open).unwrap();
    let as_user = |user| {
        Workshop::ready(shop.start_proxy_with(&file, |it| {
            it.uid(user);
        }))
    };
    let proxy = as_user(PROXY_USER);
    let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
    real::redirect(&port(&bootstrap), &port(&proxy.bootstrap), PROXY_USER);

    let message = Message::new(None, Some(&framed(5, b"payload")));
    client::produce(&bootstrap, "orders", Compression::Lz4, std::slice::from_ref(&message))
        .await
        .unwrap();
    assert_eq!(value_ids(&bootstrap, 1, 1).await, [Some(105)]);
    assert_eq!(proxy.metric("schema_proxy_ids_translated_total"), 1);
    let line = b"\0\0\0\0\x05 one\n";
    real::tool(PRODUCER, &["--bootstrap-server", &bootstrap, "--topic", "orders"], line);
    assert_eq!(value_ids(&bootstrap, 1, 2).await, [Some(105), Some(105)]);
    // The broker's own address is what clients are told.
    let brokers = real::tool(VERSIONS, &["--bootstrap-server", &bootstrap], b"");
    let brokers = String::from_utf8_lossy(&brokers).into_owned();
    assert!(brokers.contains(&bootstrap), "{brokers}");
    // Whoever comes to the proxy's port by itself finds the cluster too.
    client::produce(&proxy.bootstrap, "orders", Compression::None, &[message]).await.unwrap();
    assert_eq!(value_ids(&bootstrap, 1, 3).await.len(), 3);
    let open = proxy.get("/connections").1;
    assert!(open.contains("[]") || open.contains(&bootstrap), "{open}");

    // A rule that catches the proxy's own connections too ends in a clear word, not in a circle.
    drop(proxy);
    let mut circle = shop.start_proxy_with(&file, |it| {
        it.uid(PROXY_USER + 1);
    });
    let own = Workshop::bootstrap_of(&mut circle);
    real::redirect(&port(&bootstrap), &port(&own), PROXY_USER);
    circle.wait_for_text("the proxy's own connection was redirected to it", 1);
    drop(circle);

    // Our credentials are for the target's brokers alone.
    let text = std::fs::read_to_string(&file).unwrap();
    let own = "security: { security_protocol: SASL_PLAINTEXT, sasl_mechanism: PLAIN, \
               sasl_username: alice, sasl_password: secret }";
    std::fs::write(&file, text.replace("\"] }", &format!("\"], {own} }}"))).unwrap();
    let mut guarded = shop.start_proxy_with(&file, |it| {
        it.uid(PROXY_USER);
    });
    let own = Workshop::bootstrap_of(&mut guarded);
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = elsewhere.local_addr().unwrap().to_string();
    real::redirect(&port(&elsewhere), &port(&own), PROXY_USER);
    let _client = std::net::TcpStream::connect(&elsewhere).unwrap();
    guarded.wait_for_text(&format!("go to {elsewhere}, which is no broker of the target"), 1);
}

/// Keys that do not belong together are told before anything listens.
#[test]
fn settings_that_do_not_fit_are_refused() {
    let shop = Workshop::new();
    let map = shop.write("map.json", "{}");
    for (listen, why) in [
        ("broker_port_base: 0", "listen: `advertised_host` is missing"),
        ("advertised_host: a", "listen: `broker_port_base` is missing"),
        ("brokers: sni, advertised_host: \"b{node}.a\"", "`brokers: sni` needs `tls`"),
        ("brokers: transparent, advertised_host: a", "`advertised_host` has no meaning"),
        ("brokers: port, advertised_host: a", "expected one of port_per_broker, sni, transparent"),
        (
            "brokers: sni, advertised_host: b.a, tls: { certificate: a, key: b }",
            "advertised_host: `b.a` needs {node} once",
        ),
    ] {
        let file = shop.proxy_yaml("127.0.0.1:1", &map, "{}");
        let text = std::fs::read_to_string(&file).unwrap();
        let (_, rest) = text.split_once('\n').unwrap();
        let listen = format!("listen: {{ bootstrap: \"127.0.0.1:0\", {listen} }}\n");
        std::fs::write(&file, format!("{listen}{rest}")).unwrap();
        let mut check = Command::new(bins::path("schema-proxy"));
        let output = check.arg("--check").arg("--config").arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{listen}");
        assert!(stderr(&output).contains(why), "{listen}: {}", stderr(&output));
    }
}
