//! A deserializer around another that expands `${NAME}` in every scalar on its way through.
//!
//! Expanding values rather than the file's text means that what a variable holds can't change the
//! YAML around it, whatever characters it has.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};

type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Wraps a deserializer, visitor or access; what it hands on is wrapped too.
pub(super) struct Expand<'e, T> {
    pub(super) inner: T,
    pub(super) environment: Environment<'e>,
}

/// `${NAME}`, `${NAME:-default}`, and `$${` for a plain `${`.
fn expand(text: &str, environment: Environment<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &from[2..];
            continue;
        }
        out.push_str(before);
        let Some((variable, after)) = from[2..].split_once('}') else {
            return Err("`${` without its `}`".to_owned());
        };
        let (name, default) = match variable.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (variable, None),
        };
        match (environment(name), default) {
            (Some(value), None) => out.push_str(&value),
            (Some(value), Some(_)) if !value.is_empty() => out.push_str(&value),
            (_, Some(default)) => out.push_str(default),
            (None, None) => return Err(format!("environment variable `{name}` is not set")),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

macro_rules! forward {
    ($($method:ident),+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(Expand { inner: visitor, environment: self.environment })
        })+
    };
}

/// Numbers and booleans: read as what the YAML says, or parsed from an expanded string.
macro_rules! parsed {
    ($($method:ident: $kind:ident),+ $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            let environment = self.environment;
            self.inner.deserialize_any(Parsed { visitor, environment, kind: Kind::$kind })
        })+
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Expand<'_, D> {
    type Error = D::Error;

    forward!(
        deserialize_any,
        deserialize_char,
        deserialize_str,
        deserialize_string,
        deserialize_bytes,
        deserialize_byte_buf,
        deserialize_option,
        deserialize_unit,
        deserialize_seq,
        deserialize_map,
        deserialize_identifier,
        deserialize_ignored_any
    );

    parsed! {
        deserialize_bool: Boolean,
        deserialize_i8: Integer,
        deserialize_i16: Integer,
        deserialize_i32: Integer,
        deserialize_i64: Integer,
        deserialize_u8: Integer,
        deserialize_u16: Integer,
        deserialize_u32: Integer,
        deserialize_u64: Integer,
        deserialize_f32: Float,
        deserialize_f64: Float,
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = Expand { inner: visitor, environment: self.environment };
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = Expand { inner: visitor, environment: self.environment };
        self.inner.deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = Expand { inner: visitor, environment: self.environment };
        self.inner.deserialize_tuple(length, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = Expand { inner: visitor, environment: self.environment };
        self.inner.deserialize_tuple_struct(name, length, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = Expand { inner: visitor, environment: self.environment };
        self.inner.deserialize_struct(name, fields, visitor)
    }

    /// The name of a variant may come from the environment too.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(Variant { visitor, environment: self.environment })
    }
}

macro_rules! pass {
    ($($method:ident: $type:ty),+ $(,)?) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<Self::Value, E> {
            self.inner.$method(value)
        })+
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Expand<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    pass! {
        visit_bool: bool,
        visit_i64: i64,
        visit_u64: u64,
        visit_f64: f64,
        visit_bytes: &[u8],
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        if text.contains("${") {
            let expanded = expand(text, self.environment).map_err(E::custom)?;
            return self.inner.visit_string(expanded);
        }
        self.inner.visit_str(text)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Expand { inner: from, environment: self.environment })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Expand { inner: from, environment: self.environment })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(Expand { inner: from, environment: self.environment })
    }

    fn visit_map<A: MapAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Expand { inner: from, environment: self.environment })
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Expand<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        self.inner.next_element_seed(Expand { inner: seed, environment: self.environment })
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Expand<'_, A> {
    type Error = A::Error;

    /// Keys are names, not values: they are not expanded.
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.next_value_seed(Expand { inner: seed, environment: self.environment })
    }
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Expand<'_, T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T::Value, D::Error> {
        self.inner.deserialize(Expand { inner: from, environment: self.environment })
    }
}

/// Takes a number or boolean as it is, and an expanded string that reads as one.
struct Parsed<'e, V> {
    visitor: V,
    environment: Environment<'e>,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Boolean,
    Integer,
    Float,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Parsed<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<V::Value, E> {
        self.visitor.visit_bool(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<V::Value, E> {
        self.visitor.visit_i64(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<V::Value, E> {
        self.visitor.visit_u64(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<V::Value, E> {
        self.visitor.visit_f64(value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        if !text.contains("${") {
            return self.visitor.visit_str(text);
        }
        let expanded = expand(text, self.environment).map_err(E::custom)?;
        let Self { visitor, kind, .. } = self;
        match kind {
            Kind::Boolean => match expanded.parse() {
                Ok(value) => visitor.visit_bool(value),
                Err(_) => Err(E::custom(format_args!("{text} is neither true nor false"))),
            },
            Kind::Integer => match (expanded.parse(), expanded.parse()) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => Err(E::custom(format_args!("{text} is not a whole number"))),
            },
            Kind::Float => match expanded.parse() {
                Ok(value) => visitor.visit_f64(value),
                Err(_) => Err(E::custom(format_args!("{text} is not a number"))),
            },
        }
    }
}

/// An enum: a string that names the variant, or a map from its name to its content.
struct Variant<'e, V> {
    visitor: V,
    environment: Environment<'e>,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Variant<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        let expanded = expand(text, self.environment).map_err(E::custom)?;
        self.visitor.visit_enum(expanded.into_deserializer())
    }

    /// YAML reads `true` and `1` as no strings; a variant may be named so all the same.
    fn visit_bool<E: Error>(self, value: bool) -> Result<V::Value, E> {
        self.visitor.visit_enum(value.to_string().into_deserializer())
    }

    fn visit_map<A: MapAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        let environment = self.environment;
        self.visitor.visit_enum(MapAccessDeserializer::new(Expand { inner: from, environment }))
    }
}
