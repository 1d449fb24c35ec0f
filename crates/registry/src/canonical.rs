//! Whether two schemas are the same one, whatever registry gave them back and however it writes
//! them.
//!
//! Registries change layout, order and, in Protobuf, names; a schema is told by two fingerprints.
//! The exact one ignores layout alone, so it has documentation, unknown attributes, metadata and
//! rules in it, as a registry's own equality has. The canonical one has what readers and writers of
//! data depend on. Both have in them what the references stand for, not what subjects they name.

mod avro;
mod json;
mod protobuf;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{Reference, Schema};

/// SHA-256.
pub type Fingerprint = [u8; 32];

/// How a schema is told from others.
#[derive(Debug, Clone)]
pub struct Canonical {
    /// Layout apart, everything.
    pub exact: Fingerprint,
    /// What data depends on.
    pub canonical: Fingerprint,
    /// Protobuf texts by import name: the schema's own imports, and theirs.
    imports: BTreeMap<String, Arc<str>>,
    text: Arc<str>,
}

impl Canonical {
    /// `references` are the schema's own, each with what it stands for. A text that can't be parsed
    /// is compared as it is, apart from white space.
    pub fn of(schema: &Schema, references: &[(&Reference, &Self)]) -> Self {
        let mut imports = BTreeMap::new();
        for (reference, target) in references {
            imports.extend(target.imports.clone());
            imports.insert(reference.name.clone(), Arc::clone(&target.text));
        }
        let words = || schema.schema.split_whitespace().collect::<Vec<_>>().join(" ");
        let parsed = serde_json::from_str::<Value>(&schema.schema).ok();
        let (exact, canonical) = match (schema.schema_type.as_str(), parsed) {
            ("PROTOBUF", _) => {
                let form = protobuf::form(&schema.schema, &imports);
                form.map_or_else(
                    || (words(), words()),
                    |form| (format!("{form:02x?}"), format!("{form:02x?}")),
                )
            }
            // serde_json sorts the keys of objects.
            ("AVRO", Some(json)) => (json.to_string(), avro::form(&json).to_string()),
            (_, Some(json)) => (json.to_string(), json::form(&json).to_string()),
            (_, None) => (words(), words()),
        };
        let mut exact = hash(&schema.schema_type, &exact, references, |it| &it.exact);
        for extra in [&schema.metadata, &schema.rule_set] {
            part(&mut exact, extra.as_ref().map(Value::to_string).unwrap_or_default().as_bytes());
        }
        let canonical = hash(&schema.schema_type, &canonical, references, |it| &it.canonical);
        Self {
            exact: exact.finalize().into(),
            canonical: canonical.finalize().into(),
            imports,
            text: schema.schema.as_str().into(),
        }
    }
}

fn hash(
    schema_type: &str,
    form: &str,
    references: &[(&Reference, &Canonical)],
    which: impl Fn(&Canonical) -> &Fingerprint,
) -> Sha256 {
    let mut hash = Sha256::new();
    part(&mut hash, schema_type.as_bytes());
    part(&mut hash, form.as_bytes());
    let mut named: Vec<_> =
        references.iter().map(|(reference, it)| (&reference.name, which(it))).collect();
    named.sort_unstable();
    for (name, fingerprint) in named {
        part(&mut hash, name.as_bytes());
        part(&mut hash, fingerprint);
    }
    hash
}

/// With its length, so that no two lists of parts give the same bytes.
fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(schema_type: &str, text: &str) -> Schema {
        Schema {
            schema_type: schema_type.to_owned(),
            schema: text.to_owned(),
            references: Vec::new(),
            metadata: None,
            rule_set: None,
        }
    }

    fn canonical(schema_type: &str, text: &str) -> Canonical {
        Canonical::of(&schema(schema_type, text), &[])
    }

    /// Each line has texts that are one schema; no two lines are.
    #[track_caller]
    fn classes(schema_type: &str, lines: &[&[&str]]) {
        for (index, line) in lines.iter().enumerate() {
            let first = canonical(schema_type, line[0]);
            for text in *line {
                assert_eq!(canonical(schema_type, text).canonical, first.canonical, "{text}");
            }
            for other in lines[index + 1..].iter().copied().flatten() {
                assert_ne!(canonical(schema_type, other).canonical, first.canonical, "{other}");
            }
        }
    }

    #[test]
    fn avro_schemas_are_compared_by_what_data_depends_on() {
        classes(
            "AVRO",
            &[
                &[r#""string""#, r#"{"type":"string"}"#, r#" {"type" : "string", "doc":"d"}"#],
                &[r#"{"type":"string","logicalType":"uuid"}"#],
                &[
                    r#"{"type":"record","name":"R","namespace":"n","fields":[{"name":"a","type":"int"}]}"#,
                    r#"{"name":"n.R","type":"record","doc":"x","fields":[{"type":{"type":"int"},"name":"a","doc":"y"}]}"#,
                ],
                &[
                    r#"{"type":"record","name":"n.R","fields":[{"name":"a","type":"int","default":0}]}"#,
                ],
                &[r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#],
                &[r#"{"type":"fixed","name":"F","size":4}"#],
                &[
                    r#"{"type":"record","name":"n.O","fields":[{"name":"a","type":{"type":"enum","name":"E","symbols":["x"]}},{"name":"b","type":"E"}]}"#,
                    r#"{"type":"record","name":"O","namespace":"n","fields":[{"name":"a","type":{"type":"enum","name":"n.E","symbols":["x"]}},{"name":"b","type":"n.E"}]}"#,
                ],
            ],
        );
    }

    #[test]
    fn json_schemas_are_compared_without_annotations_and_order() {
        classes(
            "JSON",
            &[
                &[
                    r#"{"type":["string","null"],"title":"t","$comment":"c"}"#,
                    r#"{ "type": ["null","string"] }"#,
                ],
                &[
                    r#"{"properties":{"title":{"type":"string","title":"x"}},"required":["b","a"]}"#,
                    r#"{"required":["a","b"],"properties":{"title":{"type":"string"}}}"#,
                ],
                &[r#"{"properties":{},"required":["a","b"]}"#],
                &[r#"{"enum":["title"]}"#],
                &[r#"{"const":{"title":"t"}}"#],
                &[r#"{"const":{}}"#],
            ],
        );
    }

    #[test]
    fn protobuf_schemas_are_compared_as_the_compiler_sees_them() {
        classes(
            "PROTOBUF",
            &[
                &[
                    "syntax = \"proto3\"; package p; message M { int32 a = 1; N n = 2; } message N {}",
                    "syntax=\"proto3\";\n// c\npackage p;\nmessage M {\n  .p.N n = 2;\n  int32 a = 1;\n}\nmessage N {}\n",
                ],
                // The order of messages is in every record's message indexes.
                &[
                    "syntax = \"proto3\"; package p; message N {} message M { int32 a = 1; N n = 2; }",
                ],
                &[
                    "syntax = \"proto3\"; package p; message M { int64 a = 1; N n = 2; } message N {}",
                ],
                &["no protobuf  at all", "no protobuf at all"],
                &[
                    "import \"google/protobuf/timestamp.proto\"; message M { optional google.protobuf.Timestamp t = 1; }",
                ],
            ],
        );
    }

    #[test]
    fn references_count_by_what_they_stand_for() {
        let common = |text: &str| canonical("AVRO", text);
        let reference = |subject: &str| Reference {
            name: "C".to_owned(),
            subject: subject.to_owned(),
            version: 1,
        };
        let order =
            schema("AVRO", r#"{"type":"record","name":"O","fields":[{"name":"c","type":"C"}]}"#);
        let of = |subject: &str, text: &str| {
            Canonical::of(&order, &[(&reference(subject), &common(text))]).canonical
        };
        let one = r#"{"type":"record","name":"C","fields":[]}"#;
        let other = r#"{"type":"record","name":"C","fields":[{"name":"a","type":"int"}]}"#;
        assert_eq!(of("a", one), of("renamed", one));
        assert_ne!(of("a", one), of("a", other));
        // Protobuf sees through its imports.
        let imported = canonical("PROTOBUF", "syntax = \"proto3\"; package p; message C {}");
        let importing = schema(
            "PROTOBUF",
            "syntax = \"proto3\"; package p; import \"c.proto\"; message M { C c = 1; }",
        );
        let qualified = schema(
            "PROTOBUF",
            "syntax = \"proto3\"; package p; import \"c.proto\"; message M { p.C c = 1; }",
        );
        let by = Reference { name: "c.proto".to_owned(), subject: "c".to_owned(), version: 1 };
        assert_eq!(
            Canonical::of(&importing, &[(&by, &imported)]).canonical,
            Canonical::of(&qualified, &[(&by, &imported)]).canonical
        );
    }

    #[test]
    fn the_exact_form_keeps_documentation_and_metadata() {
        let plain = canonical("AVRO", r#"{"type":"record","name":"R","fields":[]}"#);
        let spaced = canonical("AVRO", r#"{ "name": "R", "type": "record", "fields": [ ] }"#);
        let documented = canonical("AVRO", r#"{"type":"record","name":"R","doc":"d","fields":[]}"#);
        assert_eq!(plain.exact, spaced.exact);
        assert_ne!(plain.exact, documented.exact);
        assert_eq!(plain.canonical, documented.canonical);
        let mut tagged = schema("AVRO", r#"{"type":"record","name":"R","fields":[]}"#);
        tagged.metadata = Some(serde_json::json!({ "properties": { "owner": "team" } }));
        assert_ne!(Canonical::of(&tagged, &[]).exact, plain.exact);
        assert_eq!(Canonical::of(&tagged, &[]).canonical, plain.canonical);
    }
}
