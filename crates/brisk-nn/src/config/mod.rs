//! Reading configuration: an enum is written as a bare name (`Flatten`), or as a name with arguments
//! (`Dense: {units: 10}`), and a misspelt name or argument is answered with the nearest known one.

mod fields;

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, IntoDeserializer, MapAccess, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use fields::{Fields, FieldsSeed, NoFields, Seed};

/// The known name that is nearest to a misspelt one, if one is near enough to be meant.
///
/// ```
/// use brisk_nn::config::closest;
/// assert_eq!(closest("filtres", ["filters", "kernel_size"]), Some("filters"));
/// assert_eq!(closest("conv2d", ["Conv2D", "Dense"]), Some("Conv2D"));
/// assert_eq!(closest("xyz", ["Conv2D", "Dense"]), None);
/// ```
pub fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain =
        |s: &str| s.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
    // The time that it takes is that of the product of their lengths.
    let short = |s: &str| s.len() <= LONGEST_NAME;
    if !short(name) {
        return None;
    }
    let name = plain(name);
    let known = known.into_iter().filter(|k| short(k));
    let near = known.map(|k| (strsim::damerau_levenshtein(&plain(k), &name), k));
    near.min_by_key(|n| n.0).filter(|n| n.0 <= 1 + name.chars().count() / 4).map(|n| n.1)
}

/// The longest name, in bytes, that may be meant for another.
const LONGEST_NAME: usize = 128;

/// `unknown layer "Conv2": did you mean "Conv2D"?`, or all that are known.
pub(crate) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    match closest(name, known.iter().copied()) {
        Some(near) => format!("unknown {what} \"{name}\"; did you mean \"{near}\"?"),
        None if known.is_empty() => format!("unknown {what} \"{name}\": there are none here"),
        None => format!("unknown {what} \"{name}\"; known are: {}", known.join(", ")),
    }
}

/// What any layer may carry besides its own arguments.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    pub name: Option<String>,
    pub inputs: Vec<String>,
    pub shares: Option<String>,
}

/// An enum read by this module: the derived reader of its variants.
pub(crate) trait Tagged: Sized {
    /// What its values are called: `layer`.
    const WHAT: &'static str;
    /// The name that `null` stands for.
    const NULL: Option<&'static str> = None;
    /// The derived `deserialize`, which asks for an enum.
    fn inner<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// Implements serde for an enum that derives it with `#[serde(remote = "Self")]`.
macro_rules! tagged {
    ($type:ident, $what:literal $(, null = $null:literal)?) => {
        impl $crate::config::Tagged for $type {
            const WHAT: &'static str = $what;
            $(const NULL: Option<&'static str> = Some($null);)?
            fn inner<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::deserialize(deserializer)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::config::read(deserializer, None)
            }
        }
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, serializer)
            }
        }
    };
}
pub(crate) use tagged;

/// Reads a bare name or a name with arguments; `extra` takes the keys that any layer may have.
pub(crate) fn read<'de, T: Tagged, D: Deserializer<'de>>(
    deserializer: D,
    extra: Option<&mut Extra>,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(NameOrMap { extra, read: PhantomData })
}

struct NameOrMap<'x, T> {
    extra: Option<&'x mut Extra>,
    read: PhantomData<T>,
}

impl<'de, T: Tagged> Visitor<'de> for NameOrMap<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {}: its name, or `name: {{arguments}}`", T::WHAT)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<T, E> {
        T::inner(Named { what: T::WHAT, name, rest: NoArguments(PhantomData) })
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        match T::NULL {
            Some(name) => self.visit_str(name),
            None => Err(E::invalid_type(serde::de::Unexpected::Unit, &self)),
        }
    }

    fn visit_none<E: Error>(self) -> Result<T, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<T, D::Error> {
        d.deserialize_any(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let Some(name) = map.next_key::<String>()? else {
            return Err(A::Error::custom(format!("expected the name of a {}, found an empty map", T::WHAT)));
        };
        let rest = Arguments { map: &mut map, extra: self.extra };
        let value = T::inner(Named { what: T::WHAT, name: &name, rest })?;
        if let Some(second) = map.next_key::<String>()? {
            map.next_value::<IgnoredAny>()?;
            let what = T::WHAT;
            return Err(A::Error::custom(format!(
                "expected one {what} here, found \"{second}\" beside \"{name}\"; arguments stand indented below the name"
            )));
        }
        Ok(value)
    }
}

/// A deserializer that knows the name of a variant, and can read the rest.
struct Named<'n, R> {
    what: &'static str,
    name: &'n str,
    rest: R,
}

impl<'de, R: VariantAccess<'de>> Deserializer<'de> for Named<'_, R> {
    type Error = R::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, R::Error> {
        visitor.visit_str(self.name)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, R::Error> {
        if !variants.contains(&self.name) {
            return Err(R::Error::custom(unknown(self.what, self.name, variants)));
        }
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de, R: VariantAccess<'de>> EnumAccess<'de> for Named<'_, R> {
    type Error = R::Error;
    type Variant = R;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, R), R::Error> {
        let name: StrDeserializer<'_, R::Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self.rest))
    }
}

type Empty<E> = MapDeserializer<'static, std::iter::Empty<(&'static str, &'static str)>, E>;

/// A bare name: all arguments have their defaults.
struct NoArguments<E>(PhantomData<E>);

impl<'de, E: Error> VariantAccess<'de> for NoArguments<E> {
    type Error = E;

    fn unit_variant(self) -> Result<(), E> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, E> {
        seed.deserialize(Empty::new(std::iter::empty()))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, E> {
        visitor.visit_map(Empty::new(std::iter::empty()))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, E> {
        visitor.visit_map(Empty::new(std::iter::empty()))
    }
}

/// What stands behind a name.
struct Arguments<'x, A> {
    map: A,
    extra: Option<&'x mut Extra>,
}

impl<'de, A: MapAccess<'de>> VariantAccess<'de> for Arguments<'_, A> {
    type Error = A::Error;

    fn unit_variant(mut self) -> Result<(), A::Error> {
        self.map.next_value_seed(Seed { seed: PhantomData::<NoFields>, extra: self.extra }).map(|_| ())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(Seed { seed, extra: self.extra })
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.struct_variant(&[], visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(FieldsSeed(Fields { fields, visitor, extra: self.extra }))
    }
}
