//! Runs the real binaries in a folder of their own.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testbed::Process;

/// A folder with settings files; gone when dropped.
pub struct Workshop {
    folder: TempDir,
}

impl Workshop {
    pub fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `storage:` of a folder in this one.
    pub fn storage(&self) -> String {
        format!(
            "{{ backend: filesystem, path: {} }}",
            self.path("store").display()
        )
    }

    /// A backup of one cluster and registry.
    pub fn backup_yaml(&self, id: &str, bootstrap: &str, registry: &str) -> PathBuf {
        let storage = self.storage();
        self.write(
            "backup.yaml",
            &format!(
                "mode: backup\nbackup_id: {id}\nsource:\n  bootstrap_servers: [\"{bootstrap}\"]\n  \
                 topics: {{ include: [\"*\"] }}\nstorage: {storage}\nenterprise:\n  schema_registry:\n    \
                 url: \"{registry}\"\n    rate_limit: {{ requests_per_second: 1000 }}\n"
            ),
        )
    }

    /// A restore into one cluster and registry, with `rewrite_ids`.
    pub fn restore_yaml(&self, id: &str, bootstrap: &str, registry: &str) -> PathBuf {
        let storage = self.storage();
        self.write(
            "restore.yaml",
            &format!(
                "mode: restore\nbackup_id: {id}\ntarget: {{ bootstrap_servers: [\"{bootstrap}\"] }}\n\
                 storage: {storage}\nenterprise:\n  schema_registry:\n    url: \"{registry}\"\n    \
                 rate_limit: {{ requests_per_second: 1000 }}\n    \
                 restore: {{ strategy: preserve, rewrite_ids: true }}\n"
            ),
        )
    }

    /// A proxy in front of a cluster, on free ports.
    pub fn proxy_yaml(&self, bootstrap: &str, map: &Path, rewrite: &str) -> PathBuf {
        self.write(
            "proxy.yaml",
            &format!(
                "listen: {{ bootstrap: \"127.0.0.1:0\", advertised_host: 127.0.0.1, \
                 broker_port_base: 0 }}\ntarget: {{ bootstrap_servers: [\"{bootstrap}\"] }}\n\
                 id_map: {{ file: {} }}\nrewrite: {rewrite}\nadmin: {{ listen: \"127.0.0.1:0\" }}\n",
                map.display()
            ),
        )
    }

    /// Starts the proxy and waits until it has its brokers.
    pub fn proxy(&self, settings: &Path) -> RunningProxy {
        let mut process = self.start_proxy(settings);
        let bootstrap = Self::bootstrap_of(&mut process);
        let metrics = process.wait_for(|line| word_after(line, "metrics are at http://"));
        let admin = metrics.trim_end_matches("/metrics").to_owned();
        let proxy = RunningProxy {
            process,
            bootstrap,
            admin,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while proxy.get("/readyz").0 != 200 {
            assert!(
                Instant::now() < deadline,
                "never ready:\n{}",
                proxy.process.output()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        proxy
    }

    /// Starts the proxy, whether its target answers or not.
    pub fn start_proxy(&self, settings: &Path) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_schema-proxy"));
        command.arg("--config").arg(settings);
        Process::start(&mut command, &self.path("proxy.log")).unwrap()
    }

    /// Where clients bootstrap.
    pub fn bootstrap_of(process: &mut Process) -> String {
        process.wait_for(|line| word_after(line, "clients bootstrap at "))
    }
}

fn word_after(line: &str, marker: &str) -> Option<String> {
    let (_, rest) = line.split_once(marker)?;
    Some(rest.split([',', ' ']).next()?.to_owned())
}

/// A proxy process; it ends when dropped.
pub struct RunningProxy {
    pub process: Process,
    pub bootstrap: String,
    pub admin: String,
}

impl RunningProxy {
    /// GET on the admin port: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&self.admin).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (
            head.split(' ').nth(1).unwrap().parse().unwrap(),
            body.to_owned(),
        )
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.get("/metrics");
        let line = text
            .lines()
            .find_map(|it| it.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{text}"))
            .parse()
            .unwrap()
    }
}

/// Runs `kafka-backup` to its end.
pub fn kafka_backup(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kafka-backup"))
        .args(arguments)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command with one settings file and wants it to succeed; gives its JSON.
pub fn done(command: &str, settings: &Path) -> serde_json::Value {
    let settings = settings.to_str().unwrap();
    let output = kafka_backup(&[command, "--config", settings, "--format", "json"]);
    assert!(output.status.success(), "{command}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}
