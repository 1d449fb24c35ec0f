use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::fetch::{broker_libraries, java, kafka_libraries, mirror_maker_libraries, run};
use crate::{Broker, Process, free_port};

/// A real Kafka cluster (KRaft) on free loopback ports.
#[derive(Debug)]
pub struct Kafka {
    bootstrap: String,
    /// Further listeners of a single node, by name.
    listeners: BTreeMap<String, String>,
    nodes: Vec<Process>,
    libraries: PathBuf,
    folder: TempDir,
}

/// How long a node may take to listen.
const PATIENCE: Duration = Duration::from_secs(45);
/// Sets of ports that are tried.
const ATTEMPTS: usize = 3;

/// What a node has beside the plain listener.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// Listeners by name (upper case) and protocol (`SASL_SSL`).
    pub listeners: Vec<(&'static str, &'static str)>,
    /// Lines of `server.properties`.
    pub settings: Vec<(String, String)>,
    /// `SCRAM-SHA-256=[name=alice,password=secret]`
    pub scram: Vec<String>,
    /// Which Kafka it is.
    pub release: Release,
}

/// Releases of Kafka that can be started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Release {
    /// 4.3
    #[default]
    Newest,
    /// 3.9
    LastBefore4,
    /// 2.8: the first that can do without ZooKeeper, as an early look at it, which has no
    /// transactions and no ACLs.
    FirstWithoutZooKeeper,
}

impl Kafka {
    /// Starts `count` nodes, each broker and controller.
    ///
    /// # Panics
    ///
    /// With the node's log, where one does not come up.
    pub fn start(count: usize) -> Self {
        Self::start_with(count, &Extras::default())
    }

    /// The same with more listeners; those are for one node.
    ///
    /// # Panics
    ///
    /// As [`Self::start`].
    pub fn start_with(count: usize, extras: &Extras) -> Self {
        // A port that was free can be taken before Java listens on it: then others are tried.
        (0..ATTEMPTS)
            .find_map(|_| Self::try_start(count, extras))
            .expect("Kafka starts on ports that are free")
    }

    /// `None` where a node does not come to listen.
    fn try_start(count: usize, extras: &Extras) -> Option<Self> {
        let libraries = broker_libraries(extras.release);
        let folder = TempDir::new().expect("there is a temporary folder");
        let ports: Vec<(u16, u16)> = (0..count).map(|_| (free_port(), free_port())).collect();
        let voters: Vec<String> = (1..)
            .zip(&ports)
            .map(|(node, (_, controller))| format!("{node}@127.0.0.1:{controller}"))
            .collect();
        let mut nodes = Vec::with_capacity(count);
        let mut listeners = BTreeMap::new();
        for (node, &(port, controller)) in (1..).zip(&ports) {
            let home = folder.path().join(node.to_string());
            fs::create_dir(&home).expect("the temporary folder can be written");
            let settings = settings(&home, node, port, controller, &voters.join(","), count);
            let mut text = fs::read_to_string(&settings).expect("it was just written");
            for (name, protocol) in &extras.listeners {
                let address = format!("127.0.0.1:{}", free_port());
                for (key, value) in [
                    ("\nlisteners=", format!("{name}://{address},")),
                    ("\nadvertised.listeners=", format!("{name}://{address},")),
                    ("\nlistener.security.protocol.map=", format!("{name}:{protocol},")),
                ] {
                    text = text.replace(key, &format!("{key}{value}"));
                }
                listeners.insert((*name).to_owned(), address);
            }
            for (key, value) in &extras.settings {
                writeln!(text, "{key}={value}").expect("writing to a String can't fail");
            }
            fs::write(&settings, text).expect("the temporary folder can be written");
            let mut format = java();
            format.arg("-cp").arg(libraries.join("*"));
            format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]);
            format.arg(&settings);
            for user in &extras.scram {
                format.args(["--add-scram", user]);
            }
            run(&mut format);
            nodes.push(start_node(&home, &libraries));
        }
        for (node, (port, _)) in nodes.iter_mut().zip(&ports) {
            if !listens(node, *port) {
                return None;
            }
        }
        let addresses: Vec<String> =
            ports.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
        Some(Self { bootstrap: addresses.join(","), listeners, nodes, libraries, folder })
    }

    /// Where clients bootstrap on a listener of its [`Extras`].
    pub fn listener(&self, name: &str) -> &str {
        &self.listeners[name]
    }

    /// Stops a node as an operator does, and starts it again on the same port; 0 is the first one.
    ///
    /// # Panics
    ///
    /// With its log, where it does not end or come up.
    pub fn restart(&mut self, index: usize) {
        self.restart_with(index, |_| {});
    }

    /// The same, with its data changed while it is down: `change` gets the folder of its logs.
    ///
    /// # Panics
    ///
    /// As [`Self::restart`].
    pub fn restart_with(&mut self, index: usize, change: impl FnOnce(&Path)) {
        self.nodes.remove(index).terminate();
        let home = self.folder.path().join((index + 1).to_string());
        change(&home.join("data"));
        self.nodes.insert(index, start_node(&home, &self.libraries));
        let address = self.bootstrap.split(',').nth(index);
        let port = address.and_then(|it| it.rsplit(':').next()?.parse().ok());
        let port = port.expect("it was made from a port");
        assert!(listens(&mut self.nodes[index], port), "Kafka did not start again");
    }

    /// Stops one node as an operator does; the others go on.
    pub fn stop(&mut self, index: usize) {
        self.nodes.remove(index).terminate();
    }

    /// How many nodes run.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Where the nodes keep their files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn start_node(home: &Path, libraries: &Path) -> Process {
    let mut command = java();
    command.arg("-cp").arg(libraries.join("*")).arg("kafka.Kafka");
    command.arg(home.join("server.properties"));
    Process::start(&mut command, &home.join("log")).expect("java starts")
}

/// Waits until the node listens; false where it does not come to that.
fn listens(node: &mut Process, port: u16) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        // One that can't have a port does not always end.
        if node.has_ended() || Instant::now() > deadline {
            eprintln!("Kafka did not start:\n{}", node.output());
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    true
}

impl Broker for Kafka {
    fn bootstrap(&self) -> String {
        self.bootstrap.clone()
    }
}

/// Any 16 bytes in URL-safe base64.
const CLUSTER_ID: &str = "dGVzdGJlZC1jbHVzdGVyMQ";

fn settings(
    home: &Path,
    node: i32,
    port: u16,
    controller: u16,
    voters: &str,
    count: usize,
) -> PathBuf {
    let replicas = count.min(3);
    let data = home.join("data");
    let mut text = String::new();
    let lines = [
        ("node.id", node.to_string()),
        ("process.roles", "broker,controller".to_owned()),
        ("controller.quorum.voters", voters.to_owned()),
        ("listeners", format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}")),
        ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned()),
        ("log.dirs", data.display().to_string()),
        ("offsets.topic.replication.factor", replicas.to_string()),
        ("offsets.topic.num.partitions", "1".to_owned()),
        ("transaction.state.log.replication.factor", replicas.to_string()),
        ("transaction.state.log.min.isr", "1".to_owned()),
        ("transaction.state.log.num.partitions", "1".to_owned()),
        ("share.coordinator.state.topic.replication.factor", replicas.to_string()),
        ("share.coordinator.state.topic.min.isr", "1".to_owned()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
    ];
    for (key, value) in lines {
        writeln!(text, "{key}={value}").expect("writing to a String can't fail");
    }
    let path = home.join("server.properties");
    fs::write(&path, text).expect("the temporary folder can be written");
    path
}

/// Starts a program of `crates/testbed/java` with Kafka's libraries, with its output in `log`.
///
/// # Panics
///
/// Where Java does not start.
pub fn start_java_program(name: &str, arguments: &[&str], log: &Path) -> Process {
    let mut command = java();
    command.arg("-cp").arg(kafka_libraries().join("*")).arg(source_of(name)).args(arguments);
    Process::start(&mut command, log).expect("java starts")
}

/// Starts MirrorMaker with a settings file, with its output in `log`.
///
/// # Panics
///
/// Where Java does not start.
pub fn start_mirror_maker(settings: &Path, log: &Path) -> Process {
    let mut command = java();
    command.arg("-cp").arg(mirror_maker_libraries().join("*"));
    command.arg("org.apache.kafka.connect.mirror.MirrorMaker").arg(settings);
    Process::start(&mut command, log).expect("java starts")
}

fn source_of(name: &str) -> String {
    format!("{}/java/{name}.java", env!("CARGO_MANIFEST_DIR"))
}

/// Runs one of Kafka's own tools by its class, with `input` on its standard input.
///
/// # Panics
///
/// With its output, where it fails.
pub fn tool(class: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    checked(class, arguments, run_tool(&[], class, arguments, input))
}

fn checked(class: &str, arguments: &[&str], output: Output) -> Vec<u8> {
    assert!(
        output.status.success(),
        "{class} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// The same as [`tool`] for a client that finds hosts in a file of its own: lines of an address and its
/// names, as in `/etc/hosts`.
///
/// # Panics
///
/// With its output, where it fails.
pub fn tool_with_hosts(hosts: &Path, class: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let hosts = format!("-Djdk.net.hosts.file={}", hosts.display());
    checked(class, arguments, run_tool(&[&hosts], class, arguments, input))
}

/// Runs a program of `crates/testbed/java` with Kafka's libraries; gives what it printed.
///
/// # Panics
///
/// With its output, where it fails.
pub fn java_program(name: &str, arguments: &[&str]) -> String {
    String::from_utf8_lossy(&tool(&source_of(name), arguments, b"")).into_owned()
}

/// The same as [`tool`], whether it fails or not; gives all that it printed.
pub fn tool_says(class: &str, arguments: &[&str], input: &[u8]) -> String {
    let output = run_tool(&[], class, arguments, input);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn run_tool(options: &[&str], class: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut command: Command = java();
    command.args(options).arg("-cp").arg(kafka_libraries().join("*")).arg(class).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("java starts");
    let mut stdin = child.stdin.take().expect("it was piped");
    // A tool that ends early does not read it; its exit code tells.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().expect("it was started")
}
