//! How fast records go through the proxy, beside relays that do nothing: `cargo bench --bench
//! line_rate`. A load generator and a null broker on loopback; between them, by turns, a relay of raw
//! bytes (std threads, 1 MiB buffers), a tokio relay of whole frames, and the real `schema-proxy` with
//! every id translated. Each is a process of its own, whose CPU time is read from the kernel.
//!
//! `ROWS=all` for every row; `GIGABYTES=4` for more in each.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use testbed::batches;
use testbed::workshop::Workshop;
use wire::codec::Codec;
use wire::varint;

const BATCH: usize = 900_000;
const OLD: u32 = 5;
/// Requests of one connection that wait for their answer.
const PIPELINE: usize = 4;
const ROUNDS: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, which, upstream] = &arguments[..] {
        match which.as_str() {
            "raw" => return raw_relay(upstream),
            "frames" => return frame_relay(upstream),
            _ => {}
        }
    }
    let broker = null_broker();
    let gigabytes: f64 =
        std::env::var("GIGABYTES").ok().and_then(|it| it.parse().ok()).unwrap_or(2.0);
    let all = std::env::var("ROWS").is_ok_and(|it| it == "all");
    println!(
        "codec   record  conns  what            MB/s  CPU s/GB    p50 ms    p99 ms  p99.9 ms   of raw: MB/s   CPU    p99"
    );
    let mut rows = vec![(Codec::None, 1024, 2)];
    if all {
        rows.extend([(Codec::None, 100, 2), (Codec::None, 10_240, 2)]);
        rows.extend([1, 16, 64].map(|connections| (Codec::None, 1024, connections)));
        rows.extend([Codec::Lz4, Codec::Snappy, Codec::Zstd, Codec::Gzip].map(|it| (it, 1024, 2)));
    }
    for (codec, record, connections) in rows {
        row(&broker, codec, record, connections, gigabytes);
    }
}

/// What was measured of one intermediary.
#[derive(Clone, Default)]
struct Measured {
    megabytes: f64,
    cpu: f64,
    latencies: [f64; 3],
}

fn row(broker: &str, codec: Codec, record: usize, connections: usize, gigabytes: f64) {
    let frame = Arc::new(produce_request(codec, record));
    // What takes long to pack goes in smaller amounts.
    let slow = matches!(codec, Codec::Gzip | Codec::Zstd);
    let bytes = (gigabytes * if slow { 1e8 } else { 1e9 }) as u64;
    let names = ["raw relay", "frame relay", "schema-proxy"];
    let mut rounds: [Vec<Measured>; 3] = Default::default();
    for _ in 0..ROUNDS {
        // By turns, so that other work on the machine meets all three.
        let mut half_load = 0.0;
        for (index, name) in names.iter().enumerate() {
            let (child, address) = start(name, broker);
            load(&address, &frame, connections, bytes / 10, None);
            let before = cpu(child.0.id());
            let (elapsed, _) = load(&address, &frame, connections, bytes, None);
            let used = cpu(child.0.id()) - before;
            let rate = bytes as f64 / elapsed.as_secs_f64();
            if index == 0 {
                half_load = rate / 2.0;
            }
            // The relay's half load where that is less than all the other one can do.
            let pace = half_load.min(rate * 0.5);
            let (_, mut latencies) =
                load(&address, &frame, connections, bytes / 2, Some(pace / connections as f64));
            latencies.sort_unstable();
            let at = |share: f64| {
                latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
            };
            rounds[index].push(Measured {
                megabytes: rate / 1e6,
                cpu: used / (bytes as f64 / 1e9),
                latencies: [at(0.5), at(0.99), at(0.999)],
            });
        }
    }
    let raw = median(&rounds[0]);
    for (name, rounds) in names.iter().zip(&rounds) {
        let it = median(rounds);
        println!(
            "{:<7} {record:>6} {connections:>6}  {name:<13} {:>7.0} {:>9.3} {:>9.2} {:>9.2} {:>9.2} {:>13.2}x {:>5.2}x {:>5.2}x",
            codec.name(),
            it.megabytes,
            it.cpu,
            it.latencies[0],
            it.latencies[1],
            it.latencies[2],
            it.megabytes / raw.megabytes,
            it.cpu / raw.cpu,
            it.latencies[1] / raw.latencies[1],
        );
    }
}

fn median(rounds: &[Measured]) -> Measured {
    let middle = |of: &dyn Fn(&Measured) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(of).collect();
        all.sort_unstable_by(f64::total_cmp);
        all[all.len() / 2]
    };
    Measured {
        megabytes: middle(&|it| it.megabytes),
        cpu: middle(&|it| it.cpu),
        latencies: [0, 1, 2].map(|index| middle(&|it| it.latencies[index])),
    }
}

/// A child that ends with the row.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts an intermediary and gives where it listens.
fn start(name: &str, broker: &str) -> (Running, String) {
    if name == "schema-proxy" {
        let shop = Workshop::new();
        let map = shop.write("map.json", &format!("{{\"{OLD}\": 60000}}"));
        let settings = shop.proxy_yaml(broker, &map, "{ keys: false }");
        let mut command = Command::new(testbed::bins::path("schema-proxy"));
        command.arg("--config").arg(settings).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the proxy starts");
        let stderr = child.stderr.take().expect("it was piped");
        let mut lines = BufReader::new(stderr).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let rest = line.split_once("clients bootstrap at ")?.1;
            Some(rest.split(',').next()?.to_owned())
        });
        // Somebody has to read on, or it would wait for room.
        std::thread::spawn(move || lines.for_each(drop));
        std::thread::sleep(Duration::from_millis(200));
        return (Running(child), address.expect("the proxy tells where it listens"));
    }
    let which = if name == "raw relay" { "raw" } else { "frames" };
    let mut command = Command::new(std::env::current_exe().expect("the bench has a path"));
    command.arg(which).arg(broker).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the relay starts");
    let mut address = String::new();
    let stdout = child.stdout.take().expect("it was piped");
    BufReader::new(stdout).read_line(&mut address).expect("the relay tells where it listens");
    (Running(child), address.trim().to_owned())
}

/// CPU seconds of a process so far (`/proc/PID/stat`, fields 14 and 15).
fn cpu(pid: u32) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("ticks are a number");
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

/// Sends about `bytes` over some connections, as fast as it goes or at a pace in bytes per second and
/// connection; gives how long that took and each request's time from when it was due to its answer.
fn load(
    address: &str,
    frame: &Arc<Vec<u8>>,
    connections: usize,
    bytes: u64,
    pace: Option<f64>,
) -> (Duration, Vec<Duration>) {
    let each = (bytes / connections as u64 / frame.len() as u64).max(2);
    let streams: Vec<TcpStream> =
        (0..connections).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    let start = Instant::now();
    let workers = streams.into_iter().map(|stream| {
        let frame = Arc::clone(frame);
        std::thread::spawn(move || client(stream, &frame, each, pace, start))
    });
    let workers: Vec<_> = workers.collect();
    let latencies = workers.into_iter().flat_map(|it| it.join().expect("a client ends")).collect();
    (start.elapsed(), latencies)
}

fn client(
    stream: TcpStream,
    frame: &[u8],
    count: u64,
    pace: Option<f64>,
    start: Instant,
) -> Vec<Duration> {
    stream.set_nodelay(true).expect("it is a TCP socket");
    let answered = Arc::new(AtomicU64::new(0));
    let (writer, mut reader) = (stream.try_clone().expect("a socket can be cloned"), stream);
    let seen = Arc::clone(&answered);
    let gap = pace.map(|it| Duration::from_secs_f64(frame.len() as f64 / it));
    let (due_in, due_out) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        let mut latencies = Vec::with_capacity(count as usize);
        let mut answer = Vec::new();
        for due in due_out {
            read_frame(&mut reader, &mut answer).expect("every request is answered");
            seen.fetch_add(1, Ordering::Release);
            latencies.push(Instant::now().saturating_duration_since(due));
        }
        latencies
    });
    let mut writer = writer;
    for number in 0..count {
        let mut due = Instant::now();
        if let Some(gap) = gap {
            due = start + gap * number as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        while number - answered.load(Ordering::Acquire) >= PIPELINE as u64 {
            std::thread::sleep(Duration::from_micros(50));
        }
        due_in.send(due).expect("the reader runs");
        writer.write_all(frame).expect("the other side reads");
    }
    drop(due_in);
    reading.join().expect("the reader ends")
}

fn read_frame(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    buffer.resize(i32::from_be_bytes(size) as usize, 0);
    stream.read_exact(buffer)
}

/// Answers each request at once and keeps nothing: Produce in version 9, and what the proxy asks.
fn null_broker() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it was just bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream, address.port()));
        }
    });
    address.to_string()
}

fn answer(mut stream: TcpStream, port: u16) {
    let mut frame = Vec::new();
    while read_frame(&mut stream, &mut frame).is_ok() {
        let [key, version] = [0, 2].map(|at| i16::from_be_bytes([frame[at], frame[at + 1]]));
        let mut out = vec![0; 4];
        out.extend_from_slice(&frame[4..8]);
        match key {
            // No tags; topic `t`, partition 0, no error, offset 0; three times -1; no throttling.
            0 => {
                out.extend([0, 2, 2, b't', 2, 0, 0, 0, 0, 0, 0]);
                out.extend([0; 8]);
                out.extend([0xff; 16]);
                out.extend([1, 0, 0, 0, 0, 0, 0, 0, 0]);
            }
            18 if version > 0 => out.extend([0, 35, 0, 0, 0, 0]),
            18 => {
                out.extend([0, 0, 0, 0, 0, 3]);
                for (key, last) in [(0_i16, 9_i16), (3, 0), (18, 0)] {
                    out.extend(key.to_be_bytes());
                    out.extend(0_i16.to_be_bytes());
                    out.extend(last.to_be_bytes());
                }
            }
            // Metadata 0: node 1, this address; no topics.
            _ => {
                out.extend([0, 0, 0, 1, 0, 0, 0, 1, 0, 9]);
                out.extend(b"127.0.0.1");
                out.extend(i32::from(port).to_be_bytes());
                out.extend([0; 4]);
            }
        }
        let size = (out.len() - 4) as i32;
        out[..4].copy_from_slice(&size.to_be_bytes());
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}

/// Bytes through two threads a connection, as fast as user space can.
fn raw_relay(upstream: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    println!("{}", listener.local_addr().expect("it was just bound"));
    for client in listener.incoming().map_while(Result::ok) {
        let broker = TcpStream::connect(upstream).expect("the broker listens");
        for stream in [&client, &broker] {
            stream.set_nodelay(true).expect("it is a TCP socket");
        }
        let clone = |it: &TcpStream| it.try_clone().expect("a socket can be cloned");
        for (mut from, mut to) in [(clone(&client), clone(&broker)), (broker, client)] {
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 20];
                while let Ok(read @ 1..) = from.read(&mut buffer) {
                    if to.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
        }
    }
}

/// Whole frames through tokio, read once and written from the same buffer.
fn frame_relay(upstream: &str) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        println!("{}", listener.local_addr().expect("it was just bound"));
        while let Ok((client, _)) = listener.accept().await {
            let broker =
                tokio::net::TcpStream::connect(upstream).await.expect("the broker listens");
            for stream in [&client, &broker] {
                stream.set_nodelay(true).expect("it is a TCP socket");
            }
            let ((client_read, client_write), (broker_read, broker_write)) =
                (client.into_split(), broker.into_split());
            for (mut from, mut to) in [(client_read, broker_write), (broker_read, client_write)] {
                tokio::spawn(async move {
                    let mut frame = Vec::new();
                    while let Ok(size) = from.read_i32().await {
                        frame.resize(4 + size as usize, 0);
                        frame[..4].copy_from_slice(&size.to_be_bytes());
                        if from.read_exact(&mut frame[4..]).await.is_err()
                            || to.write_all(&frame).await.is_err()
                        {
                            break;
                        }
                    }
                });
            }
        }
    });
}

/// A Produce request of version 9 with one batch, every value with the old id in front.
fn produce_request(codec: Codec, size: usize) -> Vec<u8> {
    let records = BATCH / size;
    let batch = batches::batch(codec, &batches::letters(OLD, records, size), records);
    // Key 0, version 9, correlation id 1, no client id, no tags.
    let mut request = vec![0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0];
    // No transaction, acks=all, 30 s, one topic `t`, one partition 0.
    request.extend([0, 0xff, 0xff, 0, 0, 0x75, 0x30, 2, 2, b't', 2, 0, 0, 0, 0]);
    varint::write_u32(&mut request, batch.len() as u32 + 1);
    request.extend(batch);
    request.extend([0, 0, 0]);
    let size = request.len() as i32;
    request.splice(0..0, size.to_be_bytes());
    request
}
