//! Subjects, versions and schemas as the API names them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A schema apart from the names and ids it has been given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schema {
    /// `AVRO` where the API leaves it out.
    #[serde(default = "avro", skip_serializing_if = "is_avro")]
    pub schema_type: String,
    /// The text, byte for byte.
    pub schema: String,
    /// Other subjects' versions that the text refers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// Tags, properties and sensitive names (data contracts).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// Domain and migration rules (data contracts).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_set: Option<Value>,
}

/// A schema's link to a version of another subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// How the text names it: an Avro full name, a JSON `$ref`, a Protobuf import.
    pub name: String,
    /// The subject.
    pub subject: String,
    /// The version; -1 is the latest one.
    pub version: i32,
}

impl Reference {
    /// The subject, with its context, and the version; `None` for the latest one. `by` is the
    /// subject whose schema has the reference.
    pub fn target(&self, by: &str) -> (String, Option<u32>) {
        (qualify(&self.subject, context(by)), u32::try_from(self.version).ok())
    }
}

/// A schema as it is registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// The subject, with its context (`:.ctx1:orders-value`) unless that is the default one.
    pub subject: String,
    /// Its number; gaps are normal.
    pub version: u32,
    /// Its id, unique within its context.
    pub id: u32,
    /// The same in every registry (since 8.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    /// Whether it is soft-deleted; registries tell since 8.x, backups always do.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deleted: bool,
    /// The schema.
    #[serde(flatten)]
    pub schema: Schema,
}

impl Version {
    /// The context that its id belongs to.
    pub fn context(&self) -> &str {
        context(&self.subject)
    }
}

/// The context in a qualified subject name: `.ctx1` of `:.ctx1:orders-value`, `.` of others.
pub fn context(subject: &str) -> &str {
    subject
        .strip_prefix(':')
        .and_then(|rest| rest.split_once(':'))
        .map(|(context, _)| context)
        .filter(|context| context.starts_with('.'))
        .unwrap_or(".")
}

/// A reference without a context means the context of the schema that has it; `:.:` is the default
/// one.
pub fn qualify(subject: &str, context: &str) -> String {
    if let Some(of_default) = subject.strip_prefix(":.:") {
        of_default.to_owned()
    } else if context == "." || subject.starts_with(":.") {
        subject.to_owned()
    } else {
        format!(":{context}:{subject}")
    }
}

/// A subject's name without its context.
pub fn bare(subject: &str) -> &str {
    match context(subject) {
        "." => subject.strip_prefix(":.:").unwrap_or(subject),
        named => &subject[named.len() + 2..],
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_false(value: &bool) -> bool {
    !value
}

fn avro() -> String {
    "AVRO".to_owned()
}

fn is_avro(schema_type: &str) -> bool {
    schema_type == "AVRO"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_read_from_subjects() {
        assert_eq!(context("orders-value"), ".");
        assert_eq!(context(":.ctx1:orders-value"), ".ctx1");
        assert_eq!(context(":.:orders-value"), ".");
        assert_eq!(context(":odd"), ".");
        assert_eq!(qualify("a", ".ctx1"), ":.ctx1:a");
        assert_eq!(qualify(":.:a", ".ctx1"), "a");
        assert_eq!(bare(":.ctx1:orders-value"), "orders-value");
        assert_eq!(bare(":.:a"), "a");
        assert_eq!(bare(":odd"), ":odd");
    }

    #[test]
    fn avro_is_what_the_api_leaves_out() {
        let text = r#"{"subject":"a","version":1,"id":7,"schema":"\"string\""}"#;
        let version: Version = serde_json::from_str(text).unwrap();
        assert_eq!(version.schema.schema_type, "AVRO");
        assert_eq!(serde_json::to_string(&version).unwrap(), text);
    }
}
