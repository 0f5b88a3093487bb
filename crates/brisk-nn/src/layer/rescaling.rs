//! Rescaling: every value times a number, plus a number.

use brisk_graph::{DType, Tensor, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Layer, sample};
use crate::{Context, Result};

/// `y = x scale + offset`; each is one number, or one for each channel, the last axis. The shape stays.
///
/// ```
/// use brisk_nn::{Rescaling, Sequential};
/// let model = Sequential::new([8, 8, 3]).add(Rescaling::new(vec![1.0 / 255.0]).offset(vec![-0.5, -0.4, -0.3])).build()?;
/// assert_eq!(model.output_shape().dims(), [8, 8, 3]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rescaling {
    /// What values are multiplied with: one number, or one for each channel.
    pub scale: Vec<f64>,
    /// What is added then: one number, or one for each channel.
    #[serde(default = "nothing")]
    pub offset: Vec<f64>,
}

fn nothing() -> Vec<f64> {
    vec![0.0]
}

impl Rescaling {
    /// With a scale, and no offset.
    pub fn new(scale: impl Into<Vec<f64>>) -> Rescaling {
        Rescaling { scale: scale.into(), offset: nothing() }
    }

    super::setters! {
        /// What is added.
        offset: impl Into<Vec<f64>>;
    }
}

impl Layer for Rescaling {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let channels = x.last();
        let vector = |what: &str, values: &[f64]| match values.len() {
            _ if values.iter().any(|v| !v.is_finite()) => {
                Err(cx.error(format!("expected finite numbers as {what}, found {values:?}")))
            }
            1 => Ok(cx.builder().fill(values[0], [1])),
            n if n == channels => Ok(cx.builder().constant(Tensor::from_f64s(DType::F32, [n], values)?)),
            n => {
                let shape = sample(x);
                Err(cx.error(format!("expected one {what}, or one for each of {channels} channels of {shape}, found {n}")))
            }
        };
        let (scale, offset) = (vector("scale", &self.scale)?, vector("offset", &self.offset)?);
        Ok(cx.hand_on(x, x.cast(DType::F32) * scale + offset))
    }
}
