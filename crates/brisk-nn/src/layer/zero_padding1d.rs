//! ZeroPadding1D: sequences get steps of zeros at their ends.

use std::borrow::Cow;

use brisk_graph::Value;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Layer;
use super::recurrent::sequences;
use crate::{Context, Result};

/// `[n, length, features]` to `[n, before + length + after, features]`.
///
/// ```
/// use brisk_nn::{Sequential, ZeroPadding1D};
/// let model = Sequential::new([5, 3]).add(ZeroPadding1D::new([1, 2])).build()?;
/// assert_eq!(model.output_shape().dims(), [8, 3]);
/// let layer: ZeroPadding1D = serde_json::from_str(r#"{"padding": 2}"#)?;
/// assert_eq!(layer, ZeroPadding1D::new(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZeroPadding1D {
    /// One number; or `[before, after]`.
    #[serde(default = "one")]
    pub padding: Ends,
}

pub(super) fn one() -> Ends {
    Ends::from(1)
}

impl ZeroPadding1D {
    /// With so many steps: one number, or `[before, after]`.
    pub fn new(padding: impl Into<Ends>) -> ZeroPadding1D {
        ZeroPadding1D { padding: padding.into() }
    }
}

impl Layer for ZeroPadding1D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        const MOST: usize = 1 << 31;
        let x = cx.one(inputs)?;
        sequences(cx, x)?;
        let Ends([before, after]) = self.padding;
        match before.max(after) {
            most if most > MOST => Err(cx.error(format!("expected a padding of at most {MOST}, found {most}"))),
            _ => Ok(x.pad(&[0, before, 0], &[0, after, 0], 0.0)),
        }
    }
}

/// Steps at the ends of sequences: `[before, after]`.
///
/// ```
/// use brisk_nn::Ends;
/// assert_eq!(Ends::from(2), Ends([2, 2]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends(pub [usize; 2]);

impl From<usize> for Ends {
    fn from(n: usize) -> Ends {
        Ends([n; 2])
    }
}

impl From<[usize; 2]> for Ends {
    fn from(ends: [usize; 2]) -> Ends {
        Ends(ends)
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number, or [before, after]")]
enum Written {
    One(usize),
    Both([usize; 2]),
}

impl<'de> Deserialize<'de> for Ends {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ends, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::One(n) => n.into(),
            Written::Both(ends) => ends.into(),
        })
    }
}

impl Serialize for Ends {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl JsonSchema for Ends {
    fn schema_name() -> Cow<'static, str> {
        "Ends".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let number = serde_json::json!({"type": "integer", "minimum": 0});
        json_schema!({"oneOf": [number, {"type": "array", "items": number, "minItems": 2, "maxItems": 2}]})
    }
}
