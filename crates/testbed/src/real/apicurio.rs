use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::fetch::{apicurio_libraries, java};
use crate::{Process, free_port};

/// A real Apicurio Registry: one that gives out ids as it likes and knows no IMPORT mode, as
/// managed registries are.
#[derive(Debug)]
pub struct Apicurio {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Apicurio {
    /// Starts it in memory on a free loopback port.
    ///
    /// # Panics
    ///
    /// With its log, where it does not come up within a minute.
    pub fn start() -> Self {
        let libraries = apicurio_libraries();
        let folder = TempDir::new().expect("there is a temporary folder");
        let port = free_port();
        let mut command = java();
        command
            .arg("-Dquarkus.http.host=127.0.0.1")
            .arg(format!("-Dquarkus.http.port={port}"))
            .arg("-jar")
            .arg(libraries.join("apicurio-registry-app-2.6.13.Final-runner.jar"));
        let process =
            Process::start(&mut command, &folder.path().join("log")).expect("java starts");
        let deadline = Instant::now() + Duration::from_mins(1);
        while !answers(port) {
            assert!(Instant::now() < deadline, "Apicurio did not start:\n{}", process.output());
            std::thread::sleep(Duration::from_millis(100));
        }
        Self { port, _process: process, _folder: folder }
    }

    /// Where its Confluent-compatible API is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }
}

fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let request = "GET /apis/ccompat/v7/subjects HTTP/1.0\r\nHost: localhost\r\n\r\n";
    let mut answer = String::new();
    let exchanged =
        stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    exchanged.is_ok() && answer.lines().next().is_some_and(|it| it.contains(" 200"))
}
