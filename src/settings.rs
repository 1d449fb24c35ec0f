//! The YAML files, as they are written; [`crate::open`] makes clusters, stores and registries of it.

pub mod job;
pub mod peer;
pub mod proxy;
pub mod registry;

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
        let entries = match self {
            Self::List(list) => list.as_slice(),
            Self::Text(text) => std::slice::from_ref(text),
        };
        let texts: Vec<&str> = entries.iter().flat_map(|it| it.split(',')).map(str::trim).collect();
        if texts.is_empty() {
            return Err("bootstrap_servers is empty".to_owned());
        }
        texts.into_iter().map(str::parse).collect()
    }
}
