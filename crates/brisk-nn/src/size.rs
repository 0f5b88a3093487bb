//! Sizes as Keras takes them: one number, or a pair of height and width.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use brisk_graph::prim::positions;

/// A height and a width, written as one number if they are equal.
///
/// ```
/// use brisk_nn::Size;
/// assert_eq!(Size::from(3), Size::from([3, 3]));
/// assert_eq!(serde_json::from_str::<Size>("[2, 5]")?, Size { height: 2, width: 5 });
/// assert_eq!(serde_json::to_string(&Size::from(3))?, "3");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Down.
    pub height: usize,
    /// Right.
    pub width: usize,
}

impl Size {
    /// As `[height, width]`.
    pub fn dims(self) -> [usize; 2] {
        [self.height, self.width]
    }
}

impl From<usize> for Size {
    fn from(size: usize) -> Size {
        Size { height: size, width: size }
    }
}

impl From<[usize; 2]> for Size {
    fn from([height, width]: [usize; 2]) -> Size {
        Size { height, width }
    }
}

impl From<(usize, usize)> for Size {
    fn from((height, width): (usize, usize)) -> Size {
        Size { height, width }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.height == self.width { self.height.serialize(s) } else { self.dims().serialize(s) }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Size, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, or [height, width]")
            }
            fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Size, E> {
                usize::try_from(n).map(Size::from).map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<Size, E> {
                usize::try_from(n)
                    .map(Size::from)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(n), &self))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Size, A::Error> {
                let (height, width) = (seq.next_element()?, seq.next_element()?);
                match (height, width, seq.next_element::<usize>()?) {
                    (Some(height), Some(width), None) => Ok(Size { height, width }),
                    _ => Err(A::Error::custom("expected two numbers: [height, width]")),
                }
            }
        }
        d.deserialize_any(Pair)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"oneOf": [
            {"type": "integer", "minimum": 0},
            {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 2},
        ]})
    }
}

/// How a window meets the edge of its maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    /// It stays inside.
    #[default]
    Valid,
    /// Zeros around the maps, as few as give `ceil(size / stride)` positions; the odd row or column goes to the end,
    /// as in TensorFlow.
    Same,
}

impl Padding {
    /// Cells before and after an axis.
    pub fn cells(self, size: usize, window: usize, stride: usize, dilation: usize) -> [usize; 2] {
        if self == Padding::Valid || stride == 0 || positions(size, 1, stride, 1, [0, 0]).is_none() {
            return [0, 0];
        }
        let extent = window.saturating_sub(1).saturating_mul(dilation).saturating_add(1);
        let covered = (size.div_ceil(stride) - 1).saturating_mul(stride).saturating_add(extent);
        let total = covered.saturating_sub(size);
        [total / 2, total - total / 2]
    }
}
