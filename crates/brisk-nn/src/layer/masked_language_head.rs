//! MaskedLanguageHead: from the vectors of tokens to scores for every token that is known.

use brisk_graph::{Prim, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Dense, Layer, LayerNormalization};
use crate::{Activation, Context, Initializer, Result};

/// `norm(activation(x dense)) words^T + bias`: the head that encoders of BERT's kind are pretrained with (Devlin and others, 2018).
/// `words` is the encoder's own table of tokens, `[vocab_size, size]`.
///
/// `[tokens, hidden_size]` to `[tokens, vocab_size]`. Parameters: `dense.{kernel,bias}`, `norm.{gamma,beta}`, `bias`.
///
/// ```
/// use brisk_nn::{LayerSpec, MaskedLanguageHead, Model, ModelInput, zoo};
/// let layers = vec![
///     LayerSpec::new(zoo::text_encoder("transformer-encoder", 1000)?).name("encoder").inputs(["text"]),
///     LayerSpec::new(MaskedLanguageHead::default()).name("mlm"),
/// ];
/// let model = Model::new(ModelInput::packed_text("text"), layers, &[])?;
/// assert_eq!(model.output_sizes(), [[Some(1000)]]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MaskedLanguageHead {
    /// The name of the encoder whose table of tokens is used.
    pub encoder: String,
    /// Between the dense layer and the norm.
    pub activation: Activation,
    /// Added to variances.
    pub epsilon: f64,
}

impl Default for MaskedLanguageHead {
    fn default() -> MaskedLanguageHead {
        let activation = Activation::Gelu { approximate: false };
        MaskedLanguageHead { encoder: "encoder".into(), activation, epsilon: 1e-12 }
    }
}

impl Layer for MaskedLanguageHead {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let path = format!("{}.embeddings.word", self.encoder);
        let Some(words) = cx.params().iter().find(|p| p.0.name == path).map(|p| p.1) else {
            return Err(cx.error(format!(
                "there is no {path} before it; name the TextEncoder in `encoder`, and put it before"
            )));
        };
        let dense = Dense::new(words.last()).activation(self.activation);
        let dense = dense.kernel_initializer(Initializer::TruncatedNormal { mean: 0.0, stddev: 0.02 });
        let y = cx.layer("dense", &dense, &[x])?;
        let y = cx.layer("norm", &LayerNormalization::new().epsilon(self.epsilon), &[y])?;
        let scores = cx.builder().prim(Prim::MatMul { ta: false, tb: true }, &[y, words]);
        Ok(scores + cx.param("bias", [words.dim(0)], &Initializer::Zeros)?)
    }
}
