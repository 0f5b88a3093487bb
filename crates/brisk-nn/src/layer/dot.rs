//! Dot: the inner product of two layers' results.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Layer, sample};
use crate::{Context, Result};

/// `y[n] = sum over i of a[n, i] b[n, i]`, of vectors that are first given the length 1 where `normalize` says so: then it is the
/// cosine of the angle between them.
///
/// Two inputs `[n, size]` to `[n, 1]`.
///
/// ```
/// use brisk_nn::{Dense, Dot, LayerSpec, Sequential};
/// let model = Sequential::new([8])
///     .add(LayerSpec::new(Dense::new(8)).name("inner"))
///     .add(LayerSpec::new(Dot::new().normalize(true)).inputs(["input", "inner"]))
///     .build()?;
/// assert_eq!(model.output_shape().dims(), [1]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dot {
    /// Whether vectors get the length 1 first.
    #[serde(default)]
    pub normalize: bool,
}

impl Dot {
    /// Without normalization.
    pub fn new() -> Dot {
        Dot::default()
    }

    super::setters! {
        /// Whether vectors get the length 1 first.
        normalize: bool;
    }
}

impl Layer for Dot {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let [a, b] = *inputs else {
            return Err(cx.error(format!("expected two inputs, found {}; name them: inputs: [a, b]", inputs.len())));
        };
        if a.rank() != 2 || b.shape() != a.shape() {
            return Err(cx.error(format!(
                "expected two vectors of one size, found {} and {}; put Flatten before it",
                sample(a),
                sample(b)
            )));
        }
        let (a, b) = if self.normalize { (unit(a), unit(b)) } else { (a, b) };
        Ok((a * b).sum(&[1]).expand(1))
    }
}

/// Rows of the length 1.
pub(super) fn unit(x: Value<'_>) -> Value<'_> {
    let last = x.rank() - 1;
    x * x.square().sum(&[last]).max(1e-12).rsqrt().expand(last)
}
