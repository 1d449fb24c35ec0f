//! Avro's parsing canonical form (Avro specification, "Transforming into Parsing Canonical Form"),
//! with the attributes kept that change what data means or how it resolves.

use serde_json::{Map, Value};

/// Kept as they are; all else (`doc`, `connect.name`, ...) is dropped.
const KEPT: [&str; 9] =
    ["logicalType", "precision", "scale", "default", "order", "symbols", "size", "aliases", "type"];

pub(super) fn form(schema: &Value) -> Value {
    within(schema, "")
}

fn within(schema: &Value, namespace: &str) -> Value {
    match schema {
        Value::String(name) => Value::String(full_name(name, namespace)),
        Value::Array(union) => union.iter().map(|it| within(it, namespace)).collect(),
        Value::Object(fields) => object(fields, namespace),
        other => other.clone(),
    }
}

fn object(schema: &Map<String, Value>, namespace: &str) -> Value {
    let own = schema.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
    let mut form = Map::new();
    let name = schema.get("name").and_then(Value::as_str).map(|name| full_name(name, own));
    let inner = match &name {
        Some(name) => name.rsplit_once('.').map_or("", |(namespace, _)| namespace),
        None => namespace,
    };
    let inner = inner.to_owned();
    form.extend(name.map(|name| ("name".to_owned(), Value::String(name))));
    for (key, value) in schema {
        let kept = match key.as_str() {
            "fields" => value.as_array().map_or_else(
                || value.clone(),
                |fields| fields.iter().map(|it| field(it, &inner)).collect(),
            ),
            "items" | "values" => within(value, &inner),
            // A type within a type: {"type": {"type": "int"}}
            "type" if !value.is_string() => within(value, &inner),
            kept if KEPT.contains(&kept) => value.clone(),
            _ => continue,
        };
        form.insert(key.clone(), kept);
    }
    match form.get("type") {
        Some(only) if form.len() == 1 && !is_complex(only) => only.clone(),
        _ => Value::Object(form),
    }
}

fn field(field: &Value, namespace: &str) -> Value {
    let Value::Object(field) = field else { return field.clone() };
    let mut form = Map::new();
    for (key, value) in field {
        match key.as_str() {
            "type" => form.insert(key.clone(), within(value, namespace)),
            "name" | "default" | "order" | "aliases" => form.insert(key.clone(), value.clone()),
            _ => None,
        };
    }
    Value::Object(form)
}

fn is_complex(name: &Value) -> bool {
    let complex = ["record", "error", "enum", "array", "map", "fixed"];
    name.as_str().is_some_and(|name| complex.contains(&name))
}

fn full_name(name: &str, namespace: &str) -> String {
    let primitive = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
    if namespace.is_empty() || name.contains('.') || primitive.contains(&name) {
        return name.to_owned();
    }
    format!("{namespace}.{name}")
}
