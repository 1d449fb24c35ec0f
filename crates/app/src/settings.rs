//! Settings files: YAML with `${NAME}` from the environment.

mod expand;
mod nearest;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a settings file is refused: one line that names the file, the place and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

impl SettingsError {
    /// For what only a reader of the whole file can see.
    pub fn new(file: &Path, why: impl fmt::Display) -> Self {
        Self(format!("{}: {why}", file.display()))
    }
}

/// Reads a settings file. `${NAME}` and `${NAME:-default}` in values come from the environment.
pub fn load<T: DeserializeOwned>(file: &Path) -> Result<T, SettingsError> {
    let yaml = std::fs::read_to_string(file).map_err(|why| SettingsError::new(file, why))?;
    parse(&yaml, &|name| std::env::var(name).ok()).map_err(|(place, why)| match place {
        Some((line, column)) => SettingsError(format!("{}:{line}:{column}: {why}", file.display())),
        None => SettingsError::new(file, why),
    })
}

type Place = Option<(u64, u64)>;

fn parse<T: DeserializeOwned>(
    yaml: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<T, (Place, String)> {
    let options = serde_saphyr::options! {
        // A snippet could show a password that stands near the mistake.
        with_snippet: false,
    };
    let parsed = serde_saphyr::with_deserializer_from_str_with_options(yaml, options, |from| {
        T::deserialize(expand::Expand { inner: from, environment })
    });
    parsed.map_err(|error| {
        let place = error.location().map(|it| (it.line(), it.column()));
        (place, explain(error.without_snippet()))
    })
}

fn explain(error: &serde_saphyr::Error) -> String {
    match error {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
            let hint = match nearest::nearest(field, expected) {
                Some(key) => format!("did you mean `{key}`?"),
                None => format!("known here: {}", expected.join(", ")),
            };
            format!("unknown key `{field}`; {hint}")
        }
        serde_saphyr::Error::SerdeMissingField { field, .. } => {
            format!("`{field}` is missing")
        }
        // The library's own text ends with the place, which stands in front of ours.
        other => {
            let text = other.to_string();
            let end = text.find(" at line ").unwrap_or(text.len());
            text[..end].to_owned()
        }
    }
}

/// A value that never shows: not in logs, not in errors, not in `config check`.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The value itself.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The value, still guarded.
    pub fn guarded(&self) -> SecretString {
        self.0.clone()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

const HIDDEN: &str = "********";

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|it| Self(it.into()))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(HIDDEN)
    }
}

/// A length of time as people write it: `200ms`, `10s`, `5m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let digits = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let span = match (number.parse(), unit) {
            (Ok(number), "ms") => Duration::from_millis(number),
            (Ok(number), "s") => Duration::from_secs(number),
            (Ok(number), "m") if number < 1 << 40 => Duration::from_secs(number * 60),
            _ => {
                let why = format_args!("`{text}` is no length of time such as 200ms, 10s or 5m");
                return Err(D::Error::custom(why));
            }
        };
        Ok(Self(span))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}ms", self.0.as_millis()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: String,
        #[serde(default)]
        port: Option<u16>,
        #[serde(default)]
        on: bool,
        #[serde(default)]
        kind: Option<Kind>,
        #[serde(default)]
        list: Vec<String>,
        #[serde(default)]
        password: Option<Secret>,
        #[serde(default)]
        wait: Option<Span>,
    }

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        First,
        Second,
    }

    fn sample(yaml: &str) -> Result<Sample, (Place, String)> {
        parse(yaml, &|name| match name {
            "PORT" => Some("9092".to_owned()),
            "YES" => Some("true".to_owned()),
            "KIND" => Some("second".to_owned()),
            "TRICKY" => Some("a: b # ${PORT} \"'".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn variables_reach_every_kind_of_value() {
        let yaml = "name: \"x-${TRICKY}-${NONE:-d}${EMPTY}\"\nport: ${PORT}\non: ${YES}\n\
                    kind: ${KIND}\nlist: [\"${PORT}\", plain]\npassword: '$${NONE} $5'\nwait: 200ms";
        let sample = sample(yaml).unwrap();
        // What a variable holds is a value: neither YAML nor expanded again.
        assert_eq!(sample.name, "x-a: b # ${PORT} \"'-d");
        assert_eq!((sample.port, sample.on), (Some(9092), true));
        assert_eq!(sample.kind, Some(Kind::Second));
        assert_eq!(sample.wait, Some(Span(Duration::from_millis(200))));
        assert_eq!(sample.list, ["9092", "plain"]);
        assert_eq!(sample.password.unwrap().expose(), "${NONE} $5");
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let cases = [
            ("name: a\nprot: 1", Some((2, 1)), "unknown key `prot`; did you mean `port`?"),
            (
                "name: a\nxyzzy: 1",
                Some((2, 1)),
                "unknown key `xyzzy`; known here: name, port, on, kind, list, password, wait",
            ),
            ("name: a\nport: ${NOPE}", Some((2, 7)), "environment variable `NOPE` is not set"),
            ("name: \"${NOPE}\"", Some((1, 7)), "environment variable `NOPE` is not set"),
            ("name: ${PORT", Some((1, 7)), "`${` without its `}`"),
            ("port: 1", None, "`name` is missing"),
            ("name: a\nwait: 5h", Some((2, 7)), "`5h` is no length of time"),
        ];
        for (yaml, place, message) in cases {
            let (found, why) = sample(yaml).unwrap_err();
            assert!(why.contains(message), "{yaml}: {why}");
            if place.is_some() {
                assert_eq!(found, place, "{yaml}");
            }
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let sample = sample("name: a\npassword: hunter2").unwrap();
        assert!(!format!("{sample:?}").contains("hunter2"));
        assert_eq!(serde_json::to_value(&sample).unwrap()["password"], HIDDEN);
        let (_, why) = self::sample("name: a\npassword: hunter2\nport: hunter3").unwrap_err();
        assert!(!why.contains("hunter2"), "{why}");
    }
}
