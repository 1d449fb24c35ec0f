//! For tests, benches and examples only: brokers, registries and clients, embedded or real.

pub mod process;
pub mod registry;

pub use registry::EmbeddedRegistry;
