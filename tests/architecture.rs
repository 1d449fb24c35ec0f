//! The arrows of the design: who may depend on whom.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Each package and those of ours that it may build on. Tests may use `testbed` besides.
const ARROWS: [(&str, &[&str]); 11] = [
    ("wire", &[]),
    ("app", &[]),
    ("registry", &[]),
    ("kafka", &["wire"]),
    ("artifact", &["wire"]),
    ("backup", &["app", "artifact", "kafka", "registry", "wire"]),
    ("restore", &["app", "artifact", "kafka", "registry", "wire"]),
    ("proxy", &["app", "kafka", "registry", "wire"]),
    (
        "kafka-backup",
        &["app", "artifact", "backup", "kafka", "proxy", "registry", "restore", "wire"],
    ),
    ("testbed", &["wire"]),
    ("clients", &[]),
];

#[test]
fn arrows_run_down_only() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages.iter().map(|it| it["name"].as_str().unwrap()).collect();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    assert_eq!(ours, allowed.keys().copied().collect(), "a package without arrows");
    for package in packages {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            let normal = dependency["kind"].is_null();
            if normal && ours.contains(to) {
                assert!(allowed[name].contains(&to), "{name} must not build on {to}");
            }
        }
    }
}
