//! ZeroPadding2D: maps get an edge of zeros.

use std::borrow::Cow;

use brisk_graph::Value;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Layer, maps};
use crate::{Context, Result};

/// `[n, height, width, channels]` to `[n, top + height + bottom, left + width + right, channels]`.
///
/// ```
/// use brisk_nn::{Sequential, ZeroPadding2D};
/// let model = Sequential::new([5, 5, 3]).add(ZeroPadding2D::new([[1, 2], [0, 0]])).build()?;
/// assert_eq!(model.output_shape().dims(), [8, 5, 3]);
/// let layer: ZeroPadding2D = serde_json::from_str(r#"{"padding": 2}"#)?;
/// assert_eq!(layer, ZeroPadding2D::new(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZeroPadding2D {
    /// One number; or `[height, width]`; or `[[top, bottom], [left, right]]`.
    #[serde(default = "one")]
    pub padding: Edges,
}

fn one() -> Edges {
    Edges::from(1)
}

impl ZeroPadding2D {
    /// With so many cells: one number, `[height, width]`, or `[[top, bottom], [left, right]]`.
    pub fn new(padding: impl Into<Edges>) -> ZeroPadding2D {
        ZeroPadding2D { padding: padding.into() }
    }
}

impl Layer for ZeroPadding2D {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        const MOST: usize = 1 << 31;
        let x = cx.one(inputs)?;
        maps(cx, x)?;
        let [[top, bottom], [left, right]] = self.padding.0;
        match [top, bottom, left, right].into_iter().max() {
            Some(most) if most > MOST => Err(cx.error(format!("expected a padding of at most {MOST}, found {most}"))),
            _ => Ok(x.pad(&[0, top, left, 0], &[0, bottom, right, 0], 0.0)),
        }
    }
}

/// Cells around maps: `[[top, bottom], [left, right]]`.
///
/// ```
/// use brisk_nn::Edges;
/// assert_eq!(Edges::from([1, 2]), Edges([[1, 1], [2, 2]]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edges(pub [[usize; 2]; 2]);

impl From<usize> for Edges {
    fn from(n: usize) -> Edges {
        Edges([[n; 2]; 2])
    }
}

impl From<[usize; 2]> for Edges {
    fn from([height, width]: [usize; 2]) -> Edges {
        Edges([[height; 2], [width; 2]])
    }
}

impl From<[[usize; 2]; 2]> for Edges {
    fn from(edges: [[usize; 2]; 2]) -> Edges {
        Edges(edges)
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number, [height, width], or [[top, bottom], [left, right]]")]
enum Written {
    One(usize),
    Pair([usize; 2]),
    All([[usize; 2]; 2]),
}

impl<'de> Deserialize<'de> for Edges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Edges, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::One(n) => n.into(),
            Written::Pair(p) => p.into(),
            Written::All(e) => e.into(),
        })
    }
}

impl Serialize for Edges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl JsonSchema for Edges {
    fn schema_name() -> Cow<'static, str> {
        "Edges".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let number = serde_json::json!({"type": "integer", "minimum": 0});
        let pair = serde_json::json!({"type": "array", "items": number, "minItems": 2, "maxItems": 2});
        json_schema!({"oneOf": [number, pair, {"type": "array", "items": pair, "minItems": 2, "maxItems": 2}]})
    }
}
