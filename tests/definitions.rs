//! The message tables against Kafka's own definitions, which kafka-clients carries as JSON.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use testbed::real;
use wire::message::{Field, Kind, Message};
use wire::shapes;

/// The fields of one version, in the order of the wire: types only, structures in brackets.
fn ours(fields: &[Field], version: i16, out: &mut String) {
    for field in fields.iter().filter(|it| (it.since..=it.until).contains(&version)) {
        match field.kind {
            Kind::Int(width) => out.extend(["i", &width.to_string(), " "]),
            Kind::Uuid => out.push_str("uuid "),
            Kind::Text => out.push_str("text "),
            Kind::Bytes => out.push_str("bytes "),
            Kind::Ints(width) => out.extend(["[i", &width.to_string(), "] "]),
            Kind::Texts => out.push_str("[text] "),
            Kind::Array(fields) | Kind::Struct(fields) => {
                let array = matches!(field.kind, Kind::Array(_));
                out.push_str(if array { "[ " } else { "( " });
                ours(fields, version, out);
                out.push_str(if array { "] " } else { ") " });
            }
        }
    }
}

/// `3+`, `0-8`, `none`.
fn covers(versions: &str, version: i16) -> bool {
    let number = |text: &str| text.parse::<i16>().unwrap();
    match (versions.strip_suffix('+'), versions.split_once('-')) {
        _ if versions == "none" => false,
        (Some(first), _) => version >= number(first),
        (_, Some((first, last))) => (number(first)..=number(last)).contains(&version),
        _ => version == number(versions),
    }
}

fn primitive(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "bool" | "int8" => "i1",
        "int16" => "i2",
        "int32" => "i4",
        "int64" | "float64" => "i8",
        "uuid" => "uuid",
        "string" => "text",
        "bytes" | "records" => "bytes",
        _ => return None,
    })
}

fn theirs(fields: &Value, shared: &Value, version: i16, out: &mut String) {
    for field in fields.as_array().unwrap() {
        // A field without versions of its own has those of its tag.
        let versions = field["versions"].as_str().unwrap();
        let tagged = field["taggedVersions"].as_str().is_some_and(|it| covers(it, version));
        if tagged || !covers(versions, version) {
            continue;
        }
        let kind = field["type"].as_str().unwrap();
        let (kind, array) = kind.strip_prefix("[]").map_or((kind, false), |it| (it, true));
        if let Some(name) = primitive(kind) {
            out.extend(if array { ["[", name, "] "] } else { ["", name, " "] });
            continue;
        }
        let common = shared.as_array().into_iter().flatten().find(|it| it["name"] == kind);
        let inner = common.map_or(&field["fields"], |it| &it["fields"]);
        out.push_str(if array { "[ " } else { "( " });
        theirs(inner, shared, version, out);
        out.push_str(if array { "] " } else { ") " });
    }
}

fn definition(folder: &Path, name: &str) -> Value {
    let text = std::fs::read_to_string(folder.join(format!("common/message/{name}.json"))).unwrap();
    let plain: Vec<&str> = text.lines().filter(|it| !it.trim_start().starts_with("//")).collect();
    serde_json::from_str(&plain.join("\n")).unwrap_or_else(|why| panic!("{name}: {why}"))
}

fn compare(message: &Message, definition: &Value) {
    let flexible = definition["flexibleVersions"].as_str().unwrap();
    for version in message.versions.0..=message.versions.1 {
        let name = message.name;
        assert_eq!(message.is_flexible(version), covers(flexible, version), "{name} {version}");
        let (mut a, mut b) = (String::new(), String::new());
        ours(message.fields, version, &mut a);
        theirs(&definition["fields"], &definition["commonStructs"], version, &mut b);
        assert_eq!(a, b, "{name} version {version}");
    }
}

#[test]
fn the_tables_are_kafkas() {
    if !real::available() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let jar = real::kafka_libraries().join("kafka-clients-4.3.1.jar");
    let mut jar_tool = Command::new("jar");
    jar_tool.arg("xf").arg(jar).arg("common/message").current_dir(&folder);
    assert!(jar_tool.status().unwrap().success());
    for message in shapes::ALL {
        let definition = definition(folder.path(), message.name);
        compare(message, &definition);
        let valid = definition["validVersions"].as_str().unwrap();
        let name = message.name;
        // What Kafka 4.3 can send must be in the table, or the proxy has to hide it.
        let newest = valid.rsplit(['-', '+']).next().unwrap().parse::<i16>().unwrap();
        assert!(message.versions.1 <= newest, "{name} knows more than Kafka 4.3");
    }
}
