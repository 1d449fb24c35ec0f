//! A small part of Avro's schema resolution, enough to tell a safe change from an unsafe one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::state::Schema;

/// Why `new` can't follow `old` at this level; `None` where it can.
pub(super) fn conflict(level: &str, new: &Schema, old: &Schema) -> Option<String> {
    let backward = level.starts_with("BACKWARD") || level.starts_with("FULL");
    let forward = level.starts_with("FORWARD") || level.starts_with("FULL");
    if new.kind != old.kind {
        return (backward || forward).then(|| "the schema type changed".to_owned());
    }
    if new.kind != "AVRO" {
        return None;
    }
    let (new, old) = (fields(&new.text)?, fields(&old.text)?);
    let can_read = |reader: &Fields, writer: &Fields| {
        reader.iter().find_map(|(name, (kind, default))| match writer.get(name) {
            Some((other, _)) if other == kind => None,
            Some(_) => Some(format!("TYPE_MISMATCH at field {name}")),
            None if *default => None,
            None => Some(format!("READER_FIELD_MISSING_DEFAULT_VALUE at field {name}")),
        })
    };
    let back = if backward { can_read(&new, &old) } else { None };
    back.or_else(|| if forward { can_read(&old, &new) } else { None })
}

type Fields = BTreeMap<String, (Value, bool)>;

/// Name to type and whether there is a default, of a record.
fn fields(text: &str) -> Option<Fields> {
    let schema: Value = serde_json::from_str(text).ok()?;
    let fields = schema["fields"].as_array()?;
    let facts = |field: &Value| {
        let name = field["name"].as_str()?.to_owned();
        Some((name, (field["type"].clone(), field.get("default").is_some())))
    };
    fields.iter().map(facts).collect()
}
