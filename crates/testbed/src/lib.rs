//! For tests, benches and examples only: brokers, registries and clients, embedded or real.
//!
//! Embedded ones need only Cargo. Real ones need Java and Maven; see [`real`].

use std::collections::BTreeSet;
use std::sync::Mutex;

pub mod batches;
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
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().expect("nothing panics while it holds the ports");
    loop {
        let listener =
            std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        // Two tests of one process never get the same one.
        if given.insert(port) {
            return port;
        }
    }
}
