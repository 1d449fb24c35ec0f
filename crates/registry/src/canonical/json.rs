//! JSON Schema without what only people read, and without the order of what has none.

use serde_json::{Map, Value};

/// Say nothing about which values are valid.
const ANNOTATIONS: [&str; 5] = ["title", "description", "$comment", "examples", "deprecated"];
/// Their values are schemas by name, so a `title` below them is a name.
const BY_NAME: [&str; 6] =
    ["properties", "patternProperties", "definitions", "$defs", "dependentSchemas", "dependencies"];
/// Their values are data.
const DATA: [&str; 3] = ["enum", "const", "default"];
/// Lists without an order.
const SETS: [&str; 2] = ["required", "type"];

pub(super) fn form(schema: &Value) -> Value {
    match schema {
        Value::Object(keywords) => keywords
            .iter()
            .filter(|(key, _)| !ANNOTATIONS.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), keyword(key, value)))
            .collect(),
        Value::Array(schemas) => schemas.iter().map(form).collect(),
        other => other.clone(),
    }
}

fn keyword(key: &str, value: &Value) -> Value {
    match value {
        Value::Object(schemas) if BY_NAME.contains(&key) => {
            let forms: Map<_, _> =
                schemas.iter().map(|(name, schema)| (name.clone(), form(schema))).collect();
            Value::Object(forms)
        }
        Value::Array(names) if SETS.contains(&key) => {
            let mut names = names.clone();
            names.sort_unstable_by_key(Value::to_string);
            Value::Array(names)
        }
        data if DATA.contains(&key) => data.clone(),
        schema => form(schema),
    }
}
