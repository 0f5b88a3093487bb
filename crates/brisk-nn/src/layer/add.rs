//! Add: the sum of several layers' results.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Layer, sample};
use crate::{Context, Result};

/// `y = x1 + x2 + ...`; all have the same shape, or sizes of 1 that are stretched.
///
/// ```
/// use brisk_nn::{Add, Dense, LayerSpec, Sequential};
/// let model = Sequential::new([8])
///     .add(LayerSpec::new(Dense::new(8)).name("inner"))
///     .add(LayerSpec::new(Add {}).inputs(["input", "inner"]))
///     .build()?;
/// assert_eq!(model.output_shape().dims(), [8]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Add {}

impl Layer for Add {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        merge(cx, inputs, |a, b| a + b)
    }
}

/// Joins inputs of one shape, element by element, from the first to the last; sizes of 1 are stretched.
pub(super) fn merge<'g>(
    cx: &mut Context<'g>,
    inputs: &[Value<'g>],
    join: impl Fn(Value<'g>, Value<'g>) -> Value<'g>,
) -> Result<Value<'g>> {
    let [first, rest @ ..] = inputs else { return Err(several(cx, inputs)) };
    if rest.is_empty() {
        return Err(several(cx, inputs));
    }
    let fits = |x: &Value<'g>| {
        let stretches = |(a, b): (&usize, &usize)| a == b || *a == 1 || *b == 1;
        x.rank() == first.rank() && x.shape().iter().zip(first.shape().iter()).all(stretches)
    };
    if let Some(other) = rest.iter().find(|x| !fits(x)) {
        return Err(cx.error(format!(
            "expected inputs of one shape, found {} and {}; make them fit, with Conv2D of kernel_size 1 for example",
            sample(*first),
            sample(*other)
        )));
    }
    let y = rest.iter().fold(*first, |y, x| join(y, *x));
    // A step is live if it is in any of the inputs.
    let masks: Option<Vec<_>> = inputs.iter().map(|x| cx.mask(*x)).collect();
    let either = |a: Value<'g>, b: Value<'g>| if a.id() == b.id() { a } else { a.select(a, b) };
    if let Some(mask) = masks.and_then(|m| m.into_iter().reduce(either)) {
        cx.set_mask(y, mask);
    }
    Ok(y)
}

/// The error of a layer that joins, with nothing to join.
pub(super) fn several(cx: &Context<'_>, inputs: &[Value<'_>]) -> crate::Error {
    cx.error(format!("expected at least two inputs, found {}; name them: inputs: [a, b]", inputs.len()))
}
