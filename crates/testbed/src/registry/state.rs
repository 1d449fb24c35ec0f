use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};

use super::Options;

/// All a registry holds.
#[derive(Debug)]
pub(super) struct State {
    pub(super) contexts: BTreeMap<String, Context>,
    pub(super) immutable_mode: bool,
    pub(super) apicurio: bool,
    pub(super) guids: bool,
}

/// Ids are unique within one context.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) next_id: u32,
    pub(super) schemas: BTreeMap<u32, Schema>,
    pub(super) subjects: BTreeMap<String, Subject>,
    pub(super) config: Option<Value>,
    pub(super) mode: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Subject {
    pub(super) versions: BTreeMap<u32, Version>,
    pub(super) config: Option<Value>,
    pub(super) mode: Option<String>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Version {
    pub(super) id: u32,
    pub(super) deleted: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Schema {
    pub(super) kind: String,
    pub(super) text: String,
    pub(super) references: Vec<Value>,
    pub(super) metadata: Option<Value>,
    pub(super) rule_set: Option<Value>,
    /// The text apart from its layout.
    canonical: String,
}

impl State {
    pub(super) fn new(options: &Options) -> Self {
        let first = Context { next_id: options.first_id.unwrap_or(1), ..Context::default() };
        Self {
            contexts: [(".".to_owned(), first)].into(),
            immutable_mode: options.immutable_mode,
            apicurio: options.apicurio,
            guids: options.guids,
        }
    }

    pub(super) fn context(&mut self, name: &str) -> &mut Context {
        self.contexts.entry(name.to_owned()).or_default()
    }
}

impl Default for Context {
    fn default() -> Self {
        let (schemas, subjects) = Default::default();
        Self { next_id: 1, schemas, subjects, config: None, mode: None }
    }
}

impl Subject {
    pub(super) fn live(&self) -> impl DoubleEndedIterator<Item = (u32, Version)> {
        self.versions.iter().filter(|(_, it)| !it.deleted).map(|(&number, &it)| (number, it))
    }

    pub(super) fn is_live(&self) -> bool {
        self.live().next().is_some()
    }
}

impl Schema {
    /// Reads what a registration sends.
    pub(super) fn new(body: &Value) -> Self {
        let kind = body["schemaType"].as_str().unwrap_or("AVRO").to_owned();
        let text = body["schema"].as_str().unwrap_or_default().to_owned();
        let canonical = match serde_json::from_str::<Value>(&text) {
            Ok(json) if kind != "PROTOBUF" => json.to_string(),
            _ => text.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        let optional = |name: &str| body.get(name).filter(|it| !it.is_null()).cloned();
        Self {
            kind,
            text,
            canonical,
            references: body["references"].as_array().cloned().unwrap_or_default(),
            metadata: optional("metadata"),
            rule_set: optional("ruleSet"),
        }
    }

    /// Whether a registry takes the two for one schema: text apart from layout, and all the rest.
    pub(super) fn equals(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.canonical == other.canonical
            && self.references == other.references
            && self.metadata == other.metadata
            && self.rule_set == other.rule_set
    }

    /// The same in every registry: of the text, the references, metadata and rules.
    pub(super) fn guid(&self) -> String {
        let all = (&self.text, json!(self.references).to_string(), &self.metadata, &self.rule_set);
        let all = format!("{all:?}");
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, &all).hash(&mut hasher);
            hasher.finish()
        };
        let (high, low) = (half(0), half(1));
        let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0xffff);
        format!("{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
    }

    /// What makes the text no schema of its type.
    pub(super) fn flaw(&self) -> Option<String> {
        let parsed = serde_json::from_str::<Value>(&self.text);
        match self.kind.as_str() {
            "AVRO" => match parsed {
                Ok(Value::Object(fields)) if fields.contains_key("type") => None,
                Ok(Value::String(_) | Value::Array(_)) => None,
                _ => Some(format!("Invalid schema of type AVRO, details: {}", self.text)),
            },
            "JSON" => parsed.err().map(|it| format!("Invalid schema of type JSON, details: {it}")),
            "PROTOBUF" if self.text.contains("message") || self.text.contains("enum") => None,
            "PROTOBUF" => Some("Invalid schema of type PROTOBUF, details: no message".to_owned()),
            other => Some(format!("Invalid schema type {other}")),
        }
    }
}
