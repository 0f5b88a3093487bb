//! Normalization: each channel gets mean 0 and variance 1 by statistics that were found before.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Layer, sample};
use crate::{Context, Initializer, Result};

/// `y = (x - mean) / max(sqrt(variance), 1e-7)`, channel by channel, the last axis. The shape stays.
///
/// `mean` and `variance` `[channels]` are part of the state; training does not change them.
///
/// ```
/// use brisk_nn::{Dense, Normalization, Sequential};
/// let model = Sequential::new([4]).add(Normalization {}).add(Dense::new(1)).build()?;
/// assert_eq!(model.param_specs()?[1].name, "normalization.variance");
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Normalization {}

impl Layer for Normalization {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        if x.rank() < 2 {
            return Err(cx.error(format!("expected a vector or maps per sample, found {}; put Reshape before it", sample(x))));
        }
        let c = x.last();
        let mean = cx.state("mean", [c], &Initializer::Zeros)?;
        let variance = cx.state("variance", [c], &Initializer::Ones)?;
        Ok((x - mean) / variance.sqrt().max(1e-7))
    }
}
