//! A Confluent-compatible Schema Registry: what it holds, how to ask it, and in which order its
//! schemas depend on each other.

pub mod canonical;
pub mod client;
mod error;
pub mod graph;
pub mod model;
mod oauth;

pub use client::{Auth, Client, Settings};
pub use error::{Error, Result};
pub use model::{Reference, Schema, Version};
