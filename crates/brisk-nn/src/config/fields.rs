//! Reading the arguments behind a name.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::{Empty, Extra, unknown};

/// For a name that takes no arguments.
#[derive(Deserialize)]
pub(super) struct NoFields {}

/// Reads a struct whose fields are checked.
pub(super) struct Seed<'x, S> {
    pub seed: S,
    pub extra: Option<&'x mut Extra>,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(Checked { inner: d, extra: self.extra })
    }
}

pub(super) struct FieldsSeed<'x, V>(pub Fields<'x, V>);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for FieldsSeed<'_, V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<V::Value, D::Error> {
        d.deserialize_any(self.0)
    }
}

struct Checked<'x, D> {
    inner: D,
    extra: Option<&'x mut Extra>,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Checked<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(Fields { fields, visitor, extra: self.extra })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Passes a map of arguments on, checking their names.
pub(super) struct Fields<'x, V> {
    pub fields: &'static [&'static str],
    pub visitor: V,
    pub extra: Option<&'x mut Extra>,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Fields<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fields {
            [] => write!(f, "no arguments"),
            [first, ..] => write!(f, "arguments such as `{first}: ...`"),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_map(Empty::new(std::iter::empty()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(FieldsMap { map, fields: self.fields, extra: self.extra })
    }
}

struct FieldsMap<'x, A> {
    map: A,
    fields: &'static [&'static str],
    extra: Option<&'x mut Extra>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for FieldsMap<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            match (&mut self.extra, key.as_str()) {
                (Some(extra), "name") => extra.name = self.map.next_value()?,
                (Some(extra), "inputs") => extra.inputs = self.map.next_value::<OneOrMany>()?.0,
                (Some(extra), "shares") => extra.shares = self.map.next_value()?,
                (_, key) if self.fields.contains(&key) => {
                    let key: StrDeserializer<'_, A::Error> = key.into_deserializer();
                    return seed.deserialize(key).map(Some);
                }
                (extra, key) => {
                    let common: &[&str] = if extra.is_some() { &["name", "inputs", "shares"] } else { &[] };
                    let known = [self.fields, common].concat();
                    return Err(A::Error::custom(unknown("argument", key, &known)));
                }
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// A name, or a list of names.
struct OneOrMany(Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<OneOrMany, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = OneOrMany;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the names of layers: [a, b]")
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![name.into()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMany, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(OneOrMany(names))
            }
        }
        d.deserialize_any(Names)
    }
}
