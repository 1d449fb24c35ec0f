//! In every version of Produce and Fetch: what the broker receives and what the client gets, byte for
//! byte, but for ids, the CRCs over them, and addresses. The messages are written here by hand, after
//! Kafka's definitions.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use testbed::batches::{batch, payload};
use testbed::client::framed;
use testbed::workshop::Workshop;
use wire::codec::Codec;

/// Writes a message in one version.
struct Writer {
    out: Vec<u8>,
    version: i16,
    flexible: bool,
}

impl Writer {
    /// A request's frame from the header on, or with no API a response's.
    fn new(api_key: Option<i16>, version: i16, flexible_from: i16) -> Self {
        let flexible = version >= flexible_from;
        let mut writer = Self { out: Vec::new(), version, flexible };
        if let Some(api_key) = api_key {
            writer.i16(api_key).i16(version);
        }
        writer.i32(ID);
        if api_key.is_some() {
            // The client id is never compact.
            writer.i16(4).raw(b"test");
        }
        writer.tags(&[])
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    fn i16(&mut self, value: i16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    fn i32(&mut self, value: i32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    fn uvarint(&mut self, mut value: u32) -> &mut Self {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.raw(&[value as u8])
    }

    fn text(&mut self, text: Option<&str>) -> &mut Self {
        match (text, self.flexible) {
            (Some(text), true) => self.uvarint(text.len() as u32 + 1),
            (Some(text), false) => self.i16(text.len() as i16),
            (None, true) => self.uvarint(0),
            (None, false) => self.i16(-1),
        };
        self.raw(text.unwrap_or_default().as_bytes())
    }

    fn count(&mut self, count: usize) -> &mut Self {
        if self.flexible { self.uvarint(count as u32 + 1) } else { self.i32(count as i32) }
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).raw(bytes)
    }

    /// The end of a structure, with these tagged fields.
    fn tags(mut self, tags: &[(u32, Vec<u8>)]) -> Self {
        self.end(tags);
        self
    }

    fn end(&mut self, tags: &[(u32, Vec<u8>)]) -> &mut Self {
        if self.flexible {
            self.uvarint(tags.len() as u32);
            for (tag, content) in tags {
                self.uvarint(*tag).uvarint(content.len() as u32).raw(content);
            }
        }
        self
    }

    /// A topic, which later versions name by its id.
    fn topic(&mut self, name: &str) -> &mut Self {
        if self.version < 13 { self.text(Some(name)) } else { self.raw(&topic_id(name)) }
    }
}

const ID: i32 = 0x0102_0304;
const NODE: i32 = 7;
/// A tag that no version knows.
const STRANGE: u32 = 9000;
const TOPICS: [&str; 2] = ["orders", "payments-with-a-longer-name"];

fn topic_id(name: &str) -> [u8; 16] {
    [name.len() as u8; 16]
}

/// NodeEndpoints (KIP-951), the content of a tag.
fn endpoints(host: &str, port: u16) -> Vec<u8> {
    let mut writer = Writer { out: Vec::new(), version: 0, flexible: true };
    writer.count(1).i32(NODE).text(Some(host)).i32(i32::from(port)).text(Some("rack")).end(&[]);
    writer.out
}

/// Batches that stand for all that may come: ids in an uncompressed one, several batches, a control
/// batch, codecs with nothing to change. With `target` the ids are those of the target.
fn records(target: bool, partial: bool) -> Vec<u8> {
    let id = |old: u32, new: u32| if target { new } else { old };
    let value = |number: usize, out: &mut Vec<u8>| {
        let value = match number % 4 {
            0 => framed(id(5, 0x0a0b_0c0d), b"abc"),
            1 => framed(6, b"abc"),
            2 => b"plain te".to_vec(),
            _ => framed(id(700, 9), b"xyz"),
        };
        out.extend(value);
    };
    let mut all = batch(Codec::None, &payload(9, 8, value), 9);
    let nothing = payload(3, 8, |_, out| out.extend(framed(6, b"abc")));
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        all.extend(batch(codec, &nothing, 3));
    }
    let mut control = batch(Codec::None, &payload(1, 8, |_, out| out.extend(framed(5, b"abc"))), 1);
    control[22] |= 0x30;
    let crc = wire::crc::crc32c(&control[21..]);
    control[17..21].copy_from_slice(&crc.to_be_bytes());
    all.extend(control);
    if partial {
        let last = batch(Codec::None, &payload(2, 8, |_, out| out.extend(framed(5, b"abc"))), 2);
        all.extend(&last[..last.len() - 3]);
    }
    all
}

fn produce_request(version: i16, target: bool) -> Vec<u8> {
    let mut it = Writer::new(Some(0), version, 9);
    it.text(Some("a transaction")).i16(-1).i32(30_000).count(2);
    for topic in TOPICS {
        it.topic(topic).count(2);
        for partition in 0..2 {
            it.i32(partition).bytes(&records(target, false)).end(&[]);
        }
        it.end(&[(STRANGE, b"?".to_vec())]);
    }
    it.tags(&[(STRANGE, vec![1; 200])]).out
}

fn produce_response(version: i16, host: &str, port: u16) -> Vec<u8> {
    let mut it = Writer::new(None, version, 9);
    it.count(2);
    for topic in TOPICS {
        it.topic(topic).count(2);
        for partition in 0..2_i32 {
            it.i32(partition).i16(if partition == 1 { 6 } else { 0 }).i64(100).i64(-1);
            if version >= 5 {
                it.i64(3);
            }
            if version >= 8 {
                it.count(1).i32(4).text(Some("bad record")).end(&[]).text(None);
            }
            // The current leader.
            let leader = [(0, [&NODE.to_be_bytes()[..], &[0, 0, 0, 5], &[0]].concat())];
            it.end(if version >= 10 { &leader } else { &[] });
        }
        it.end(&[]);
    }
    it.i32(250);
    let tags = [(0, endpoints(host, port)), (STRANGE, vec![2; 3])];
    it.tags(if version >= 10 { &tags } else { &tags[1..] }).out
}

fn fetch_request(version: i16) -> Vec<u8> {
    let mut it = Writer::new(Some(1), version, 12);
    if version < 15 {
        it.i32(-1);
    }
    it.i32(500).i32(1).i32(1 << 20).raw(&[1]);
    if version >= 7 {
        it.i32(4711).i32(2);
    }
    it.count(2);
    for topic in TOPICS {
        it.topic(topic).count(2);
        for partition in 0..2 {
            it.i32(partition);
            if version >= 9 {
                it.i32(5);
            }
            it.i64(100);
            if version >= 12 {
                it.i32(4);
            }
            if version >= 5 {
                it.i64(3);
            }
            it.i32(1 << 20).end(&[(STRANGE, b"?".to_vec())]);
        }
        it.end(&[]);
    }
    if version >= 7 {
        it.count(1).topic(TOPICS[0]).count(1).i32(9).end(&[]);
    }
    if version >= 11 {
        it.text(Some("rack"));
    }
    it.tags(&[(STRANGE, vec![1; 200])]).out
}

fn fetch_response(version: i16, target: bool, host: &str, port: u16) -> Vec<u8> {
    let mut it = Writer::new(None, version, 12);
    it.i32(250);
    if version >= 7 {
        it.i16(0).i32(4711);
    }
    it.count(2);
    for topic in TOPICS {
        it.topic(topic).count(2);
        for partition in 0..2_i32 {
            it.i32(partition).i16(0).i64(500).i64(400);
            if version >= 5 {
                it.i64(3);
            }
            // Aborted transactions.
            it.count(1).i64(77).i64(410).end(&[]);
            if version >= 11 {
                it.i32(-1);
            }
            it.bytes(&records(target, true));
            let diverging = [(0, [&[0, 0, 0, 2][..], &600_i64.to_be_bytes(), &[0]].concat())];
            it.end(if version >= 12 { &diverging } else { &[] });
        }
        it.end(&[]);
    }
    let tags = [(0, endpoints(host, port)), (STRANGE, vec![2; 3])];
    it.tags(if version >= 16 { &tags } else { &tags[1..] }).out
}

/// Metadata 12: the broker, and the topics with their ids.
fn metadata_response(host: &str, port: u16) -> Vec<u8> {
    let mut it = Writer::new(None, 12, 9);
    it.i32(0).count(1).i32(NODE).text(Some(host)).i32(i32::from(port)).text(None).end(&[]);
    it.text(Some("a cluster")).i32(NODE).count(TOPICS.len());
    for topic in TOPICS {
        it.i16(0).text(Some(topic)).raw(&topic_id(topic)).raw(&[0]).count(1);
        it.i16(0).i32(0).i32(NODE).i32(5);
        for _ in 0..3 {
            it.count(1).i32(NODE);
        }
        it.end(&[]).i32(i32::MIN).end(&[]);
    }
    it.tags(&[]).out
}

fn send(stream: &mut TcpStream, frame: &[u8]) {
    stream.write_all(&(frame.len() as i32).to_be_bytes()).unwrap();
    stream.write_all(frame).unwrap();
}

fn receive(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut size = [0; 4];
    stream.read_exact(&mut size).ok()?;
    let mut frame = vec![0; i32::from_be_bytes(size) as usize];
    stream.read_exact(&mut frame).ok()?;
    Some(frame)
}

/// A broker that keeps what it receives, and answers the test's requests with what the test says.
fn broker() -> (String, Sender<Vec<u8>>, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (answers, next_answer) = channel::<Vec<u8>>();
    let (received, all_received) = channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut first = [0; 18];
            // The proxy's own question for brokers has another client id; it stays without an answer.
            if stream.peek(&mut first).is_err() || first[12..18] != *b"\0\x04test" {
                continue;
            }
            while let Some(frame) = receive(&mut stream) {
                received.send(frame).unwrap();
                let Ok(answer) = next_answer.recv() else { return };
                send(&mut stream, &answer);
            }
        }
    });
    (address, answers, all_received)
}

#[test]
fn nothing_changes_but_ids_and_addresses() {
    let (address, answers, received) = broker();
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    let shop = Workshop::new();
    let map = shop.write("map.json", &format!(r#"{{"5": {}, "700": 9}}"#, 0x0a0b_0c0d));
    let rewrite = "{ produce: true, fetch: forward }";
    let mut process = shop.start_proxy(&shop.proxy_yaml(&address, &map, rewrite));
    let bootstrap = Workshop::bootstrap_of(&mut process);
    let mut client = TcpStream::connect(bootstrap).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut exchange = |request: &[u8], answer: &[u8]| {
        send(&mut client, request);
        let arrived = received.recv_timeout(Duration::from_secs(10)).unwrap();
        answers.send(answer.to_vec()).unwrap();
        (arrived, receive(&mut client).unwrap())
    };

    // The host's length changes, which every length around it has to follow.
    let far = "a-broker-with-a-name-that-is-longer-than-ours.example.com";
    let asked = Writer::new(Some(3), 12, 9).tags(&[]).out;
    let (arrived, told) = exchange(&asked, &metadata_response(far, port));
    assert_eq!(arrived, asked);
    let here = told.windows(9).position(|it| it == b"127.0.0.1").unwrap() + 9;
    let here = i32::from_be_bytes(told[here..here + 4].try_into().unwrap()) as u16;
    assert_ne!(here, port);
    assert_eq!(told, metadata_response("127.0.0.1", here));

    for version in 3..=13 {
        let (arrived, told) =
            exchange(&produce_request(version, false), &produce_response(version, far, port));
        assert!(arrived == produce_request(version, true), "Produce {version}, what arrived");
        let wanted = produce_response(version, "127.0.0.1", here);
        assert!(told == wanted, "Produce {version}, what was answered");
    }
    assert_ne!(produce_request(3, false), produce_request(3, true));
    for version in 4..=18 {
        let asked = fetch_request(version);
        let (arrived, told) = exchange(&asked, &fetch_response(version, false, far, port));
        assert_eq!(arrived, asked, "Fetch {version}, what arrived");
        let wanted = fetch_response(version, true, "127.0.0.1", here);
        assert!(told == wanted, "Fetch {version}, what was answered");
    }
    let log = process.output();
    assert!(!log.contains("malformed") && !log.contains("passes as it is: "), "{log}");
}

/// A client may have its metadata from another proxy, so that this one has not seen what a topic is
/// called: the broker is asked, in between and unseen.
#[test]
fn a_topic_id_that_was_not_told_here_is_asked_for() {
    let (address, answers, received) = broker();
    let shop = Workshop::new();
    let map = shop.write("map.json", &format!(r#"{{"5": {}, "700": 9}}"#, 0x0a0b_0c0d));
    for fetch in [false, true] {
        let rewrite = "{ produce: true, fetch: forward, exclude: [] }";
        let mut process = shop.start_proxy(&shop.proxy_yaml(&address, &map, rewrite));
        let mut client = TcpStream::connect(Workshop::bootstrap_of(&mut process)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let next = || received.recv_timeout(Duration::from_secs(10)).unwrap();
        let mut heartbeat = Writer::new(Some(12), 0, 4);
        heartbeat.raw(b"whatever");
        // The scripted broker knows the test's connection by its first frame.
        send(&mut client, &heartbeat.out);
        assert_eq!(next(), heartbeat.out);
        let request = if fetch { fetch_request(18) } else { produce_request(13, false) };
        send(&mut client, &request);
        answers.send([&ID.to_be_bytes()[..], &[0, 0]].concat()).unwrap();
        let question = next();
        assert_eq!(question[..4], [0, 3, 0, 12], "Metadata 12");
        for topic in TOPICS {
            assert!(question.windows(16).any(|it| it == topic_id(topic)), "{question:?}");
        }
        answers.send(metadata_response("127.0.0.1", 9)).unwrap();
        if fetch {
            assert_eq!(next(), request);
            answers.send(fetch_response(18, false, "", 0)).unwrap();
        } else {
            assert!(next() == produce_request(13, true));
            answers.send(produce_response(13, "", 0)).unwrap();
        }
        // The client sees the answers to what it asked, in their order.
        assert_eq!(receive(&mut client).unwrap().len(), 6);
        let answer = receive(&mut client).unwrap();
        assert!(
            answer
                == if fetch {
                    fetch_response(18, true, "", 0)
                } else {
                    produce_response(13, "", 0)
                }
        );
    }
}
