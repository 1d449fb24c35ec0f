//! Registries as years of use leave them.

use proptest::prelude::*;
use serde_json::{Value, json};
use testbed::EmbeddedRegistry;

pub(crate) fn record(name: &str, fields: &[&str]) -> Value {
    let fields: Vec<Value> =
        fields.iter().map(|it| json!({ "name": it, "type": "int", "default": 0 })).collect();
    json!({ "schema": json!({ "type": "record", "name": name, "fields": fields }).to_string() })
}

pub(crate) fn referring(name: &str, to: &str, subject: &str, version: u32) -> Value {
    let fields = json!([{ "name": "it", "type": to }]);
    json!({
        "schema": json!({ "type": "record", "name": name, "fields": fields }).to_string(),
        "references": [{ "name": to, "subject": subject, "version": version }],
    })
}

/// One thing that someone did to a registry.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Register { context: usize, subject: usize, fields: usize },
    Refer { context: usize, subject: usize, to: usize },
    DeleteVersion { context: usize, subject: usize, version: usize, forever: bool },
    DeleteSubject { context: usize, subject: usize },
    Configure { context: usize, subject: usize, level: &'static str },
    Protect { context: usize, subject: usize },
}

pub(crate) fn deed() -> impl Strategy<Value = Deed> {
    let place = || (0_usize..3, 0_usize..4);
    prop_oneof![
        4 => (place(), 0_usize..5).prop_map(|((context, subject), fields)| {
            Deed::Register { context, subject, fields }
        }),
        2 => (place(), 0_usize..4).prop_map(|((context, subject), to)| {
            Deed::Refer { context, subject, to }
        }),
        2 => (place(), 1_usize..4, any::<bool>()).prop_map(|((context, subject), version, forever)| {
            Deed::DeleteVersion { context, subject, version, forever }
        }),
        1 => place().prop_map(|(context, subject)| Deed::DeleteSubject { context, subject }),
        1 => (place(), prop::sample::select(vec!["NONE", "FULL"])).prop_map(
            |((context, subject), level)| Deed::Configure { context, subject, level },
        ),
        1 => place().prop_map(|(context, subject)| Deed::Protect { context, subject }),
    ]
}

/// The registry may refuse: what it holds afterwards is what counts.
pub(crate) fn apply(registry: &EmbeddedRegistry, deed: &Deed) {
    let name = |context: usize, subject: usize| match context {
        0 => format!("s{subject}"),
        _ => format!(":.c{context}:s{subject}"),
    };
    let all = ["a", "b", "c", "d", "e"];
    match *deed {
        Deed::Register { context, subject, fields } => {
            let path = format!("/subjects/{}/versions", name(context, subject));
            let record = record(&format!("R{subject}"), &all[..fields]);
            registry.try_call("POST", &path, &record);
        }
        Deed::Refer { context, subject, to } => {
            let path = format!("/subjects/{}/versions", name(context, subject));
            let latest = format!("/subjects/{}/versions/latest", name(context, to));
            let (status, found) = registry.try_call("GET", &latest, &Value::Null);
            if status == 200 && to != subject {
                let version = found["version"].as_u64().unwrap() as u32;
                let schema = referring(
                    &format!("To{subject}"),
                    &format!("R{to}"),
                    &format!("s{to}"),
                    version,
                );
                registry.try_call("POST", &path, &schema);
            }
        }
        Deed::DeleteVersion { context, subject, version, forever } => {
            let path = format!("/subjects/{}/versions/{version}", name(context, subject));
            registry.try_call("DELETE", &path, &Value::Null);
            if forever {
                registry.try_call("DELETE", &format!("{path}?permanent=true"), &Value::Null);
            }
        }
        Deed::DeleteSubject { context, subject } => {
            let path = format!("/subjects/{}", name(context, subject));
            registry.try_call("DELETE", &path, &Value::Null);
        }
        Deed::Configure { context, subject, level } => {
            let path = format!("/config/{}", name(context, subject));
            registry.try_call("PUT", &path, &json!({ "compatibility": level, "alias": "a" }));
        }
        Deed::Protect { context, subject } => {
            let path = format!("/mode/{}", name(context, subject));
            registry.try_call("PUT", &path, &json!({ "mode": "READONLY" }));
        }
    }
}

/// Every version that the API shows, soft-deleted ones too, as subject, version, deleted, answer.
pub(crate) fn shown(registry: &EmbeddedRegistry) -> Vec<(String, u64, bool, Value)> {
    let list = |path: &str| match registry.try_call("GET", path, &Value::Null) {
        (200, answer) => answer.as_array().unwrap().clone(),
        _ => Vec::new(),
    };
    let mut all = Vec::new();
    for name in list("/subjects?deleted=true") {
        let name = name.as_str().unwrap();
        let live = list(&format!("/subjects/{name}/versions"));
        for version in list(&format!("/subjects/{name}/versions?deleted=true")) {
            let path = format!("/subjects/{name}/versions/{version}?deleted=true");
            let answer = registry.call("GET", &path, &Value::Null);
            let deleted = !live.contains(&version);
            all.push((name.to_owned(), version.as_u64().unwrap(), deleted, answer));
        }
    }
    all
}
