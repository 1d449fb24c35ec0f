//! A cluster and a registry, and what happens in them.

use std::collections::BTreeMap;

use registry::Client;
use serde_json::{Value, json};
use testbed::broker::Embedded;
use testbed::client::{self, CODECS, Message, framed, id_of};
use testbed::registry::Options;
use testbed::{Broker, EmbeddedRegistry};

use crate::payload::{self, Schema};
use crate::{Result, registry as client_of};

/// Topic and the subject of its values, none for one without schemas.
pub(crate) const TOPICS: [(&str, Option<&str>); 4] = [
    ("orders", Some("orders-value")),
    ("invoices", Some("invoices-value")),
    ("shipments", Some("shipments-value")),
    ("clicks", None),
];

const PARTITIONS: i32 = 3;
/// Records of each topic in each codec.
const RECORDS: i64 = 40;

/// A cluster and its registry.
pub(crate) struct World {
    pub(crate) kafka: Embedded,
    pub(crate) registry: EmbeddedRegistry,
    /// Subjects and the ids of their versions.
    pub(crate) subjects: Vec<(String, u32)>,
}

/// A record that must be found in the end: topic and key, and what the value means.
pub(crate) type Expected = BTreeMap<(String, Vec<u8>), Value>;

/// What was found in the end.
#[derive(Debug, Default)]
pub(crate) struct Check {
    pub(crate) verified: usize,
    pub(crate) mismatches: Vec<String>,
}

impl World {
    /// Three subjects of three types, each with a reference.
    pub(crate) async fn source() -> Result<Self> {
        let mut world = Self::empty().await?;
        for (topic, _) in TOPICS {
            client::create_topic(&world.kafka.bootstrap(), topic, PARTITIONS).await?;
        }
        let customer = json!({ "type": "record", "name": "Customer", "fields": [
            { "name": "name", "type": "string" },
            { "name": "since", "type": "long" },
        ]});
        let order = json!({ "type": "record", "name": "Order", "fields": [
            { "name": "number", "type": "long" },
            { "name": "note", "type": "string" },
            { "name": "customer", "type": "Customer" },
        ]});
        let address = json!({ "title": "Address", "type": "object", "properties": {
            "street": { "type": "string" },
        }});
        let invoice = json!({ "title": "Invoice", "type": "object", "properties": {
            "number": { "type": "integer" },
            "note": { "type": "string" },
            "address": { "$ref": "address.json" },
        }});
        let carrier = "syntax = \"proto3\";\nmessage Carrier {\n  string name = 1;\n}\n";
        let shipment = "syntax = \"proto3\";\nimport \"carrier.proto\";\nmessage Shipment {\n  \
                        string number = 1;\n  string note = 2;\n}\n";
        let reference =
            |name: &str, subject: &str| json!([{ "name": name, "subject": subject, "version": 1 }]);
        world.register("common-customer-value", &json!({ "schema": customer.to_string() }));
        world.register(
            "orders-value",
            &json!({
                "schema": order.to_string(),
                "references": reference("Customer", "common-customer-value"),
            }),
        );
        world.register(
            "common-address-value",
            &json!({
                "schemaType": "JSON", "schema": address.to_string(),
            }),
        );
        world.register(
            "invoices-value",
            &json!({
                "schemaType": "JSON", "schema": invoice.to_string(),
                "references": reference("address.json", "common-address-value"),
            }),
        );
        world.register(
            "common-carrier-value",
            &json!({
                "schemaType": "PROTOBUF", "schema": carrier,
            }),
        );
        world.register(
            "shipments-value",
            &json!({
                "schemaType": "PROTOBUF", "schema": shipment,
                "references": reference("carrier.proto", "common-carrier-value"),
            }),
        );
        Ok(world)
    }

    /// A registry in use: its first ids belong to schemas that the source never had.
    pub(crate) async fn target() -> Result<Self> {
        let mut world = Self::empty().await?;
        for number in 1..=9 {
            let taken = json!({ "type": "record", "name": format!("Taken{number}"), "fields": [
                { "name": format!("field{number}"), "type": "long" },
            ]});
            let subject = format!("taken-{number}-value");
            world.register(&subject, &json!({ "schema": taken.to_string() }));
        }
        Ok(world)
    }

    async fn empty() -> Result<Self> {
        Ok(Self {
            kafka: Embedded::start(1).await?,
            registry: EmbeddedRegistry::start(Options::default()).await?,
            subjects: Vec::new(),
        })
    }

    fn register(&mut self, subject: &str, schema: &Value) {
        let id = self.registry.register(subject, schema);
        self.subjects.push((subject.to_owned(), id));
    }

    /// Writes records with this world's ids to any cluster, each codec in turn.
    pub(crate) async fn produce(&self, bootstrap: &str, note: &str) -> Result<Expected> {
        let registry = client_of(self)?;
        let mut expected = Expected::new();
        for (topic, subject) in TOPICS {
            let id = subject.and_then(|it| self.subjects.iter().find(|(name, _)| name == it));
            let schema = match id {
                Some((_, id)) => Some((*id, schema(&registry, *id).await?)),
                None => None,
            };
            for (turn, codec) in (0..).zip(CODECS) {
                let mut messages = Vec::new();
                for index in 0..RECORDS {
                    let number = turn * RECORDS + index;
                    let key = format!("{note}, {codec:?}, {index}").into_bytes();
                    let (value, meaning) = match &schema {
                        Some((id, schema)) => {
                            let meaning = meaning(topic, number, note);
                            (framed(*id, &payload::encode(schema, &meaning)?), meaning)
                        }
                        // Text, and eight-byte numbers that begin with zeros as framed ones do.
                        None if index % 2 == 0 => (note.as_bytes().to_vec(), json!(note)),
                        None => (number.to_be_bytes().to_vec(), json!(number)),
                    };
                    let partition = index as i32 % PARTITIONS;
                    messages.push(Message::new(Some(&key), Some(&value)).partition(partition));
                    expected.insert((topic.to_owned(), key), meaning);
                }
                client::produce(bootstrap, topic, codec, &messages).await?;
            }
        }
        Ok(expected)
    }

    /// Reads everything and decodes it with this world's registry.
    pub(crate) async fn verify(&self, expected: &Expected) -> Result<Check> {
        let registry = client_of(self)?;
        let mut schemas: BTreeMap<u32, Schema> = BTreeMap::new();
        let mut check = Check::default();
        let mut left = expected.clone();
        for (topic, subject) in TOPICS {
            let count = expected.keys().filter(|(it, _)| it == topic).count();
            let bootstrap = self.kafka.bootstrap();
            for message in client::consume(&bootstrap, topic, PARTITIONS, count).await? {
                let key = message.key.unwrap_or_default().to_vec();
                let value = message.value.unwrap_or_default();
                let found = match subject {
                    None => plain(&value),
                    Some(_) => match id_of(&value) {
                        None => Err("it has no schema id".into()),
                        Some(id) => {
                            if let std::collections::btree_map::Entry::Vacant(it) =
                                schemas.entry(id)
                            {
                                it.insert(schema(&registry, id).await?);
                            }
                            payload::decode(&schemas[&id], &value[5..])
                        }
                    },
                };
                let name = format!("{topic}, key `{}`", String::from_utf8_lossy(&key));
                match (left.remove(&(topic.to_owned(), key)), found) {
                    (Some(wanted), Ok(found)) if wanted == found => check.verified += 1,
                    (Some(wanted), Ok(found)) => {
                        check
                            .mismatches
                            .push(format!("{name}: {found} where {wanted} was written"));
                    }
                    (Some(_), Err(why)) => check.mismatches.push(format!("{name}: {why}")),
                    (None, _) => {
                        check.mismatches.push(format!("{name}: read twice, or never written"));
                    }
                }
            }
        }
        let missing = left.keys().map(|(topic, key)| {
            format!("{topic}, key `{}`: not found", String::from_utf8_lossy(key))
        });
        check.mismatches.extend(missing);
        Ok(check)
    }
}

fn meaning(topic: &str, number: i64, note: &str) -> Value {
    match topic {
        "orders" => json!({
            "number": number, "note": note,
            "customer": { "name": format!("customer {number}"), "since": 1990 + number },
        }),
        "invoices" => json!({
            "number": number, "note": note, "address": { "street": format!("street {number}") },
        }),
        _ => json!({ "number": number.to_string(), "note": note }),
    }
}

fn plain(value: &[u8]) -> Result<Value> {
    match value.try_into() {
        Ok(number) => Ok(json!(i64::from_be_bytes(number))),
        Err(_) => Ok(json!(std::str::from_utf8(value)?)),
    }
}

/// A schema by its id, and those that it references by their subjects.
async fn schema(registry: &Client, id: u32) -> Result<Schema> {
    let found = registry.schema(id, ".").await?.ok_or(format!("schema {id} is not there"))?;
    let mut references = Vec::new();
    for reference in &found.references {
        let version =
            registry.version(&reference.subject, u32::try_from(reference.version)?, false).await?;
        let (kind, text) = (version.schema.schema_type, version.schema.schema);
        references.push(Schema { kind, text, references: Vec::new() });
    }
    Ok(Schema { kind: found.schema_type, text: found.schema, references })
}
