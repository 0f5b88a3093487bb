//! Tensors that stand in a graph itself.

use std::sync::Arc;

use brisk_graph::{DType, Data, Shape, Tensor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Elem;

/// A tensor that is known with the graph. As configuration: `["int64", [2], [3, -1]]`.
///
/// ```
/// use brisk_onnx::{Constant, Elem};
/// let shape = Constant::ints(Elem::Int64, [2], vec![3, -1])?;
/// let text = serde_json::to_string(&shape)?;
/// assert_eq!(text, r#"["int64",[2],[3,-1]]"#);
/// assert_eq!(serde_json::from_str::<Constant>(&text)?, shape);
/// let texts = Constant::Texts([1].into(), vec!["yes".to_string()].into());
/// assert_eq!(serde_json::from_str::<Constant>(&serde_json::to_string(&texts)?)?, texts);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    /// Numbers or truth values, in the type that carries them.
    Numbers(Elem, Tensor),
    /// Texts.
    Texts(Shape, Arc<Vec<String>>),
}

impl Constant {
    /// Whole numbers.
    pub fn ints(elem: Elem, shape: impl Into<Shape>, values: Vec<i64>) -> brisk_graph::Result<Constant> {
        let data: Data = match elem.dtype() {
            DType::U8 => values.into_iter().map(|v| v as u8).collect::<Vec<_>>().into(),
            _ => values.into(),
        };
        Ok(Constant::Numbers(elem, Tensor::new(shape, data)?))
    }

    /// Its element type.
    pub fn elem(&self) -> Elem {
        match self {
            Constant::Numbers(elem, _) => *elem,
            Constant::Texts(..) => Elem::String,
        }
    }

    /// Its shape.
    pub fn shape(&self) -> &Shape {
        match self {
            Constant::Numbers(_, tensor) => tensor.shape(),
            Constant::Texts(shape, _) => shape,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Values {
    Ints(Vec<i64>),
    // Before floats, which may be words too.
    Texts(Vec<String>),
    Floats(Vec<Float>),
}

/// JSON has no infinities.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Float {
    Finite(f64),
    Other(String),
}

impl Float {
    fn of(v: f64) -> Float {
        if v.is_finite() { Float::Finite(v) } else { Float::Other(v.to_string()) }
    }

    fn value(&self) -> Option<f64> {
        match self {
            Float::Finite(v) => Some(*v),
            Float::Other(text) => text.parse().ok(),
        }
    }
}

impl Serialize for Constant {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let values = match self {
            Constant::Texts(_, texts) => Values::Texts(texts.to_vec()),
            Constant::Numbers(_, tensor) => match tensor.data() {
                Data::I64(v) => Values::Ints(v.clone()),
                Data::I32(_) | Data::U8(_) => {
                    Values::Ints(tensor.to_f64s().into_iter().map(|v| v as i64).collect())
                }
                Data::F32(_) | Data::F64(_) => {
                    Values::Floats(tensor.to_f64s().into_iter().map(Float::of).collect())
                }
            },
        };
        (self.elem(), self.shape().dims(), values).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Constant {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Constant, D::Error> {
        use serde::de::Error;
        let (elem, shape, values) = <(Elem, Vec<usize>, Values)>::deserialize(d)?;
        let fail = |message: &str| D::Error::custom(format!("a constant of {elem} {shape:?}: {message}"));
        let found = match (values, elem.is_float()) {
            (Values::Texts(texts), _) if elem == Elem::String => {
                if Shape::from(&shape[..]).elements() != texts.len() {
                    return Err(fail(&format!("found {} texts", texts.len())));
                }
                return Ok(Constant::Texts(shape.into(), Arc::new(texts)));
            }
            (Values::Ints(empty), _)
                if empty.is_empty() && elem == Elem::String && Shape::from(&shape[..]).elements() == 0 =>
            {
                return Ok(Constant::Texts(shape.into(), Arc::default()));
            }
            (Values::Ints(values), false) => Constant::ints(elem, &shape[..], values),
            (Values::Ints(values), true) => {
                let values: Vec<f64> = values.into_iter().map(|v| v as f64).collect();
                Tensor::from_f64s(elem.dtype(), &shape[..], &values).map(|t| Constant::Numbers(elem, t))
            }
            (Values::Floats(values), true) => {
                let values: Option<Vec<f64>> = values.iter().map(Float::value).collect();
                let values = values.ok_or_else(|| fail("expected numbers"))?;
                Tensor::from_f64s(elem.dtype(), &shape[..], &values).map(|t| Constant::Numbers(elem, t))
            }
            // A list of texts may be one of infinities.
            (Values::Texts(texts), true) => {
                let values: Option<Vec<f64>> = texts.iter().map(|t| t.parse().ok()).collect();
                let values = values.ok_or_else(|| fail("expected numbers"))?;
                Tensor::from_f64s(elem.dtype(), &shape[..], &values).map(|t| Constant::Numbers(elem, t))
            }
            _ => return Err(fail("its values are of another type")),
        };
        found.map_err(D::Error::custom)
    }
}
