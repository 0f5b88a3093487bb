//! TextEncoder: the encoder of BERT and its relatives, over packed tokens.

use brisk_graph::op::{self, AttentionSpec};
use brisk_graph::{DType, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Dense, Dropout, Layer, LayerNormalization, check_sizes};
use crate::{Activation, Context, Initializer, Result};

/// The most layers.
const MOST_LAYERS: usize = 4096;

/// Embeddings and a stack of Transformer layers (Devlin and others, 2018; post-norm), over packed tokens.
///
/// Inputs: token numbers, positions (from 0 in each text) and types, i32 `[tokens]` each, and segments i32
/// `[texts, 2]` (start, length), in order and without overlap. The result is `[tokens, hidden_size]`; rows of no text are to
/// be ignored.
///
/// Parameters, with kernels as `[in, out]`: `embeddings.{word,position,type}`, `embeddings.norm.{gamma,beta}`,
/// `embeddings.projection.{kernel,bias}` (only if `embedding_size` is given and differs), and for each layer `i`
/// `layer_{i}.attention.{query,key,value,output}.{kernel,bias}`, `layer_{i}.attention.norm.{gamma,beta}`,
/// `layer_{i}.feed_forward.{inner,outer}.{kernel,bias}`, `layer_{i}.norm.{gamma,beta}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextEncoder {
    /// Number of tokens that are known.
    pub vocab_size: usize,
    /// Size of a token's vector.
    pub hidden_size: usize,
    /// Number of Transformer layers.
    pub num_layers: usize,
    /// Attention heads; they share `hidden_size`.
    pub num_heads: usize,
    /// Size of the feed-forward part's inner vectors.
    pub intermediate_size: usize,
    /// Rows of the table of positions. Texts may have so many tokens, less `position_offset`.
    pub max_positions: usize,
    /// Rows of the table of types; 0 for no such table (DistilBERT).
    #[serde(default)]
    pub type_vocab_size: usize,
    /// Size of the embeddings, where it is not `hidden_size` (ELECTRA); a projection follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_size: Option<usize>,
    /// The row of the table of positions for the first token (RoBERTa: 2).
    #[serde(default)]
    pub position_offset: usize,
    /// Between the two products of the feed-forward part.
    #[serde(default = "gelu")]
    pub activation: Activation,
    /// Added to variances.
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    /// Share of values that training drops after the embeddings, attentions and feed-forward parts.
    #[serde(default = "tenth")]
    pub dropout: f64,
    /// Share of attention weights that training drops.
    #[serde(default = "tenth")]
    pub attention_dropout: f64,
    /// Standard deviation of the starting weights.
    #[serde(default = "initializer_range")]
    pub initializer_range: f64,
}

fn gelu() -> Activation {
    Activation::Gelu { approximate: false }
}
fn epsilon() -> f64 {
    1e-12
}
fn tenth() -> f64 {
    0.1
}
fn initializer_range() -> f64 {
    0.02
}

/// BERT's base model (Devlin and others, 2018) without a vocabulary.
impl Default for TextEncoder {
    fn default() -> TextEncoder {
        TextEncoder {
            vocab_size: 0,
            hidden_size: 768,
            num_layers: 12,
            num_heads: 12,
            intermediate_size: 3072,
            max_positions: 512,
            type_vocab_size: 2,
            embedding_size: None,
            position_offset: 0,
            activation: gelu(),
            epsilon: epsilon(),
            dropout: tenth(),
            attention_dropout: tenth(),
            initializer_range: initializer_range(),
        }
    }
}

impl TextEncoder {
    fn normal(&self) -> Initializer {
        Initializer::TruncatedNormal { mean: 0.0, stddev: self.initializer_range }
    }

    fn dense(&self, units: usize) -> Dense {
        Dense::new(units).kernel_initializer(self.normal())
    }

    fn norm(&self) -> LayerNormalization {
        LayerNormalization::new().epsilon(self.epsilon)
    }

    fn check(&self, cx: &Context<'_>) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_heads", self.num_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_positions", self.max_positions),
            ("embedding_size", self.embedding_size.unwrap_or(1)),
        ];
        check_sizes(cx, &sizes)?;
        if !self.hidden_size.is_multiple_of(self.num_heads) {
            return Err(cx.error(format!(
                "expected a hidden_size that {} heads can share, found {}",
                self.num_heads, self.hidden_size
            )));
        }
        if self.num_layers > MOST_LAYERS {
            return Err(cx.error(format!("expected at most {MOST_LAYERS} num_layers, found {}", self.num_layers)));
        }
        match [self.dropout, self.attention_dropout].iter().find(|r| !(0.0..1.0).contains(*r)) {
            Some(rate) => Err(cx.error(format!("expected dropout from 0 to below 1, found {rate}"))),
            None => Ok(()),
        }
    }

    /// The sum of a token's embeddings, normalized: `[tokens, hidden_size]`.
    fn embed<'g>(
        &self,
        cx: &mut Context<'g>,
        ids: Value<'g>,
        positions: Value<'g>,
        types: Value<'g>,
    ) -> Result<Value<'g>> {
        let size = self.embedding_size.unwrap_or(self.hidden_size);
        let positions = positions + self.position_offset as f64;
        let mut x = cx.param("word", [self.vocab_size, size], &self.normal())?.take(ids);
        x = x + cx.param("position", [self.max_positions, size], &self.normal())?.take(positions);
        if self.type_vocab_size > 0 {
            x = x + cx.param("type", [self.type_vocab_size, size], &self.normal())?.take(types);
        }
        x = cx.layer("norm", &self.norm(), &[x])?;
        x = cx.layer("dropout", &Dropout::new(self.dropout), &[x])?;
        if size != self.hidden_size {
            x = cx.layer("projection", &self.dense(self.hidden_size), &[x])?;
        }
        Ok(x)
    }

    /// One Transformer layer: `[tokens, hidden_size]` to the same.
    fn transform<'g>(&self, cx: &mut Context<'g>, x: Value<'g>, segments: Value<'g>) -> Result<Value<'g>> {
        let (hidden, dropout) = (self.hidden_size, Dropout::new(self.dropout));
        let x = cx.scope("attention", |cx| {
            let q = cx.layer("query", &self.dense(hidden), &[x])?;
            let k = cx.layer("key", &self.dense(hidden), &[x])?;
            let v = cx.layer("value", &self.dense(hidden), &[x])?;
            let spec = AttentionSpec { dropout: self.attention_dropout, ..AttentionSpec::new(self.num_heads) };
            let y = op::attention(q, k, v, [segments, segments], None, cx.key(), spec);
            let y = cx.layer("output", &self.dense(hidden), &[y])?;
            let y = cx.layer("dropout", &dropout, &[y])?;
            cx.layer("norm", &self.norm(), &[x + y])
        })?;
        let y = cx.scope("feed_forward", |cx| {
            let inner = self.dense(self.intermediate_size).activation(self.activation);
            let y = cx.layer("inner", &inner, &[x])?;
            let y = cx.layer("outer", &self.dense(hidden), &[y])?;
            cx.layer("dropout", &dropout, &[y])
        })?;
        cx.layer("norm", &self.norm(), &[x + y])
    }
}

impl Layer for TextEncoder {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        self.check(cx)?;
        let &[ids, positions, types, segments] = inputs else {
            let message = format!("takes token ids, positions, types and segments, found {} inputs", inputs.len());
            return Err(cx.error(message));
        };
        let tokens = ids.shape();
        for (what, value) in [("ids", ids), ("positions", positions), ("types", types)] {
            if value.rank() != 1 || value.shape() != tokens || value.dtype() != DType::I32 {
                let found = format!("{} {}", value.dtype(), value.shape());
                return Err(cx.error(format!("expected {what} i32 {tokens} with one axis of tokens, found {found}")));
            }
        }
        let mut x = cx.scope("embeddings", |cx| self.embed(cx, ids, positions, types))?;
        for i in 0..self.num_layers {
            x = cx.scope(&format!("layer_{i}"), |cx| cx.checkpoint(|cx| self.transform(cx, x, segments)))?;
        }
        Ok(x)
    }
}
