//! For tests, benches and examples: brokers, registries, clients, real or embedded.
