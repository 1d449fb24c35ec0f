//! Child processes that end with their handle.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running process whose output goes to a file; it is killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command with stdout and stderr in `log`.
    pub fn start(command: &mut Command, log: &Path) -> std::io::Result<Self> {
        let file = File::create(log)?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed.
    pub fn output(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Waits until a line of its output has what `find` looks for.
    ///
    /// # Panics
    ///
    /// With its output, where it ends or half a minute passes first.
    pub fn wait_for<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> T {
        self.wait_until(|output| output.lines().find_map(&find))
    }

    /// Waits until its whole output has what `find` looks for.
    ///
    /// # Panics
    ///
    /// With its output, where it ends or half a minute passes first.
    pub fn wait_until<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let output = self.output();
            if let Some(found) = find(&output) {
                return found;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("it ended with {status}:\n{}", self.output());
            }
            assert!(Instant::now() < deadline, "it never said so:\n{output}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has logged this so many times.
    ///
    /// # Panics
    ///
    /// As [`Self::wait_until`].
    pub fn wait_for_text(&mut self, text: &str, times: usize) {
        self.wait_until(|output| (output.matches(text).count() >= times).then_some(()));
    }

    /// Asks it to stop (SIGTERM) and gives its exit code.
    pub fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(asked.is_ok_and(|it| it.success()), "kill -TERM {pid}");
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not stop:\n{}", self.output());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
