//! How fast records go through the proxy, beside relays that do nothing: `cargo bench --bench
//! line_rate`. A load generator and a null broker on loopback; between them, by turns, a relay of raw
//! bytes (std threads, 1 MiB buffers), a tokio relay of whole frames, and the real `schema-proxy` with
//! every id translated. Each is a process of its own, whose CPU time is read from the kernel.
//!
//! `ROWS=all` for every row, or some of `produce`, `connections`, `codecs`, `maps`, `fetch`, `tls`,
//! `idle`; `GIGABYTES=4` for more in each. The figures are also written to `target/line_rate.json`.

mod broker;
mod load;
mod messages;
mod relays;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use testbed::workshop::Workshop;
use wire::codec::Codec;

use broker::NullBroker;
use load::{Load, load};
use messages::Exchange;

/// Requests of one connection that wait for their answer.
const PIPELINE: usize = 4;
const ROUNDS: usize = 3;

/// What one row of the table is about.
#[derive(Debug, Clone, Copy)]
struct Row {
    codec: Codec,
    /// Bytes of a record's value.
    record: usize,
    connections: usize,
    /// Ids in the map, all of which the records have.
    ids: u32,
    /// What is read, rather than what is written.
    fetch: bool,
    tls: bool,
}

const PLAIN: Row =
    Row { codec: Codec::None, record: 1024, connections: 2, ids: 1, fetch: false, tls: false };

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, which, upstream] = &arguments[..] {
        match which.as_str() {
            "raw" => return relays::raw(upstream),
            "frames" => return relays::frames(upstream),
            "tls" => return relays::tls(upstream),
            _ => {}
        }
    }
    let gigabytes: f64 =
        std::env::var("GIGABYTES").ok().and_then(|it| it.parse().ok()).unwrap_or(2.0);
    let wanted = std::env::var("ROWS").unwrap_or_else(|_| "first".to_owned());
    let wants = |name: &str| wanted == "all" || wanted.split(',').any(|it| it == name);
    let mut rows = Vec::new();
    if wants("first") || wants("produce") {
        rows.push(PLAIN);
    }
    if wants("produce") {
        rows.extend([100, 10_240].map(|record| Row { record, ..PLAIN }));
    }
    if wants("connections") {
        rows.extend([1, 16, 64].map(|connections| Row { connections, ..PLAIN }));
    }
    if wants("codecs") {
        let codecs = [Codec::Lz4, Codec::Snappy, Codec::Zstd, Codec::Gzip];
        rows.extend(codecs.map(|codec| Row { codec, ..PLAIN }));
    }
    if wants("maps") {
        rows.extend([10, 1000, 100_000].map(|ids| Row { ids, record: 100, ..PLAIN }));
    }
    if wants("fetch") {
        let fetch = Row { fetch: true, ..PLAIN };
        rows.extend([fetch, Row { record: 100, ..fetch }, Row { record: 10_240, ..fetch }]);
        rows.push(Row { connections: 16, ..fetch });
        rows.extend([Codec::Lz4, Codec::Zstd].map(|codec| Row { codec, ..fetch }));
    }
    if wants("tls") {
        rows.extend([PLAIN, Row { fetch: true, ..PLAIN }].map(|it| Row { tls: true, ..it }));
    }
    let mut figures = Vec::new();
    if !rows.is_empty() {
        println!(
            "what    codec   record  conns     ids  between         MB/s  CPU s/GB    p50 ms    p99 ms  p99.9 ms   of first: MB/s   CPU    p99"
        );
    }
    for row in rows {
        figures.extend(measure(row, gigabytes));
    }
    if wants("idle") {
        figures.extend(idle());
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/line_rate.json");
    let text = serde_json::to_string_pretty(&figures).expect("its keys are strings");
    std::fs::write(path, text).expect("the target folder can be written");
    eprintln!("written to {path}");
}

/// What was measured of one intermediary.
#[derive(Clone, Default)]
struct Measured {
    megabytes: f64,
    cpu: f64,
    latencies: [f64; 3],
}

fn measure(row: Row, gigabytes: f64) -> Vec<serde_json::Value> {
    let exchange = Arc::new(Exchange::new(row));
    let broker = NullBroker::start(&exchange, row.tls);
    // What takes long to pack goes in smaller amounts.
    let slow = matches!(row.codec, Codec::Gzip | Codec::Zstd);
    let bytes = (gigabytes * if slow { 1e8 } else { 1e9 }) as u64;
    let names: &[&str] = if row.tls {
        &["TLS relay", "schema-proxy"]
    } else {
        &["raw relay", "frame relay", "schema-proxy"]
    };
    let mut rounds: Vec<Vec<Measured>> = vec![Vec::new(); names.len()];
    for _ in 0..ROUNDS {
        // By turns, so that other work on the machine meets all.
        let mut half_load = 0.0;
        for (index, name) in names.iter().enumerate() {
            let between = start(name, &broker, row);
            let all = Load {
                address: &between.address,
                exchange: &exchange,
                connections: row.connections,
                trust: broker.identity().filter(|_| row.tls),
                bytes,
                pace: None,
            };
            load(&Load { bytes: bytes / 10, ..all });
            let before = between.cpu();
            let (elapsed, _) = load(&all);
            let used = between.cpu() - before;
            let rate = bytes as f64 / elapsed.as_secs_f64();
            if index == 0 {
                half_load = rate / 2.0;
            }
            // The first one's half load where that is less than all the other one can do.
            let pace = half_load.min(rate * 0.5) / row.connections as f64;
            let (_, mut latencies) = load(&Load { bytes: bytes / 2, pace: Some(pace), ..all });
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
    let first = median(&rounds[0]);
    let what = match (row.fetch, row.tls) {
        (false, false) => "produce",
        (true, false) => "fetch",
        (false, true) => "produce, TLS",
        (true, true) => "fetch, TLS",
    };
    let each = names.iter().zip(&rounds).map(|(name, rounds)| {
        let it = median(rounds);
        let (codec, Row { record, connections, ids, .. }) = (row.codec.name(), row);
        let of_first = [
            it.megabytes / first.megabytes,
            it.cpu / first.cpu,
            it.latencies[1] / first.latencies[1],
        ];
        println!(
            "{what:<7} {codec:<7} {record:>6} {connections:>6} {ids:>7}  {name:<12} {:>7.0} {:>9.3} {:>9.2} {:>9.2} {:>9.2} {:>15.2}x {:>5.2}x {:>5.2}x",
            it.megabytes, it.cpu, it.latencies[0], it.latencies[1], it.latencies[2], of_first[0], of_first[1], of_first[2],
        );
        json!({
            "what": what, "codec": codec, "record": record, "connections": connections, "ids": ids,
            "between": name, "megabytes_per_second": it.megabytes, "cpu_seconds_per_gigabyte": it.cpu,
            "p50_ms": it.latencies[0], "p99_ms": it.latencies[1], "p999_ms": it.latencies[2],
            "of_first": { "megabytes": of_first[0], "cpu": of_first[1], "p99": of_first[2] },
        })
    });
    each.collect()
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

/// What connections cost in memory that were busy once and are idle now.
fn idle() -> Vec<serde_json::Value> {
    const SETTLED: Duration = Duration::from_millis(300);
    println!("idle connections     memory MiB   KiB each");
    let exchange = Arc::new(Exchange::new(PLAIN));
    let broker = NullBroker::start(&exchange, false);
    let between = start("schema-proxy", &broker, PLAIN);
    let mut open: Vec<TcpStream> = Vec::new();
    let mut figures = Vec::new();
    let before = between.memory();
    for connections in [10, 100, 1000] {
        while open.len() < connections {
            let mut stream = TcpStream::connect(&between.address).expect("it listens");
            stream.write_all(&exchange.request).expect("the proxy reads");
            load::read_frame(&mut stream, &mut Vec::new()).expect("the proxy answers");
            open.push(stream);
        }
        std::thread::sleep(SETTLED);
        let memory = between.memory();
        let each = (memory - before) / connections as f64;
        println!("{connections:>16} {:>14.1} {each:>10.1}", memory / 1024.0);
        figures.push(json!({
            "what": "idle", "connections": connections, "memory_mib": memory / 1024.0,
            "kib_each": each,
        }));
    }
    figures
}

/// What stands between; it ends with the row.
struct Between {
    child: Child,
    address: String,
    _shop: Option<Workshop>,
}

impl Drop for Between {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Between {
    /// CPU seconds so far (`/proc/PID/stat`, fields 14 and 15).
    fn cpu(&self) -> f64 {
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("the process runs");
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields[index].parse::<f64>().expect("ticks are a number");
        (ticks(11) + ticks(12)) / TICKS_PER_SECOND
    }

    /// Its memory, KiB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process runs");
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
        let number = line.and_then(|it| it.split_whitespace().next()?.parse().ok());
        number.expect("the kernel tells a process's memory")
    }
}

/// Starts an intermediary.
fn start(name: &str, broker: &NullBroker, row: Row) -> Between {
    if name == "schema-proxy" {
        return start_proxy(broker, row);
    }
    let which = match name {
        "raw relay" => "raw",
        "frame relay" => "frames",
        _ => "tls",
    };
    let mut command = Command::new(std::env::current_exe().expect("the bench has a path"));
    command.arg(which).arg(&broker.address).stdout(Stdio::piped());
    if let Some(identity) = broker.identity() {
        identity.tell(&mut command);
    }
    let mut child = command.spawn().expect("the relay starts");
    let mut address = String::new();
    let stdout = child.stdout.take().expect("it was piped");
    BufReader::new(stdout).read_line(&mut address).expect("the relay tells where it listens");
    Between { child, address: address.trim().to_owned(), _shop: None }
}

fn start_proxy(broker: &NullBroker, row: Row) -> Between {
    let shop = Workshop::new();
    let pairs = (0..row.ids).map(|it| format!("\"{}\":{}", messages::OLD + it, 2_000_000 + it));
    let map = shop.write("map.json", &format!("{{{}}}", pairs.collect::<Vec<_>>().join(",")));
    let rewrite = if row.fetch {
        "{ keys: false, fetch: forward }"
    } else {
        "{ keys: false, produce: true }"
    };
    let settings = shop.proxy_yaml(&broker.address, &map, rewrite);
    if let Some(identity) = broker.identity().filter(|_| row.tls) {
        let certificate = shop.write("own.pem", &identity.certificate);
        let key = shop.write("own.key", &identity.key);
        let text = std::fs::read_to_string(&settings).expect("it was just written");
        let own = format!(
            ", tls: {{ certificate: {}, key: {} }} }}\ntarget:",
            certificate.display(),
            key.display()
        );
        let security = format!(
            "\"], security: {{ security_protocol: SSL, ssl_ca_location: {} }} }}",
            certificate.display()
        );
        let text = text.replace(" }\ntarget:", &own).replace("\"] }", &security);
        std::fs::write(&settings, text).expect("it can be written");
    }
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
    let address = address.expect("the proxy tells where it listens");
    Between { child, address, _shop: Some(shop) }
}
