//! The project's own binaries, for tests outside the root package.

use std::path::PathBuf;

/// `target/{profile}/{name}`. Cargo tells a binary's place only to tests of its own package, so
/// others look beside themselves: `target/{profile}/deps/{test}`.
///
/// # Panics
///
/// Where it is not there: `cargo test --workspace` builds it, `cargo test -p` of one package not.
pub fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let folder = test.ancestors().nth(2).expect("tests lie in target/{profile}/deps");
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing; run `cargo build` first", path.display());
    path
}
