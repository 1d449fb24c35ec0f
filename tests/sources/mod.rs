//! A source registry, and the clients that write with it.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use testbed::{EmbeddedRegistry, real};

/// Schemas of three types, one with a reference, as a source registry has them.
pub(crate) fn fill(registry: &EmbeddedRegistry) {
    let customer =
        r#"{"type":"record","name":"Customer","fields":[{"name":"name","type":"string"}]}"#;
    registry.register("customer-value", &json!({ "schema": customer }));
    let order = json!({ "type": "record", "name": "Order", "fields": [
        { "name": "note", "type": "string" },
        { "name": "customer", "type": "Customer" },
    ]});
    registry.register(
        "orders-value",
        &json!({
            "schema": order.to_string(),
            "references": [{ "name": "Customer", "subject": "customer-value", "version": 1 }],
        }),
    );
    let invoice = json!({
        "$schema": "http://json-schema.org/draft-07/schema#", "title": "Invoice",
        "type": "object", "properties": { "note": { "type": "string" } },
    });
    registry.register(
        "invoices-value",
        &json!({ "schemaType": "JSON", "schema": invoice.to_string() }),
    );
    registry.register(
        "shipments-value",
        &json!({
            "schemaType": "PROTOBUF",
            "schema": "syntax = \"proto3\";\n\nmessage Shipment {\n  string note = 1;\n}\n",
        }),
    );
}

/// Runs Confluent's Python serializers; see `clients.py`.
pub(crate) fn clients_py(arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/testbed/python/clients.py");
    let output = Command::new(real::python())
        .args(["-W", "ignore"])
        .arg(script)
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
