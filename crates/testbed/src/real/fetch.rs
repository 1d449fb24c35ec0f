use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Release;

/// Whether real parts can be used. Says why not, and panics instead with `REQUIRE_REAL=1`.
pub fn available() -> bool {
    let missing: Vec<&str> = ["java", "mvn"].into_iter().filter(|it| !runs(it)).collect();
    if missing.is_empty() {
        return true;
    }
    skip(&format!("{} can't be run", missing.join(" and ")));
    false
}

/// Says why a test is skipped; with `REQUIRE_REAL=1` that is a failure.
pub(super) fn skip(why: &str) {
    assert!(std::env::var_os("REQUIRE_REAL").is_none(), "REQUIRE_REAL is set, but {why}");
    eprintln!("skipped: {why}");
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|it| it.status.success())
}

/// Where fetched things lie.
pub(super) fn folder() -> PathBuf {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
    };
    let folder = target.join("testbed");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    folder.canonicalize().expect("it was just created")
}

/// Makes `name` below [`folder`] once, whichever process comes first.
pub(super) fn once(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let path = folder().join(name);
    let lock = File::create(folder().join(format!("{name}.lock"))).expect("a lock file");
    lock.lock().expect("locks work on this file system");
    if !path.exists() {
        let making = folder().join(format!("{name}.making"));
        let _ = fs::remove_dir_all(&making);
        fs::create_dir_all(&making).expect("the target folder can be written");
        make(&making);
        fs::rename(&making, &path).expect("both lie in one folder");
    }
    path
}

/// Runs a command and panics with its output where it fails.
pub(super) fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn maven() -> Command {
    let mut command = Command::new("mvn");
    command.args(["--quiet", "--batch-mode"]);
    command
}

const PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1";

/// The folder with Kafka's jars and those of its tools.
pub fn kafka_libraries() -> PathBuf {
    jars("kafka-4.3.1", "pom.xml")
}

/// The folder with the jars of a broker of this release.
pub(super) fn broker_libraries(release: Release) -> PathBuf {
    match release {
        Release::Newest => kafka_libraries(),
        Release::LastBefore4 => jars("kafka-3.9.1", "broker-3.9.xml"),
        Release::FirstWithoutZooKeeper => jars("kafka-2.8.2", "broker-2.8.xml"),
    }
}

/// The folder with the jars of MirrorMaker.
pub(super) fn mirror_maker_libraries() -> PathBuf {
    jars("mirror-maker-4.3.1", "mirror-maker.xml")
}

/// What a file of `crates/testbed/java` depends on.
fn jars(name: &str, pom: &str) -> PathBuf {
    once(name, |folder| {
        let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("java").join(pom);
        let output = format!("-DoutputDirectory={}", folder.display());
        run(maven().arg("--file").arg(pom).arg(format!("{PLUGIN}:copy-dependencies")).arg(output));
    })
}

/// The folder with Apicurio's jars.
pub(super) fn apicurio_libraries() -> PathBuf {
    once("apicurio-2.6.13", |folder| {
        let artifact = "-Dartifact=io.apicurio:apicurio-registry-app:2.6.13.Final:tar.gz:all";
        let output = format!("-DoutputDirectory={}", folder.display());
        run(maven().current_dir(folder).arg(format!("{PLUGIN}:copy")).args([artifact, &output]));
        let archive = folder.join("apicurio-registry-app-2.6.13.Final-all.tar.gz");
        run(Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(folder));
        fs::remove_file(archive).expect("it was just unpacked");
    })
}

/// Helm, built from its Go module. Says where Go is missing, as [`available`] does.
///
/// # Panics
///
/// Where it can't be built.
pub fn helm() -> Option<PathBuf> {
    const MODULE: &str = "helm.sh/helm/v3/cmd/helm@v3.16.4";
    if Command::new("go").arg("version").output().is_err() {
        skip("go can't be run");
        return None;
    }
    let folder = once("helm-3.16.4", |folder| {
        run(Command::new("go").args(["install", MODULE]).env("GOBIN", folder));
    });
    Some(folder.join("helm"))
}

/// Debian packages, unpacked below a folder of ours: nothing is installed on the machine.
pub(super) fn debian(name: &str, packages: &[&str]) -> PathBuf {
    once(name, |folder| {
        let download = || {
            let mut command = Command::new("apt-get");
            // The sandbox user of apt may not write here.
            command.args(["--quiet", "-o", "APT::Sandbox::User=root", "download"]).args(packages);
            command.current_dir(folder);
            command
        };
        if !download().output().is_ok_and(|it| it.status.success()) {
            // A new machine has no lists of packages, or old ones.
            run(Command::new("apt-get").args(["--quiet", "update"]));
            run(&mut download());
        }
        for entry in fs::read_dir(folder).expect("it was just made") {
            let package = entry.expect("it can be read").path();
            if package.extension().is_some_and(|it| it == "deb") {
                run(Command::new("dpkg").arg("-x").arg(&package).arg(folder));
                fs::remove_file(package).expect("it was just unpacked");
            }
        }
    })
}

/// `java` with a heap that fits several of them beside each other.
pub fn java() -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
    command
}
