//! Payloads written by one registry's schema and read by another's: as much of Avro, JSON Schema and
//! Protobuf as the demo's schemas need, driven by the schema text and nothing else.

use serde_json::{Map, Value, json};

use crate::Result;

/// A schema as a registry gives it, with those that it references.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    pub(crate) kind: String,
    pub(crate) text: String,
    pub(crate) references: Vec<Schema>,
}

/// Writes a value by the schema, without the magic byte and id.
pub(crate) fn encode(schema: &Schema, value: &Value) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    match schema.kind.as_str() {
        "AVRO" => write_avro(&avro(schema)?, schema, value, &mut out)?,
        "JSON" => out = value.to_string().into_bytes(),
        "PROTOBUF" => {
            // Message index [0], the first message, is written as one zero byte.
            out.push(0);
            for (name, number, _) in protobuf_fields(schema)? {
                let text = value[&name].as_str().ok_or("a protobuf field is missing")?;
                out.extend([number << 3 | 2, text.len() as u8]);
                out.extend_from_slice(text.as_bytes());
            }
        }
        other => return Err(format!("schema type {other}").into()),
    }
    Ok(out)
}

/// Reads a value by the schema; what does not fit is an error.
pub(crate) fn decode(schema: &Schema, bytes: &[u8]) -> Result<Value> {
    match schema.kind.as_str() {
        "AVRO" => {
            let mut rest = bytes;
            let value = read_avro(&avro(schema)?, schema, &mut rest)?;
            if rest.is_empty() { Ok(value) } else { Err("bytes are left after the record".into()) }
        }
        "JSON" => {
            let value: Value = serde_json::from_slice(bytes)?;
            let definition: Value = serde_json::from_str(&schema.text)?;
            let properties = definition["properties"].as_object().ok_or("no properties")?;
            let known = |name: &String| properties.contains_key(name);
            match value.as_object().filter(|it| it.keys().all(known)) {
                Some(_) => Ok(value),
                None => Err("the document has properties that the schema lacks".into()),
            }
        }
        "PROTOBUF" => read_protobuf(schema, bytes),
        other => Err(format!("schema type {other}").into()),
    }
}

fn avro(schema: &Schema) -> Result<Value> {
    Ok(serde_json::from_str(&schema.text)?)
}

/// A named type stands for the referenced schema of that name.
fn resolve(kind: &Value, schema: &Schema) -> Result<Value> {
    let Some(name) = kind.as_str() else {
        return Ok(kind.clone());
    };
    for reference in &schema.references {
        let referenced = avro(reference)?;
        if referenced["name"] == name {
            return Ok(referenced);
        }
    }
    Ok(kind.clone())
}

fn write_avro(kind: &Value, schema: &Schema, value: &Value, out: &mut Vec<u8>) -> Result<()> {
    let kind = resolve(kind, schema)?;
    match (kind.as_str(), value) {
        (Some("string"), Value::String(text)) => {
            wire::varint::write_i64(out, text.len() as i64);
            out.extend_from_slice(text.as_bytes());
        }
        (Some("long"), Value::Number(number)) => {
            wire::varint::write_i64(out, number.as_i64().ok_or("not a long")?);
        }
        (None, _) => {
            for field in kind["fields"].as_array().ok_or("a record without fields")? {
                let name = field["name"].as_str().ok_or("a field without a name")?;
                write_avro(&field["type"], schema, &value[name], out)?;
            }
        }
        _ => return Err(format!("{value} is no {kind}").into()),
    }
    Ok(())
}

fn read_avro(kind: &Value, schema: &Schema, rest: &mut &[u8]) -> Result<Value> {
    let kind = resolve(kind, schema)?;
    let mut long = || -> Result<i64> {
        let (value, length) = wire::varint::read_u64(rest)?;
        *rest = &rest[length..];
        Ok(wire::varint::unzigzag64(value))
    };
    match kind.as_str() {
        Some("long") => Ok(json!(long()?)),
        Some("string") => {
            let length = usize::try_from(long()?)?;
            let (text, after) = rest.split_at_checked(length).ok_or("the string is cut off")?;
            *rest = after;
            Ok(json!(std::str::from_utf8(text)?))
        }
        Some(other) => Err(format!("Avro type {other}").into()),
        None => {
            let mut record = Map::new();
            for field in kind["fields"].as_array().ok_or("a record without fields")? {
                let name = field["name"].as_str().ok_or("a field without a name")?;
                record.insert(name.to_owned(), read_avro(&field["type"], schema, rest)?);
            }
            Ok(Value::Object(record))
        }
    }
}

/// Name, number and type of each field of the first message.
fn protobuf_fields(schema: &Schema) -> Result<Vec<(String, u8, String)>> {
    let body = schema.text.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let (body, _) = body.ok_or("no message")?;
    let field = |line: &str| -> Result<(String, u8, String)> {
        let (declaration, number) = line.split_once('=').ok_or("a field without a number")?;
        let (kind, name) = declaration.trim().split_once(' ').ok_or("a field without a type")?;
        Ok((name.trim().to_owned(), number.trim().parse()?, kind.to_owned()))
    };
    body.split(';').filter(|it| !it.trim().is_empty()).map(field).collect()
}

fn read_protobuf(schema: &Schema, bytes: &[u8]) -> Result<Value> {
    let fields = protobuf_fields(schema)?;
    let mut rest = bytes.strip_prefix(&[0]).ok_or("not the first message")?;
    let mut message = Map::new();
    while let [tag, length, after @ ..] = rest {
        let (text, after) =
            after.split_at_checked(usize::from(*length)).ok_or("a field is cut off")?;
        let field = fields.iter().find(|(_, number, _)| *tag == number << 3 | 2);
        let (name, _, _) = field.ok_or("a field that the schema lacks")?;
        message.insert(name.clone(), json!(std::str::from_utf8(text)?));
        rest = after;
    }
    Ok(Value::Object(message))
}
