//! The Kafka proxy that translates schema ids as they pass.
