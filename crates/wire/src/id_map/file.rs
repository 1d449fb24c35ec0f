use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{DEFAULT_CONTEXT, IdMap, MAX_ID};

/// The id map as a file: the plain form `{"1":100,"5":101}` that a person writes, or the richer
/// object that a restore writes, with the same pairs under `mapping`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MapFile {
    /// Source id to target id in the default context.
    pub mapping: BTreeMap<u32, u32>,
    /// The same for each other context, by its name (`.ctx1`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub contexts: BTreeMap<String, BTreeMap<u32, u32>>,
    /// Schemas whose GUID (in the headers of Confluent's serializers since 8.0) is another one in
    /// the target, because a reference or metadata changed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub guids: BTreeMap<Guid, Guid>,
    /// Where the source ids come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Registry>,
    /// Where the target ids come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Registry>,
    /// Subjects that each source id of the default context was registered under.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subjects: BTreeMap<u32, Vec<String>>,
    /// When it was made, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

/// A schema's GUID, in the order of its bytes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub [u8; 16]);

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Guid {
    type Err = String;

    /// Reads the form with hyphens (RFC 9562).
    fn from_str(text: &str) -> Result<Self, String> {
        let fail =
            || format!("`{text}` is not a GUID such as 89791762-2336-4186-9674-299b90a802e2");
        let hyphens = [8, 13, 18, 23];
        let placed = |(at, byte): (usize, u8)| {
            if hyphens.contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() }
        };
        if text.len() != 36 || !text.bytes().enumerate().all(placed) {
            return Err(fail());
        }
        let digits: String = text.chars().filter(|&it| it != '-').collect();
        let number = u128::from_str_radix(&digits, 16).map_err(|_| fail())?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl Serialize for Guid {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Guid {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A registry as a map file names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Its address, without credentials.
    pub url: String,
}

/// Why a map file is refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MapFileError(#[from] serde_json::Error);

impl MapFile {
    /// Reads either form. Duplicate ids, ids that are no numbers or out of range and unknown keys
    /// are refused with their line.
    pub fn parse(json: &str) -> Result<Self, MapFileError> {
        Ok(serde_json::from_str(json)?)
    }

    /// The richer form, one pair a line.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("its keys are strings or numbers");
        text.push('\n');
        text
    }

    /// The pairs of one context, ready for lookup.
    pub fn id_map(&self, context: &str) -> IdMap {
        let pairs = if context == DEFAULT_CONTEXT {
            Some(&self.mapping)
        } else {
            self.contexts.get(context)
        };
        IdMap::new(pairs.into_iter().flatten().map(|(&source, &target)| (source, target)))
            .with_guids(self.guids.iter().map(|(source, target)| (source.0, target.0)))
    }
}

impl<'de> Deserialize<'de> for MapFile {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(EitherForm)
    }
}

/// The first key decides: the plain form has ids only, the richer one names only.
struct EitherForm;

impl<'de> Visitor<'de> for EitherForm {
    type Value = MapFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"an id map: {"1": 100} or {"mapping": {"1": 100}}"#)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<MapFile, A::Error> {
        let mut file = MapFile::default();
        let mut seen = Vec::new();
        while let Some(key) = from.next_key::<String>()? {
            if key.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
                if !seen.is_empty() {
                    return Err(A::Error::custom(format_args!("id {key} stands beside `mapping`")));
                }
                insert(&mut file.mapping, &key, from.next_value()?)?;
                continue;
            }
            if !file.mapping.is_empty() && seen.is_empty() {
                return Err(A::Error::custom(format_args!("`{key}` is not a schema id")));
            }
            if seen.contains(&key) {
                return Err(A::Error::custom(format_args!("`{key}` is given twice")));
            }
            match key.as_str() {
                "mapping" => file.mapping = from.next_value::<Pairs>()?.0,
                "contexts" => {
                    let contexts: BTreeMap<String, Pairs> = from.next_value()?;
                    file.contexts =
                        contexts.into_iter().map(|(name, Pairs(p))| (name, p)).collect();
                }
                "guids" => file.guids = from.next_value()?,
                "source" => file.source = from.next_value()?,
                "target" => file.target = from.next_value()?,
                "subjects" => file.subjects = from.next_value()?,
                "created_at" => file.created_at = from.next_value()?,
                _ => {
                    let known =
                        "ids, or mapping, contexts, guids, source, target, subjects, created_at";
                    return Err(A::Error::custom(format_args!("unknown key `{key}`; {known}")));
                }
            }
            seen.push(key);
        }
        Ok(file)
    }
}

struct Pairs(BTreeMap<u32, u32>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(PairsOnly)
    }
}

struct PairsOnly;

impl<'de> Visitor<'de> for PairsOnly {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"pairs of ids such as {"1": 100}"#)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Pairs, A::Error> {
        let mut pairs = BTreeMap::new();
        while let Some(key) = from.next_key::<String>()? {
            insert(&mut pairs, &key, from.next_value()?)?;
        }
        Ok(Pairs(pairs))
    }
}

fn insert<E: serde::de::Error>(
    pairs: &mut BTreeMap<u32, u32>,
    key: &str,
    Id(target): Id,
) -> Result<(), E> {
    let digits = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit());
    let source = key.parse().ok().filter(|&id: &u32| digits && id <= MAX_ID);
    let Some(source) = source else {
        return Err(E::custom(format_args!("`{key}` is not a schema id (0 to {MAX_ID})")));
    };
    match pairs.insert(source, target) {
        None => Ok(()),
        Some(_) => Err(E::custom(format_args!("schema id {source} is given twice"))),
    }
}

/// A target id, refused where it is no schema id.
struct Id(u32);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        value
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .filter(|&id| id <= MAX_ID)
            .map(Id)
            .ok_or_else(|| {
                D::Error::custom(format_args!("{value} is not a schema id (0 to {MAX_ID})"))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_load() {
        let plain = MapFile::parse(r#"{"1":100,"5":101}"#).unwrap();
        let rich = MapFile::parse(r#"{"source":{"url":"http://a"},"mapping":{"1":100,"5":101}}"#);
        assert_eq!(plain.mapping, rich.unwrap().mapping);
        assert_eq!(plain.id_map(DEFAULT_CONTEXT).pairs(), [(1, 100), (5, 101)]);
        assert_eq!(MapFile::parse("{}").unwrap(), MapFile::default());
    }

    #[test]
    fn what_is_written_loads_again() {
        let file = MapFile {
            mapping: [(1, 100)].into(),
            contexts: [(".ctx1".to_owned(), [(1, 7)].into())].into(),
            guids: [(Guid([7; 16]), "89791762-2336-4186-9674-299b90a802e2".parse().unwrap())]
                .into(),
            source: Some(Registry { url: "http://source".to_owned() }),
            target: Some(Registry { url: "http://target".to_owned() }),
            subjects: [(1, vec!["orders-value".to_owned()])].into(),
            created_at: Some("2026-04-06T00:00:00Z".to_owned()),
        };
        assert_eq!(MapFile::parse(&file.to_json()).unwrap(), file);
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_line() {
        let cases = [
            ("{\"1\": 2,\n\"1\": 3}", "schema id 1 is given twice at line 2"),
            ("{\"1\": 2,\n\"-1\": 3}", "`-1` is not a schema id (0 to 2147483647) at line 2"),
            ("{\"1\": 2,\n\"x\": 3}", "`x` is not a schema id at line 2"),
            ("{\"1\":\n2147483648}", "2147483648 is not a schema id (0 to 2147483647) at line 2"),
            ("{\"1\":\n-2}", "-2 is not a schema id (0 to 2147483647) at line 2"),
            ("{\"1\":\n\"2\"}", "\"2\" is not a schema id (0 to 2147483647) at line 2"),
            ("{\"2147483648\": 1}", "`2147483648` is not a schema id (0 to 2147483647) at line 1"),
            ("{\"mapping\":{},\n\"maping\":{}}", "unknown key `maping`"),
            ("{\"mapping\":{},\n\"mapping\":{}}", "`mapping` is given twice at line 2"),
            ("{\"mapping\":{\"3\":1,\n\"3\":1}}", "schema id 3 is given twice at line 2"),
            ("{\"mapping\":{},\n\"guids\":{\"1\":\"2\"}}", "`1` is not a GUID such as"),
            ("{\"mapping\":{},\n\"3\":1}", "id 3 stands beside `mapping` at line 2"),
            ("{\"1\": 2", "EOF while parsing an object at line 1"),
        ];
        for (json, message) in cases {
            let error = MapFile::parse(json).unwrap_err().to_string();
            assert!(error.starts_with(message), "{json}\n gave: {error}\n not: {message}");
        }
    }
}
