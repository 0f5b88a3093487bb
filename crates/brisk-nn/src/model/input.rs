//! What comes into a model.

use brisk_graph::{DType, Tensor, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The name that stands for what comes into a model with one input.
pub const INPUT: &str = "input";
/// Name of the tensor with a batch of samples, where the model's one input is called [`INPUT`].
pub const X: &str = "x";

/// What the rows (axis 0) of a tensor are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Rows {
    /// The samples of a batch.
    #[default]
    Samples,
    /// The tokens of all texts of a batch, one after another, and some that belong to none.
    Tokens,
    /// The texts of a batch, which may be more than its samples.
    Texts,
}

/// A tensor that comes into a model.
///
/// ```
/// use brisk_graph::DType;
/// use brisk_nn::{ModelInput, Rows};
/// let picture = ModelInput::new("picture", [28, 28, 1]).dtype(DType::U8);
/// let review = ModelInput::new("review", [None]).dtype(DType::I32); // as many tokens as the batch's longest text has
/// let ids = ModelInput::new("text.ids", [0; 0]).dtype(DType::I32).rows(Rows::Tokens);
/// assert_eq!((picture.shape[0], review.shape[0], ids.shape.len()), (Some(28), None, 0));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelInput {
    /// Its name among the tensors of a batch, and in the `inputs` of layers; [`INPUT`] is the tensor [`X`].
    pub name: String,
    /// The sizes of one row; null (`None`) for a length that differs from batch to batch.
    #[serde(default)]
    pub shape: Vec<Option<usize>>,
    /// The element type as it comes: i32 stays, u8 becomes f32 for the layers.
    #[serde(default = "f32", with = "stored")]
    #[schemars(with = "stored::Stored")]
    pub dtype: DType,
    /// What its rows are.
    #[serde(default)]
    pub rows: Rows,
    /// What happens to values of u8 and f32 first.
    #[serde(default, skip_serializing_if = "Scaling::is_none")]
    pub scaling: Scaling,
}

fn f32() -> DType {
    DType::F32
}

impl ModelInput {
    /// For f32 samples of a shape that need no scaling.
    pub fn new<D: Into<Option<usize>>>(
        name: impl Into<String>,
        shape: impl IntoIterator<Item = D>,
    ) -> ModelInput {
        ModelInput {
            name: name.into(),
            shape: shape.into_iter().map(Into::into).collect(),
            dtype: DType::F32,
            rows: Rows::Samples,
            scaling: Scaling::default(),
        }
    }

    /// With another element type.
    pub fn dtype(mut self, dtype: DType) -> ModelInput {
        self.dtype = dtype;
        self
    }

    /// With other rows.
    pub fn rows(mut self, rows: Rows) -> ModelInput {
        self.rows = rows;
        self
    }

    /// With a scaling.
    pub fn scaling(mut self, scaling: Scaling) -> ModelInput {
        self.scaling = scaling;
        self
    }

    /// The four inputs of a text as packed tokens, `NAME.ids`, `NAME.positions`, `NAME.types` and `NAME.segments`. Layers may
    /// name all of them at once: `inputs: [NAME]`.
    ///
    /// ```
    /// let inputs = brisk_nn::ModelInput::packed_text("review");
    /// assert_eq!(inputs[3].name, "review.segments");
    /// ```
    pub fn packed_text(name: &str) -> Vec<ModelInput> {
        let tokens = |part: &str| {
            ModelInput::new(format!("{name}.{part}"), [0; 0]).dtype(DType::I32).rows(Rows::Tokens)
        };
        let segments = ModelInput::new(format!("{name}.segments"), [2]).dtype(DType::I32).rows(Rows::Texts);
        vec![tokens("ids"), tokens("positions"), tokens("types"), segments]
    }

    /// The name of its tensor in a batch.
    pub fn tensor(&self) -> &str {
        if self.name == INPUT { X } else { &self.name }
    }

    /// The element type that layers see.
    pub fn layer_dtype(&self) -> DType {
        if self.dtype == DType::U8 { DType::F32 } else { self.dtype }
    }

    /// Whether a row has these sizes.
    pub fn fits(&self, row: &[usize]) -> bool {
        row.len() == self.shape.len()
            && self.shape.iter().zip(row).all(|(want, &d)| want.is_none_or(|w| w == d))
    }

    /// `[None, 28, 28, 1]`, for people.
    pub(crate) fn describe(&self) -> String {
        sizes(&self.shape)
    }

    /// Records what happens to stored values before the first layer.
    pub(crate) fn prepare<'g>(&self, x: Value<'g>) -> Result<Value<'g>> {
        match self.dtype {
            DType::I32 => Ok(x),
            _ => x.builder().scope("scaling", || self.scaling.apply(x)),
        }
    }
}

/// `[28, None]`
pub(crate) fn sizes(shape: &[Option<usize>]) -> String {
    let sizes: Vec<_> = shape.iter().map(|d| d.map_or("None".into(), |d| d.to_string())).collect();
    format!("[{}]", sizes.join(", "))
}

/// How stored values become what the model sees: `(x * scale - mean) / std`, channel by channel, inside the graph, so that
/// u8 images stay u8 until they are used.
///
/// ```
/// use brisk_nn::Scaling;
/// let s = Scaling { scale: 1.0 / 255.0, mean: vec![0.5], std: vec![0.25] };
/// assert_ne!(s, Scaling::default());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// What each value is multiplied with.
    pub scale: f64,
    /// For each channel what is then subtracted; empty for nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mean: Vec<f64>,
    /// For each channel what the result is divided by; empty for nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub std: Vec<f64>,
}

impl Default for Scaling {
    fn default() -> Scaling {
        Scaling { scale: 1.0, mean: Vec::new(), std: Vec::new() }
    }
}

impl Scaling {
    /// True if it changes nothing.
    pub fn is_none(&self) -> bool {
        *self == Scaling::default()
    }

    /// Division by 255: bytes to 0..1.
    pub fn bytes() -> Scaling {
        Scaling { scale: 1.0 / 255.0, ..Scaling::default() }
    }

    /// Records it.
    pub fn apply<'g>(&self, x: Value<'g>) -> Result<Value<'g>> {
        let (b, channels) = (x.builder(), x.last());
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if !values.is_empty() && values.len() != channels {
                let message =
                    format!("expected a {name} for each of {channels} channels, found {}", values.len());
                return Err(Error::config("scaling", message));
            }
        }
        if self.std.iter().any(|s| *s <= 0.0 || !s.is_finite()) || !self.scale.is_finite() {
            return Err(Error::config(
                "scaling",
                format!(
                    "expected a finite scale and std above 0, found scale {} and std {:?}",
                    self.scale, self.std
                ),
            ));
        }
        let vector =
            |values: &[f64]| Ok::<_, Error>(b.constant(Tensor::from_f64s(DType::F32, [channels], values)?));
        let mut x = x.cast(DType::F32);
        if self.scale != 1.0 {
            x = x * self.scale;
        }
        if !self.mean.is_empty() {
            x = x - vector(&self.mean)?;
        }
        if !self.std.is_empty() {
            x = x * vector(&self.std.iter().map(|s| 1.0 / s).collect::<Vec<_>>())?;
        }
        Ok(x)
    }
}

/// Element types in configuration.
mod stored {
    use brisk_graph::DType;
    use schemars::JsonSchema;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    #[schemars(inline)]
    pub enum Stored {
        F32,
        I32,
        U8,
    }

    pub fn serialize<S: Serializer>(dtype: &DType, s: S) -> Result<S::Ok, S::Error> {
        dtype.to_string().serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<DType, D::Error> {
        Ok(match Stored::deserialize(d)? {
            Stored::F32 => DType::F32,
            Stored::I32 => DType::I32,
            Stored::U8 => DType::U8,
        })
    }
}
