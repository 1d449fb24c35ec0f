use std::path::{Path, PathBuf};
use std::process::Command;

use super::fetch::{once, run};

/// The interpreter of a throw-away environment that has confluent-kafka and its Schema Registry
/// serializers.
pub fn python() -> PathBuf {
    let environment = once("python", |folder| {
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/requirements.txt");
        run(Command::new("python3").args(["-m", "venv"]).arg(folder));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
        run(Command::new(folder.join("bin/python")).args(pip).arg(requirements));
    });
    environment.join("bin/python")
}
