use std::path::PathBuf;
use std::process::Command;

use super::fetch::{debian, kafka_libraries, run, skip};

/// Whether this process is the copy that runs in a network namespace of its own.
const INSIDE: &str = "TESTBED_OWN_NETWORK";

/// Runs the calling test once more in a network namespace of its own, where it may change how packets
/// are routed, and gives false; in there it gives true. Says so where that is not allowed, and panics
/// instead with `REQUIRE_REAL=1`.
///
/// # Panics
///
/// Where the test fails in there.
pub fn in_own_network(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        run(Command::new("ip").args(["link", "set", "lo", "up"]));
        return true;
    }
    let allowed = Command::new("unshare").args(["--net", "true"]).output();
    if !allowed.is_ok_and(|it| it.status.success()) {
        skip("no network namespace can be made");
        return false;
    }
    // Nothing can be fetched in there.
    iptables();
    kafka_libraries();
    let this = std::env::current_exe().expect("a process knows its program");
    let mut command = Command::new("unshare");
    command.arg("--net").arg(this).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    run(&mut command);
    false
}

/// Redirects what goes to `port` to `to`, as a sidecar's init container does, but for what `except`, a
/// user id, sends. An earlier redirection ends.
///
/// # Panics
///
/// Outside of [`in_own_network`], and where the kernel has no NAT.
pub fn redirect(port: &str, to: &str, except: u32) {
    assert!(std::env::var_os(INSIDE).is_some(), "this would change the machine's own network");
    let (program, libraries) = iptables();
    let nat = |arguments: &str| {
        let mut command = Command::new(&program);
        command.env("LD_LIBRARY_PATH", &libraries).env("XTABLES_LIBDIR", libraries.join("xtables"));
        run(command.args(["-t", "nat"]).args(arguments.split(' ')));
    };
    nat("-F OUTPUT");
    nat(&format!(
        "-A OUTPUT -p tcp --dport {port} -m owner ! --uid-owner {except} -j REDIRECT --to-ports {to}"
    ));
}

/// iptables from Debian's packages, unpacked beside the other fetched things, and its libraries.
fn iptables() -> (PathBuf, PathBuf) {
    let packages = [
        "iptables",
        "libip4tc2",
        "libip6tc2",
        "libmnl0",
        "libnetfilter-conntrack3",
        "libnfnetlink0",
        "libnftnl11",
        "libxtables12",
    ];
    let folder = debian("iptables", &packages);
    let libraries = folder.join("usr/lib").join(triplet());
    (folder.join("usr/sbin/iptables-nft"), libraries)
}

fn triplet() -> String {
    format!("{}-linux-gnu", std::env::consts::ARCH)
}
