//! Real Kafka and real Apicurio, fetched from Maven Central, and Python's Confluent client from
//! PyPI. They are fetched once, into `target/testbed`.
//!
//! Where Java or Maven is missing the tests say so and are skipped; with `REQUIRE_REAL=1` that is a
//! failure.

mod apicurio;
mod fetch;
mod kafka;
mod netns;
mod python;

pub use apicurio::Apicurio;
pub use fetch::{available, helm, java, kafka_libraries};
pub use kafka::{
    Extras, Kafka, Release, java_program, start_java_program, start_mirror_maker, tool, tool_says,
    tool_with_hosts,
};
pub use netns::{in_own_network, redirect};
pub use python::{python, python_for_manifests};
