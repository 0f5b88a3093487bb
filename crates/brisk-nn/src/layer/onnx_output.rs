//! OnnxOutput: another output of a graph from elsewhere than its first.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use crate::{Context, Result};

/// The output of a name of the [`Onnx`](super::Onnx) graph that its input is the first output of.
///
/// ```
/// use brisk_nn::{LayerSpec, OnnxOutput};
/// let layer = LayerSpec::new(OnnxOutput::new("boxes")).inputs(["onnx"]);
/// assert_eq!(serde_json::to_string(&layer)?, r#"{"OnnxOutput":{"inputs":["onnx"],"output":"boxes"}}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnnxOutput {
    /// The output's name in the graph.
    pub output: String,
}

impl OnnxOutput {
    /// Of a name.
    pub fn new(output: impl Into<String>) -> OnnxOutput {
        OnnxOutput { output: output.into() }
    }
}

impl Layer for OnnxOutput {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        let Some(results) = cx.results_of(x) else {
            return Err(cx.error("its input is no Onnx layer; name one in its `inputs`"));
        };
        match results.get(&self.output) {
            Some(value) => Ok(*value),
            None => {
                let known: Vec<&str> = results.keys().map(String::as_str).collect();
                Err(cx.error(crate::config::unknown("output", &self.output, &known)))
            }
        }
    }
}
