//! The real binaries, run in a folder of their own with settings files as users write them.
//!
//! For tests: what fails here panics with what the binary said.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Process, bins};

/// A folder with settings files; gone when dropped.
#[derive(Debug)]
pub struct Workshop {
    folder: TempDir,
}

impl Workshop {
    /// An empty folder.
    pub fn new() -> Self {
        Self { folder: TempDir::new().expect("there is a temporary folder") }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("the temporary folder can be written");
        path
    }

    /// `storage:` of a folder in this one.
    pub fn storage(&self) -> String {
        format!("{{ backend: filesystem, path: {} }}", self.path("store").display())
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

    /// A `backup` or `restore` of topics alone, with more keys.
    pub fn job_yaml(&self, mode: &str, bootstrap: &str, keys: &str) -> PathBuf {
        let side = if mode == "backup" { "source" } else { "target" };
        let storage = self.storage();
        self.write(
            &format!("{mode}.yaml"),
            &format!(
                "mode: {mode}\nbackup_id: one\n{side}: {{ bootstrap_servers: \"{bootstrap}\" }}\n\
                 storage: {storage}\n{keys}"
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
        Self::ready(self.start_proxy(settings))
    }

    /// Waits until a proxy has its brokers.
    pub fn ready(mut process: Process) -> RunningProxy {
        let bootstrap = Self::bootstrap_of(&mut process);
        let metrics = process.wait_for(|line| word_after(line, "metrics are at http://"));
        let admin = metrics.trim_end_matches("/metrics").to_owned();
        let proxy = RunningProxy { process, bootstrap, admin };
        let deadline = Instant::now() + Duration::from_secs(30);
        while proxy.get("/readyz").0 != 200 {
            assert!(Instant::now() < deadline, "never ready:\n{}", proxy.process.output());
            std::thread::sleep(Duration::from_millis(20));
        }
        proxy
    }

    /// Starts the proxy, whether its target answers or not.
    pub fn start_proxy(&self, settings: &Path) -> Process {
        self.start_proxy_with(settings, |_| {})
    }

    /// The same, started in another way.
    pub fn start_proxy_with(&self, settings: &Path, how: impl FnOnce(&mut Command)) -> Process {
        let mut command = Command::new(bins::path("schema-proxy"));
        command.arg("--config").arg(settings);
        how(&mut command);
        let log = format!("proxy-{}.log", PROXIES.fetch_add(1, Ordering::Relaxed));
        Process::start(&mut command, &self.path(&log)).expect("the proxy starts")
    }

    /// Where clients bootstrap.
    pub fn bootstrap_of(process: &mut Process) -> String {
        process.wait_for(|line| word_after(line, "clients bootstrap at "))
    }
}

/// Each has a log of its own.
static PROXIES: AtomicUsize = AtomicUsize::new(0);

fn word_after(line: &str, marker: &str) -> Option<String> {
    let (_, rest) = line.split_once(marker)?;
    Some(rest.split([',', ' ']).next()?.to_owned())
}

impl Default for Workshop {
    fn default() -> Self {
        Self::new()
    }
}

/// A proxy process; it ends when dropped.
#[derive(Debug)]
pub struct RunningProxy {
    /// The process.
    pub process: Process,
    /// Where clients bootstrap.
    pub bootstrap: String,
    /// Host and port of the admin port.
    pub admin: String,
}

impl RunningProxy {
    /// GET on the admin port: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "")
    }

    /// The same with header lines, each with its line end.
    pub fn get_with(&self, path: &str, headers: &str) -> (u16, String) {
        self.ask("GET", path, headers)
    }

    /// POST on the admin port: status and body.
    pub fn post(&self, path: &str) -> (u16, String) {
        self.ask("POST", path, "")
    }

    fn ask(&self, method: &str, path: &str, headers: &str) -> (u16, String) {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&self.admin).expect("the admin port is open");
        let head = format!("{method} {path} HTTP/1.1\r\nHost: proxy\r\n{headers}");
        write!(stream, "{head}Connection: close\r\n\r\n").expect("the admin port reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the admin port answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer has a head");
        (
            head.split(' ')
                .nth(1)
                .and_then(|it| it.parse().ok())
                .expect("an HTTP answer has a status"),
            body.to_owned(),
        )
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.get("/metrics");
        let line = text.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{text}"))
            .parse()
            .expect("metrics are numbers")
    }
}

/// Runs `kafka-backup` to its end.
pub fn kafka_backup(arguments: &[&str]) -> Output {
    Command::new(bins::path("kafka-backup"))
        .args(arguments)
        .env("NO_COLOR", "1")
        .output()
        .expect("it starts")
}

/// What it printed.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What it logged.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command with one settings file and wants it to succeed; gives its JSON.
pub fn done(command: &str, settings: &Path) -> Value {
    let settings = settings.to_str().expect("temporary paths are UTF-8");
    let output = kafka_backup(&[command, "--config", settings, "--format", "json"]);
    assert!(output.status.success(), "{command}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).expect("`--format json` prints JSON")
}
