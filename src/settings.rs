//! The YAML files, as they are written; [`crate::open`] makes clusters, stores and registries of it.

pub mod job;
pub mod proxy;

use kafka::Address;
use serde::{Deserialize, Serialize};

/// `bootstrap_servers`: a list, or one string with commas as Kafka's own tools take it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Servers {
    /// `["a:9092", "b:9092"]`
    List(Vec<String>),
    /// `"a:9092,b:9092"`
    Text(String),
}

impl Servers {
    /// The addresses; an error names the one that is none.
    pub fn addresses(&self) -> Result<Vec<Address>, String> {
        let texts: Vec<&str> = match self {
            Self::List(list) => list.iter().map(String::as_str).collect(),
            Self::Text(text) => text.split(',').map(str::trim).collect(),
        };
        if texts.is_empty() {
            return Err("bootstrap_servers is empty".to_owned());
        }
        texts.into_iter().map(str::parse).collect()
    }
}
