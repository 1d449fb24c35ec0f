# `just` lists these.
default:
    @just --list

# The whole story with embedded clusters.
demo:
    cargo run --release --example demo

# What the README says.
test:
    cargo test --workspace

# What CI runs.
ci:
    .ci/run

# Formatting and lints.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# One fuzz target for a while: just fuzz records 60
fuzz target seconds="60":
    cd fuzz && RUSTC_BOOTSTRAP=1 cargo fuzz run {{target}} -- -max_total_time={{seconds}}

# Licences, advisories and bans.
deny:
    cargo deny check
