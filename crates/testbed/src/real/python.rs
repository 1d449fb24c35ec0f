use std::path::{Path, PathBuf};
use std::process::Command;

use super::fetch::{once, run};

/// The interpreter of a throw-away environment that has confluent-kafka and its Schema Registry
/// serializers.
pub fn python() -> PathBuf {
    environment("python", "requirements.txt")
}

/// The interpreter of one that has kubernetes-validate.
pub fn python_for_manifests() -> PathBuf {
    environment("python-deploy", "deploy.txt")
}

fn environment(name: &str, requirements: &str) -> PathBuf {
    let environment = once(name, |folder| {
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(requirements);
        run(Command::new("python3").args(["-m", "venv"]).arg(folder));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
        run(Command::new(folder.join("bin/python")).args(pip).arg(requirements));
    });
    environment.join("bin/python")
}
