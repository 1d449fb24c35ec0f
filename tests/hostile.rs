//! Bytes that no client and no broker should send, against the running proxy: that connection ends,
//! with one clear line, and nobody else notices.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use testbed::Broker;
use testbed::broker::Embedded;
use testbed::client::{self, Compression, Message, framed};
use testbed::workshop::{RunningProxy, Workshop};

fn sized(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as i32).to_be_bytes()[..], frame].concat()
}

/// A request header of version 1 with an empty client id.
fn header(api_key: i16, version: i16, correlation_id: i32) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(api_key.to_be_bytes());
    out.extend(version.to_be_bytes());
    out.extend(correlation_id.to_be_bytes());
    out.extend([0, 0]);
    out
}

/// Sends bytes and reads until the proxy closes; a proxy that keeps the connection is a failure.
fn send(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // Closing with bytes unread is a reset, which is as good.
    match stream.read_to_end(&mut answer) {
        Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => panic!("still open: {bytes:?}"),
        _ => answer,
    }
}

/// Memory of a process in KiB, from the kernel.
fn resident(proxy: &RunningProxy) -> u64 {
    let pid = proxy.process.id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_clients_side() {
    let kafka = Embedded::start(1).await.unwrap();
    client::create_topic(&kafka.bootstrap(), "orders", 1).await.unwrap();
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let mut proxy = shop.proxy(&shop.proxy_yaml(&kafka.bootstrap(), &map, "{ produce: true }"));
    let before = resident(&proxy);

    let huge = [0x7f, 0xff, 0xff, 0xff];
    let compact = [0xff, 0xff, 0xff, 0xff, 0x0f];
    // transactional_id null, acks 1, timeout 0, then a count of topics.
    let produce = |version, count: &[u8]| {
        let start: &[u8] = if version < 9 { &[0xff, 0xff] } else { &[0, 0] };
        [&header(0, version, 1)[..], start, &[0, 1, 0, 0, 0, 0], count].concat()
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a frame of 2 GiB", huge.to_vec()),
        ("a negative frame", vec![0xff; 4]),
        ("a frame of two bytes", sized(&[0, 0])),
        ("a cut header", sized(&[0, 0, 0, 9])),
        ("a huge count of topics", sized(&produce(3, &huge))),
        ("a huge compact count of topics", sized(&produce(9, &compact))),
        ("a Produce that ends early", sized(&header(0, 12, 1))),
        ("a Produce of the future", sized(&produce(99, &huge))),
        ("a huge count in message sets", sized(&[&header(0, 2, 1)[..], &[0; 6], &huge].concat())),
        ("a Metadata of the future", sized(&header(3, 99, 1))),
        ("TLS", vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01]),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ];
    for _ in 0..20 {
        for (what, bytes) in &cases {
            assert_eq!(send(&proxy.bootstrap, bytes), b"", "{what}");
        }
    }
    let mut random = 0x9e37_79b9_u32;
    for length in 0..200 {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            })
            .collect();
        // Sized as it should be, but filled with anything: the embedded broker may answer or close.
        let mut stream = TcpStream::connect(&proxy.bootstrap).unwrap();
        stream.write_all(&sized(&[&header(0, 8, 1)[..], &bytes].concat())).unwrap();
    }

    // Others notice nothing.
    let message = Message::new(None, Some(&framed(5, b"x")));
    client::produce(&proxy.bootstrap, "orders", Compression::None, &[message]).await.unwrap();
    let found = client::consume(&kafka.bootstrap(), "orders", 1, 1).await.unwrap();
    assert_eq!(found[0].value.as_deref(), Some(&framed(105, b"x")[..]));
    let grown = resident(&proxy).saturating_sub(before);
    assert!(grown < 64 * 1024, "the proxy grew by {grown} KiB");
    proxy.process.wait_for_text("these bytes begin a TLS handshake", 20);
    proxy.process.wait_for_text("these bytes are HTTP", 20);
    proxy.process.wait_for_text("API 3 in version 99, which was not offered", 20);
    let log = proxy.process.output();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_brokers_side() {
    // A broker that answers each connection's first request with the next of these.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answers: Vec<(&str, i16, i16, Vec<u8>)> = vec![
        ("huge counts in Metadata", 3, 1, [&[0, 0, 0, 1][..], &[0x7f, 0xff, 0xff, 0xff]].concat()),
        (
            "huge compact counts",
            3,
            9,
            [&[0, 0, 0, 1, 0, 0, 0, 0, 0][..], &[0xff; 4], &[0x0f]].concat(),
        ),
        ("an answer to another request", 3, 1, vec![0, 0, 0, 9, 0, 0, 0, 0]),
        (
            "huge counts in ApiVersions",
            18,
            0,
            [&[0, 0, 0, 1, 0, 0][..], &[0x7f, 0xff, 0xff, 0xff]].concat(),
        ),
        ("an empty answer", 18, 3, vec![0, 0, 0, 1]),
        (
            "huge counts in a coordinator",
            10,
            4,
            [&[0, 0, 0, 1, 0, 0, 0, 0, 0][..], &[0xff; 4], &[0x0f]].concat(),
        ),
    ];
    let script = answers.clone();
    let broker = std::thread::spawn(move || {
        let mut script = script.into_iter();
        // The proxy's own question for brokers comes first; it is left without an answer.
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = [0; 14];
            if stream.read_exact(&mut request).is_err() {
                continue;
            }
            if &request[12..14] == b"\0\0" {
                let Some((_, _, _, answer)) = script.next() else {
                    return;
                };
                stream.write_all(&sized(&answer)).unwrap();
                let _ = stream.read(&mut [0; 1]);
            }
        }
    });
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let settings = shop.proxy_yaml(&address, &map, "{ produce: true }");
    let mut process = shop.start_proxy(&settings);
    let bootstrap = Workshop::bootstrap_of(&mut process);
    for (what, api_key, version, _) in &answers {
        let mut request = header(*api_key, *version, 1);
        if *version >= 9 || (*api_key == 18 && *version >= 3) || (*api_key == 10 && *version >= 4) {
            // No tags in the header.
            request.push(0);
        }
        assert_eq!(send(&bootstrap, &sized(&request)), b"", "{what}");
    }
    process.wait_for_text("malformed response", 5);
    process.wait_for_text("the broker answered 9 where 1 was due", 1);
    let log = process.output();
    assert!(!log.contains("panicked"), "{log}");
    // One more connection ends the script.
    let _ = TcpStream::connect(&address).unwrap().write_all(&[0; 14]);
    broker.join().unwrap();
}

/// A broker that answers ApiVersions 0 and, as brokers do, says nothing to a Produce with acks=0.
fn terse_broker() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut size = [0; 4];
                while stream.read_exact(&mut size).is_ok() {
                    let mut frame = vec![0; i32::from_be_bytes(size) as usize];
                    stream.read_exact(&mut frame).unwrap();
                    if frame[..4] == [0, 18, 0, 0] {
                        // The correlation id, no error, no APIs.
                        let answer = [&frame[4..8], &[0; 6]].concat();
                        stream.write_all(&sized(&answer)).unwrap();
                    }
                }
            });
        }
    });
    address
}

/// With acks=0 there is no answer: the next request's answer must not be taken for it.
#[test]
fn requests_without_answers_and_pipelines_keep_their_order() {
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let settings = shop.proxy_yaml(&terse_broker(), &map, "{ produce: true }");
    let mut process = shop.start_proxy(&settings);
    let bootstrap = Workshop::bootstrap_of(&mut process);

    let api_versions = |id| sized(&header(18, 0, id));
    // No tags, no transactional id, acks 0, a timeout, no topics, no tags.
    let produce = |id| {
        sized(&[&header(0, 10, id)[..], &[0], &[0], &[0, 0], &[0, 0, 0, 1], &[1], &[0]].concat())
    };
    // Version 99 of ApiVersions is answered by the proxy itself, and must wait for its turn.
    let future = sized(&header(18, 99, 3));
    let all = [api_versions(1), produce(2), future, produce(4), api_versions(5)].concat();
    let mut stream = TcpStream::connect(bootstrap).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&all).unwrap();
    let mut answered = Vec::new();
    for _ in 0..3 {
        let mut size = [0; 4];
        let read = stream.read_exact(&mut size);
        assert!(read.is_ok(), "after {answered:?}: {}", process.output());
        let mut frame = vec![0; i32::from_be_bytes(size) as usize];
        stream.read_exact(&mut frame).unwrap();
        let id = i32::from_be_bytes(frame[..4].try_into().unwrap());
        let error = i16::from_be_bytes(frame[4..6].try_into().unwrap());
        answered.push((id, error));
    }
    // 35: UNSUPPORTED_VERSION, with the versions that can be asked for (KIP-511).
    assert_eq!(answered, [(1, 0), (3, 35), (5, 0)]);
}

/// On SIGTERM a request under way still gets its answer; then the connection and the process end.
#[test]
fn a_stopping_proxy_answers_what_is_under_way() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (asked, was_asked) = std::sync::mpsc::channel();
    let (answer, may_answer) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = [0; 14];
            if stream.read_exact(&mut request).is_ok() && request[12..14] == [0, 0] {
                asked.send(()).unwrap();
                may_answer.recv().unwrap();
                // Heartbeat 0: the correlation id and no error.
                stream.write_all(&sized(&[0, 0, 0, 7, 0, 0])).unwrap();
                let _ = stream.read(&mut [0; 1]);
            }
        }
    });
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let mut process = shop.start_proxy(&shop.proxy_yaml(&address, &map, "{ produce: true }"));
    let mut stream = TcpStream::connect(Workshop::bootstrap_of(&mut process)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&sized(&header(12, 0, 7))).unwrap();
    was_asked.recv_timeout(Duration::from_secs(10)).unwrap();
    let stopping = std::thread::spawn(move || process.terminate());
    std::thread::sleep(Duration::from_millis(300));
    answer.send(()).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert_eq!(received, sized(&[0, 0, 0, 7, 0, 0]));
    assert_eq!(stopping.join().unwrap(), Some(0));
}

/// A broker that comes back at another address: connections to the old one end, so that clients
/// come again and are led to the new one (KAFKA-20393).
#[test]
fn a_broker_that_moves_is_followed() {
    let metadata_of = |port: u16| {
        // Metadata 0: the correlation id, one broker (0, 127.0.0.1, port), no topics.
        let host = b"127.0.0.1";
        let head = [&[0, 0, 0, 1][..], &[0, 0, 0, 1], &[0, 0, 0, 0], &[0, 9], host].concat();
        sized(&[&head[..], &i32::from(port).to_be_bytes(), &[0, 0, 0, 0]].concat())
    };
    // Stands for both places of broker 0, and says that it is at the one that is due.
    let (first, second) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = [first.local_addr().unwrap().port(), second.local_addr().unwrap().port()];
    let place = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for listener in [first, second] {
        let place = std::sync::Arc::clone(&place);
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let place = std::sync::Arc::clone(&place);
                std::thread::spawn(move || {
                    let mut size = [0; 4];
                    while stream.read_exact(&mut size).is_ok() {
                        let mut frame = vec![0; i32::from_be_bytes(size) as usize];
                        stream.read_exact(&mut frame).unwrap();
                        if frame[..4] == [0, 3, 0, 0] {
                            let port = ports[place.load(std::sync::atomic::Ordering::SeqCst)];
                            stream.write_all(&metadata_of(port)).unwrap();
                        }
                    }
                });
            }
        });
    }
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let bootstrap = format!("127.0.0.1:{}", ports[0]);
    let mut process = shop.start_proxy(&shop.proxy_yaml(&bootstrap, &map, "{ produce: true }"));
    let bootstrap = Workshop::bootstrap_of(&mut process);
    let ask = || {
        let mut stream = TcpStream::connect(&bootstrap).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(&sized(&[&header(3, 0, 1)[..], &[0, 0, 0, 0]].concat())).unwrap();
        let mut answer = vec![0; metadata_of(0).len()];
        stream.read_exact(&mut answer).unwrap();
        let port = answer.len() - 8;
        i32::from_be_bytes(answer[port..port + 4].try_into().unwrap()) as u16
    };
    let port = ask();
    assert!(!ports.contains(&port), "the broker's own port came through");
    let mut old = TcpStream::connect(("127.0.0.1", port)).unwrap();
    old.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    old.write_all(&sized(&[&header(3, 0, 1)[..], &[0, 0, 0, 0]].concat())).unwrap();
    old.read_exact(&mut vec![0; metadata_of(0).len()]).unwrap();

    place.store(1, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(ask(), port, "its port here stays");
    assert_eq!(old.read(&mut [0; 1]).unwrap_or(0), 0, "the connection to the old place ended");
    process.wait_for_text("the broker moved to another address", 1);
}

/// The same bytes in every run.
struct Random(u32);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 24) as u8
    }

    /// Bytes that a walk gets further with than with noise: small numbers and huge counts.
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length)
            .map(|_| match self.byte() % 8 {
                0 => 0xff,
                1 => 0x7f,
                2 => self.byte(),
                few => few - 3,
            })
            .collect()
    }
}

/// Every API and version that is read, filled with anything, from clients and from brokers: nothing
/// panics, nothing grows, others go on.
#[test]
fn anything_in_every_api_that_is_read() {
    let random = std::sync::Arc::new(std::sync::Mutex::new(Random(7)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let lines = std::sync::Arc::clone(&random);
    // A broker that answers with the right correlation id and anything behind it.
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut size = [0; 4];
            while stream.read_exact(&mut size).is_ok() {
                let mut frame = vec![0; i32::from_be_bytes(size) as usize];
                if stream.read_exact(&mut frame).is_err() {
                    break;
                }
                let anything = {
                    let mut random = lines.lock().unwrap();
                    let length = usize::from(random.byte());
                    random.bytes(length)
                };
                let _ = stream.write_all(&sized(&[&frame[4..8], &anything].concat()));
            }
        }
    });
    let shop = Workshop::new();
    let map = shop.write("map.json", r#"{"5": 105}"#);
    let start = |rewrite: &str, sasl: bool| {
        let file = shop.proxy_yaml(&address, &map, rewrite);
        let text = std::fs::read_to_string(&file).unwrap();
        let users = ", sasl: { mechanisms: [PLAIN, SCRAM-SHA-256], users: { a: b } } }\ntarget:";
        let text = if sasl { text.replace(" }\ntarget:", users) } else { text };
        std::fs::write(&file, text).unwrap();
        shop.start_proxy(&file)
    };
    let mut open = start("{ produce: true, fetch: forward }", false);
    let mut guarded = start("{}", true);
    let doors = [Workshop::bootstrap_of(&mut open), Workshop::bootstrap_of(&mut guarded)];
    let mut sent = 0;
    for door in &doors {
        for (api_key, last) in [
            (0, 13),
            (1, 18),
            (3, 13),
            (10, 6),
            (17, 1),
            (18, 4),
            (36, 2),
            (60, 2),
            (78, 2),
            (79, 2),
        ] {
            for version in 0..=last {
                for length in [0, 4, 12, 40, 200] {
                    let body = random.lock().unwrap().bytes(length);
                    let mut stream = TcpStream::connect(door).unwrap();
                    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
                    let frame = sized(&[&header(api_key, version, 1)[..], &body].concat());
                    // The proxy may have closed already.
                    let _ = stream.write_all(&frame);
                    let _ = stream.read(&mut [0; 64]);
                    sent += 1;
                }
            }
        }
    }
    assert_eq!(sent, 2 * 5 * (14 + 19 + 14 + 7 + 2 + 5 + 3 + 3 + 3 + 3));
    for process in [open, guarded] {
        let log = process.output();
        assert!(!log.contains("panicked"), "{log}");
        assert!(log.contains("malformed request"), "{log}");
        assert_eq!(process.terminate(), Some(0));
    }
}
