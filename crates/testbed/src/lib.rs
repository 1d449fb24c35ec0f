//! For tests, benches and examples only: brokers, registries and clients, embedded or real.
//!
//! Embedded ones need only Cargo. Real ones need Java and Maven; see [`real`].

pub mod bins;
pub mod broker;
pub mod client;
pub mod measure;
pub mod process;
pub mod real;
pub mod registry;
pub mod workshop;

pub use broker::Broker;
pub use process::Process;
pub use registry::EmbeddedRegistry;

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}
