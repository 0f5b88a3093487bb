//! Concatenate: several layers' results side by side.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::add::several;
use super::{Layer, sample};
use crate::{Context, Result};

/// Joins along an axis; all other sizes are equal. Axis 0 is the batch, which cannot be joined; -1 is the last.
///
/// ```
/// use brisk_nn::{Concatenate, Dense, LayerSpec, Sequential};
/// let model = Sequential::new([8])
///     .add(LayerSpec::new(Dense::new(4)).name("inner"))
///     .add(LayerSpec::new(Concatenate::new()).inputs(["input", "inner"]))
///     .build()?;
/// assert_eq!(model.output_shape().dims(), [12]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Concatenate {
    /// The axis, counted with the batch; negative ones count from the end.
    #[serde(default = "last")]
    pub axis: i64,
}

fn last() -> i64 {
    -1
}

impl Default for Concatenate {
    fn default() -> Concatenate {
        Concatenate { axis: last() }
    }
}

impl Concatenate {
    /// Along the last axis.
    pub fn new() -> Concatenate {
        Concatenate::default()
    }

    super::setters! {
        /// The axis, counted with the batch; negative ones count from the end.
        axis: i64;
    }
}

impl Layer for Concatenate {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let [first, rest @ ..] = inputs else { return Err(several(cx, inputs)) };
        if rest.is_empty() {
            return Err(several(cx, inputs));
        }
        let rank = first.rank();
        let axis = if self.axis < 0 { self.axis.saturating_add(rank as i64) } else { self.axis };
        let axis = match usize::try_from(axis) {
            Ok(axis) if axis > 0 && axis < rank => axis,
            _ => {
                return Err(cx.error(format!(
                    "expected an axis from 1 to {} or from -1 to -{}, found {}",
                    rank - 1,
                    rank - 1,
                    self.axis
                )));
            }
        };
        let fits = |x: &Value<'g>| x.rank() == rank && (0..rank).all(|i| i == axis || x.dim(i) == first.dim(i));
        match rest.iter().find(|x| !fits(x)) {
            Some(other) => Err(cx.error(format!(
                "expected inputs that differ in axis {axis} only, found {} and {}; make them fit, with pooling or padding \
                 for example",
                sample(*first),
                sample(*other)
            ))),
            None => Ok(cx.builder().concat(inputs, axis)),
        }
    }
}
