//! Arithmetic on results of layers, which Keras keeps as operations between them.

use brisk_nn::{LayerSpec, Rescaling};
use serde_json::json;

use super::args::snake;
use super::graph::{Call, Input, Layer};

/// Whether an entry is a function of `keras.ops` rather than a layer.
pub(super) fn is_operation(layer: &Layer) -> bool {
    // Old files do not say where a class is; no layer takes a number beside a tensor.
    let takes_number = |call: &Call| call.inputs.iter().any(|i| matches!(i, Input::Number(_)));
    layer.module.contains(".ops.") || layer.module.ends_with(".ops") || layer.calls.iter().any(takes_number)
}

/// An operation of arithmetic as a layer: of two tensors, or of a tensor and a number.
pub(super) fn operation(layer: &Layer, inputs: usize, numbers: &[(usize, f64)]) -> Result<LayerSpec, String> {
    let class = layer.class.as_str();
    let unknown = || {
        format!(
            "Brisk has no operation {class}; use a layer in its place, such as Add, Multiply, Rescaling or Activation"
        )
    };
    match (inputs, numbers) {
        (1, []) => {
            let name = match class {
                "Exp" => "exponential".to_string(),
                "Relu" | "Relu6" | "Sigmoid" | "Tanh" | "Silu" | "Softplus" | "Softsign" | "Selu"
                | "HardSigmoid" | "HardSilu" => snake(class),
                _ => return Err(unknown()),
            };
            serde_json::from_value(json!({"Activation": {"activation": name}})).map_err(|e| e.to_string())
        }
        (2, []) => {
            let kind = match class {
                "Add" | "Multiply" | "Subtract" | "Maximum" | "Minimum" => class,
                _ => return Err(unknown()),
            };
            serde_json::from_value(json!(kind)).map_err(|e| e.to_string())
        }
        (1, &[(place, n)]) => {
            let (scale, offset) = match (class, place) {
                ("Add", _) => (1.0, n),
                ("Multiply", _) => (n, 0.0),
                ("Subtract", 1) => (1.0, -n),
                ("Subtract", _) => (-1.0, n),
                ("Divide" | "TrueDivide", 1) if n != 0.0 => (1.0 / n, 0.0),
                _ => return Err(unknown()),
            };
            Ok(Rescaling::new(vec![scale]).offset(vec![offset]).into())
        }
        _ => Err(unknown()),
    }
}
