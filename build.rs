//! Tells the programs which commit they are built from.

use std::process::Command;

fn main() {
    // Where there is no repository, in a container say, whoever builds may tell.
    println!("cargo:rerun-if-env-changed=BUILD_COMMIT");
    let told = std::env::var("BUILD_COMMIT").ok();
    let commit = told.or_else(of_repository).unwrap_or_else(|| "unknown commit".to_owned());
    println!("cargo:rustc-env=BUILD_COMMIT={commit}");
}

fn of_repository() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    // What moves with a commit, wherever this work tree keeps it.
    for file in ["HEAD", "logs/HEAD"] {
        println!("cargo:rerun-if-changed={}", git(&["rev-parse", "--git-path", file])?);
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}
