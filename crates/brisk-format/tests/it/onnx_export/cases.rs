//! Models to be exported, and what they are asked.

use brisk_graph::{DType, Tensor};
use brisk_nn::prelude::*;
use brisk_nn::{LayerConfig, LayerSpec, ModelInput, Rows, TextEncoder, zoo};
use brisk_testkit::{Golden, goldens};
use serde_json::{Value as Json, json};

use super::{Case, alike, batch, saved, texts};

/// The layer of a golden. Activations carry their own argument beside their name.
fn layer(kind: &str, config: &Json) -> LayerConfig {
    let mut config = config.clone();
    if kind == "Activation" {
        let mut own = config.as_object().unwrap().clone();
        let name = own.remove("activation").unwrap();
        config =
            json!({"activation": if own.is_empty() { name } else { json!({name.as_str().unwrap(): own}) }});
    }
    serde_json::from_value::<LayerSpec>(json!({ kind: config })).unwrap().layer
}

/// Inputs as a golden has them; with `free`, sequences have any length.
fn inputs(case: &Golden, free: bool) -> Vec<ModelInput> {
    let own = case.tensors().filter(|(role, _)| *role == "input" || role.starts_with("input_"));
    let input = |(role, tensor): (&str, &Tensor)| {
        let mut shape: Vec<Option<usize>> = tensor.shape()[1..].iter().map(|&d| Some(d)).collect();
        if free {
            shape[0] = None;
        }
        ModelInput::new(role, shape).dtype(tensor.dtype())
    };
    own.map(input).collect()
}

/// The layer of a golden by itself.
fn alone(case: &Golden, inputs: &[ModelInput]) -> brisk_nn::Result<Model> {
    let names: Vec<String> = inputs.iter().map(|i| i.name.clone()).collect();
    let layer = LayerSpec::new(layer(case.text("layer"), &case.about["config"])).name("layer").inputs(names);
    Model::new(inputs.to_vec(), vec![layer], &[])
}

/// Every layer that has a golden, and those that need none, with their kinds.
pub fn layers() -> Vec<(String, Case)> {
    let case = |golden: Golden| {
        let inputs = inputs(&golden, false);
        let saved = saved(alone(&golden, &inputs).unwrap(), Loss::MeanSquaredError);
        let batches = [1, 5].map(|rows| batch(&inputs, rows, 0, 5));
        (golden.text("layer").to_string(), alike(&golden.name, saved, batches))
    };
    let mut all: Vec<_> = goldens("layers").into_iter().map(case).collect();
    let inputs = [ModelInput::new("a", [6]), ModelInput::new("b", [6])];
    let others = vec![
        LayerSpec::new(Dropout::new(0.5)).inputs(["a"]),
        LayerSpec::new(AttentionPooling {}).inputs(["dropout", "b"]),
    ];
    let kinds: Vec<String> = others.iter().map(|l| l.layer.kind().to_string()).collect();
    let model = Model::new(inputs.to_vec(), others, &[]).unwrap();
    for kind in kinds {
        let saved = saved(model.clone(), Loss::MeanSquaredError);
        all.push((kind, alike("others", saved, [1, 5].map(|rows| batch(&inputs, rows, 0, 5)))));
    }
    all
}

/// A table that is no longer, and a layer that wants the length fixed.
const FIXED: [&str; 2] = ["position_embedding", "flatten"];

/// Every layer that takes sequences, with a free length.
pub fn sequences() -> Vec<Case> {
    let case = |golden: Golden| {
        let inputs = inputs(&golden, true);
        let sequence = |i: &ModelInput| i.shape.len() == 2 || (i.dtype == DType::I32 && i.shape.len() == 1);
        let fits = inputs.iter().all(sequence) && !FIXED.contains(&&*golden.name);
        let saved = saved(alone(&golden, &inputs).ok().filter(|_| fits)?, Loss::MeanSquaredError);
        let batches = [(1, 7), (3, 12)].map(|(rows, length)| batch(&inputs, rows, length, 5));
        Some(alike(&golden.name, saved, batches))
    };
    goldens("layers").into_iter().filter_map(case).collect()
}

const MASKED: [&str; 8] = [
    "LSTM",
    "GRU",
    "SimpleRNN",
    "Bidirectional",
    "MultiHeadAttention",
    "GlobalAveragePooling1D",
    "TransformerEncoder",
    "TransformerDecoder",
];

/// Every layer that heeds masks, behind one that makes them.
pub fn masked() -> Vec<Case> {
    let case = |golden: Golden| {
        let inputs = inputs(&golden, true);
        let kind = golden.text("layer");
        (MASKED.contains(&kind) && inputs.len() == 1).then_some(())?;
        let layers = vec![LayerSpec::new(Masking::new(0.0)), layer(kind, &golden.about["config"]).into()];
        let saved = saved(Model::new(inputs.clone(), layers, &[]).unwrap(), Loss::MeanSquaredError);
        let features = inputs[0].shape[1].unwrap();
        let batches = [(4, 6), (5, 9)].map(|(rows, length)| {
            let (name, tensor) = batch(&inputs, rows, length, 5).remove(0);
            let gone = |row: usize, step: usize| {
                row == 0 || (row == 1 && step > 3) || (row == 2 && step.is_multiple_of(3))
            };
            let values = tensor.to_f64s().into_iter().enumerate();
            let values =
                values.map(|(i, v)| if gone(i / features / length, i / features % length) { 0.0 } else { v });
            vec![(name, Tensor::from_f64s(DType::F32, tensor.shape(), &values.collect::<Vec<_>>()).unwrap())]
        });
        Some(alike(&golden.name, saved, batches))
    };
    goldens("layers").into_iter().filter_map(case).collect()
}

/// A ready-made model: as deep, but not as wide, and nothing is dropped.
pub fn narrow(preset: &zoo::Preset) -> Model {
    let model = (preset.build)(preset.input_shape.into(), 10).unwrap();
    let mut specs = model.specs();
    for spec in &mut specs {
        match &mut spec.layer {
            LayerConfig::TextEncoder(own) => {
                let narrow = TextEncoder {
                    hidden_size: 24,
                    intermediate_size: 20,
                    dropout: 0.0,
                    attention_dropout: 0.0,
                    ..texts::encoder()
                };
                *own = TextEncoder { num_layers: own.num_layers, num_heads: own.num_heads, ..narrow };
            }
            LayerConfig::Embedding(own) => own.input_dim = 30,
            LayerConfig::Dropout(own) => own.rate = 0.0,
            LayerConfig::Dense(own) if spec.name.as_deref() == Some("pooler") => own.units = 24,
            _ => {}
        }
    }
    Model::new(model.inputs().to_vec(), specs, &[]).unwrap()
}

/// Every ready-made model.
pub fn presets() -> Vec<Case> {
    let case = |preset: &zoo::Preset| {
        let model = narrow(preset);
        let inputs = model.inputs().to_vec();
        let saved = saved(model, Loss::sparse_categorical_crossentropy());
        match inputs[0].rows {
            Rows::Tokens => texts::case(preset.name, saved, true),
            _ => alike(preset.name, saved, [1, 3].map(|rows| batch(&inputs, rows, 0, 30))),
        }
    };
    zoo::PRESETS.iter().map(case).collect()
}
