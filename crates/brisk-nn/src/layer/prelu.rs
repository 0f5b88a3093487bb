//! PReLU: a slope below 0 that is learned.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conv2d::zeros;
use super::{Layer, sample};
use crate::{Context, Initializer, Result};

/// `y = x` above 0, `alpha x` below, with an `alpha` for each place of a sample (He and others, 2015). The shape stays; a mask is
/// handed on.
///
/// The parameter `alpha` has the shape of a sample, with 1 for the axes (from 1 on) that share theirs.
///
/// ```
/// use brisk_nn::{PReLU, Sequential};
/// let model = Sequential::new([8, 8, 4]).add(PReLU::new().shared_axes([1, 2])).build()?;
/// assert_eq!(model.param_specs()?[0].shape.dims(), [1, 1, 4]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PReLU {
    /// How alpha starts.
    #[serde(default = "zeros")]
    pub alpha_initializer: Initializer,
    /// The axes, from 1 on, along which alpha is the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_axes: Vec<usize>,
}

impl Default for PReLU {
    fn default() -> PReLU {
        PReLU { alpha_initializer: zeros(), shared_axes: Vec::new() }
    }
}

impl PReLU {
    /// With Keras's defaults.
    pub fn new() -> PReLU {
        PReLU::default()
    }

    super::setters! {
        /// How alpha starts.
        alpha_initializer: Initializer;
        /// The axes, from 1 on, along which alpha is the same.
        shared_axes: impl Into<Vec<usize>>;
    }
}

impl Layer for PReLU {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        if let Some(axis) = self.shared_axes.iter().find(|&&a| a == 0 || a >= x.rank()) {
            let most = x.rank().saturating_sub(1);
            return Err(cx.error(format!("expected shared_axes from 1 to {most} of {}, found {axis}", sample(x))));
        }
        let size = |(i, &size): (usize, &usize)| if self.shared_axes.contains(&(i + 1)) { 1 } else { size };
        let shape: Vec<usize> = sample(x).iter().enumerate().map(size).collect();
        let alpha = cx.param("alpha", shape, &self.alpha_initializer)?;
        Ok(cx.hand_on(x, x.max(0.0) + alpha * x.min(0.0)))
    }
}
