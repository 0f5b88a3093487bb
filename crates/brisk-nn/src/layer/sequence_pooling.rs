//! SequencePooling: the vectors of a text's tokens to one vector.

use brisk_graph::{DType, Value, op, rows_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use crate::{Context, Result};

/// One vector a text, from packed tokens `[tokens, size]` and segments i32 `[texts, 2]`: `[texts, size]`.
///
/// ```
/// use brisk_nn::{Pooling, SequencePooling};
/// let layer = SequencePooling { mode: Pooling::Mean, normalize: true };
/// assert_eq!(serde_json::to_string(&layer)?, r#"{"mode":"mean","normalize":true}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SequencePooling {
    /// Which vector.
    pub mode: Pooling,
    /// Whether it is scaled to length 1, so that the product of two vectors is their cosine.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub normalize: bool,
}

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The first token's, which stands for the whole text in models of BERT's kind.
    #[default]
    Cls,
    /// The mean over the tokens.
    Mean,
    /// The largest of each place.
    Max,
}

impl Layer for SequencePooling {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let &[x, segments] = inputs else {
            let message = format!("takes the vectors of tokens, and segments, found {} inputs", inputs.len());
            return Err(cx.error(message));
        };
        if x.rank() != 2 || segments.rank() != 2 || segments.last() != 2 || segments.dtype() != DType::I32 {
            return Err(cx.error(format!(
                "expected vectors [tokens, size] and segments i32 [texts, 2], found {} and {} {}",
                x.shape(),
                segments.dtype(),
                segments.shape()
            )));
        }
        let y = match self.mode {
            Pooling::Cls => rows_of(x, segments.slice(1, 0, 1).reshape([segments.dim(0)])),
            Pooling::Mean => op::segment_mean(x, segments),
            Pooling::Max => op::segment_max(x, segments),
        };
        Ok(match self.normalize {
            true => y * ((y * y).sum(&[1]).max(1e-24).rsqrt()).expand(1),
            false => y,
        })
    }
}
