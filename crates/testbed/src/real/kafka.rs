use std::fmt::Write;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::fetch::{java, kafka_libraries, run};
use crate::{Broker, Process, free_port};

/// A real Kafka cluster (KRaft) on free loopback ports.
#[derive(Debug)]
pub struct Kafka {
    bootstrap: String,
    nodes: Vec<Process>,
    folder: TempDir,
}

/// How long a node may take to listen.
const PATIENCE: Duration = Duration::from_mins(1);

impl Kafka {
    /// Starts `count` nodes, each broker and controller.
    ///
    /// # Panics
    ///
    /// With the node's log, where one does not come up.
    pub fn start(count: usize) -> Self {
        let libraries = kafka_libraries();
        let folder = TempDir::new().expect("there is a temporary folder");
        let ports: Vec<(u16, u16)> = (0..count).map(|_| (free_port(), free_port())).collect();
        let voters: Vec<String> = (1..)
            .zip(&ports)
            .map(|(node, (_, controller))| format!("{node}@127.0.0.1:{controller}"))
            .collect();
        let mut nodes = Vec::with_capacity(count);
        for (node, &(port, controller)) in (1..).zip(&ports) {
            let home = folder.path().join(node.to_string());
            fs::create_dir(&home).expect("the temporary folder can be written");
            let settings = settings(&home, node, port, controller, &voters.join(","), count);
            let format = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"];
            run(java().arg("-cp").arg(libraries.join("*")).args(format).arg(&settings));
            let mut command = java();
            command.arg("-cp").arg(libraries.join("*")).arg("kafka.Kafka").arg(&settings);
            nodes.push(Process::start(&mut command, &home.join("log")).expect("java starts"));
        }
        let deadline = Instant::now() + PATIENCE;
        for (node, (port, _)) in nodes.iter().zip(&ports) {
            while TcpStream::connect(("127.0.0.1", *port)).is_err() {
                assert!(Instant::now() < deadline, "Kafka did not start:\n{}", node.output());
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        let addresses: Vec<String> =
            ports.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
        Self { bootstrap: addresses.join(","), nodes, folder }
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

/// Runs one of Kafka's own tools by its class, with `input` on its standard input.
///
/// # Panics
///
/// With its output, where it fails.
pub fn tool(class: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let output = try_tool(class, arguments, input);
    assert!(
        output.status.success(),
        "{class} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn try_tool(class: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut command: Command = java();
    command.arg("-cp").arg(kafka_libraries().join("*")).arg(class).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("java starts");
    let mut stdin = child.stdin.take().expect("it was piped");
    // A tool that ends early does not read it; its exit code tells.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().expect("it was started")
}
