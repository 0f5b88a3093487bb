//! AttentionPooling: several vectors to one, by learned weights.

use brisk_graph::{Value, op};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Layer, sample};
use crate::{Context, Initializer, Result};

/// `y = sum over i of a_i x_i` with `a = softmax over i of (x_i . query)` and a learned query (Yang and others, 2016): the inputs
/// are vectors `[n, size]` of one size, or one input `[n, count, size]`; `[n, size]` comes out.
///
/// ```
/// use brisk_nn::{AttentionPooling, Dense, LayerSpec, Sequential};
/// let model = Sequential::new([8])
///     .add(LayerSpec::new(Dense::new(4)).name("a"))
///     .add(LayerSpec::new(Dense::new(4)).name("b").inputs(["input"]))
///     .add(LayerSpec::new(AttentionPooling {}).inputs(["a", "b"]))
///     .build()?;
/// assert_eq!(model.output_shape().dims(), [4]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttentionPooling {}

impl Layer for AttentionPooling {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let Some(first) = inputs.first() else { return Err(cx.error("takes at least one input, found none")) };
        if let Some(other) = inputs.iter().find(|x| x.shape() != first.shape()) {
            let message = format!(
                "expected inputs of one size, found {} and {}; put a Dense before one of them",
                sample(*first),
                sample(*other)
            );
            return Err(cx.error(message));
        }
        let x = match (inputs, first.rank()) {
            ([x], 3) => *x,
            (_, 2) => cx.builder().concat(&inputs.iter().map(|x| x.expand(1)).collect::<Vec<_>>(), 1),
            _ => return Err(cx.error(format!("expected vectors, found {}", sample(*first)))),
        };
        let query = cx.param("query", [x.last()], &Initializer::GlorotUniform)?;
        let weights = op::softmax((x * query).sum(&[2])); // [n, count]
        Ok((x * weights.expand(2)).sum(&[1]))
    }
}
