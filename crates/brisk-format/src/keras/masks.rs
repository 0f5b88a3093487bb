//! Masks: Keras 3 keeps the operations that compute them, Brisk lets them flow by itself.

use std::collections::HashSet;

use brisk_graph::{Builder, Role};
use brisk_nn::{Context, Model, ModelInput, ModelLayer, Source};
use serde_json::Value as Json;

use super::graph::{Call, Graph, Input, Layer, Tensor};
use super::operation::is_operation;

/// The name of the argument.
pub(super) const MASK: &str = "mask";
/// What Keras computes masks with.
const KNOWN: &[&str] =
    &["NotEqual", "Any", "LogicalOr", "LogicalAnd", "ExpandDims", "ZerosLike", "OnesLike", "Concatenate"];

/// The operations of a graph, by their numbers, whose results are read as masks alone; an error if they are not those that follow from the
/// graph's Embedding and Masking layers.
pub(super) fn operations(graph: &Graph) -> Result<HashSet<usize>, String> {
    let operations: HashSet<usize> =
        (0..graph.layers.len()).filter(|&i| is_operation(&graph.layers[i])).collect();
    if operations.is_empty() {
        return Ok(operations);
    }
    let read = |layer: &Layer, masks: bool| -> Vec<usize> {
        let tensors = |call: &Call| -> Vec<Tensor> {
            let named =
                call.named.iter().filter(|(key, _)| masks || key != MASK).flat_map(|(_, t)| t.clone());
            let positional =
                call.inputs.iter().filter_map(|i| if let Input::Tensor(t) = i { Some(*t) } else { None });
            positional.chain(named).collect()
        };
        layer.calls.iter().flat_map(tensors).map(|t| t.layer).collect()
    };
    let others = graph.layers.iter().enumerate().filter(|(i, _)| !operations.contains(i));
    let mut waiting: Vec<usize> = others.flat_map(|(_, layer)| read(layer, false)).collect();
    waiting.extend(graph.outputs.iter().map(|(_, t)| t.layer));
    let mut used = HashSet::new();
    while let Some(number) = waiting.pop() {
        if operations.contains(&number) && used.insert(number) {
            waiting.extend(graph.layers.get(number).map(|l| read(l, true)).unwrap_or_default());
        }
    }
    let masks: HashSet<usize> = operations.difference(&used).copied().collect();
    let masked = if masks.is_empty() { HashSet::new() } else { masked(graph) };
    for &number in &masks {
        let layer = &graph.layers[number];
        let known =
            KNOWN.contains(&layer.class.as_str()) && (layer.class != "NotEqual" || follows(&masked, layer));
        if !known {
            return Err(format!(
                "layer {:?} ({}): it computes a mask that does not follow from an Embedding with mask_zero or a Masking; use these for masks",
                layer.name, layer.class
            ));
        }
    }
    Ok(masks)
}

/// What the Embedding and Masking layers of a graph read, and the numbers that each masks, as bits.
fn masked(graph: &Graph) -> HashSet<(Tensor, u64)> {
    let number = |layer: &Layer| match layer.class.as_str() {
        "Embedding" if layer.config.get("mask_zero") == Some(&Json::Bool(true)) => Some(0.0),
        "Masking" => layer.config.get("mask_value").and_then(Json::as_f64),
        _ => None,
    };
    let mut found = HashSet::new();
    for layer in &graph.layers {
        let Some(number) = number(layer) else { continue };
        let inputs = layer.calls.iter().flat_map(|call| &call.inputs);
        found.extend(
            inputs.filter_map(|i| if let Input::Tensor(t) = i { Some((*t, bits(number))) } else { None }),
        );
    }
    found
}

/// The bits of a number; 0 has one sign.
fn bits(number: f64) -> u64 {
    (number + 0.0).to_bits()
}

/// Whether a comparison is that of an Embedding or Masking with the same input.
fn follows(masked: &HashSet<(Tensor, u64)>, compared: &Layer) -> bool {
    compared.calls.iter().all(|call| match call.inputs[..] {
        [Input::Tensor(t), Input::Number(n)] => masked.contains(&(t, bits(n))),
        _ => false,
    })
}

/// Where Keras has masks, by the names of layers.
#[derive(Default)]
pub(super) struct Expected {
    /// A mask goes into these.
    pub masked: Vec<String>,
    /// What comes out of these, which are operations in Keras, has none.
    pub operations: Vec<String>,
}

/// Layers whose results depend on a mask, and where Keras writes it down.
const READERS: &[&str] = &["LSTM", "GRU", "SimpleRNN", "Bidirectional", "GlobalAveragePooling1D"];

/// An error unless masks flow in Brisk as they do in Keras.
pub(super) fn check(model: &Model, expected: &Expected) -> Result<(), String> {
    // As for the model itself, a length that fits is looked for.
    let Some((into, out_of)) = [64, 16, 4].into_iter().find_map(|length| flow(model, length).ok()) else {
        return Ok(());
    };
    let readers = model.layers().iter().filter(|l| READERS.contains(&l.layer.kind()));
    let readers: HashSet<&str> = readers.map(|l| l.name.as_str()).collect();
    let is_lost = |name: &&String| readers.contains(name.as_str()) && !into.contains(name.as_str());
    let lost = expected.masked.iter().filter(is_lost);
    let kept = expected.operations.iter().filter(|n| out_of.contains(n.as_str()));
    let lists = [
        (
            lost.collect::<Vec<_>>(),
            "a mask reaches them in Keras, but a layer before does not hand the mask on in Brisk; change the order of layers",
        ),
        (
            kept.collect(),
            "operations of keras.ops lose the mask, layers keep it; use layers such as Add in their place",
        ),
    ];
    match lists.into_iter().find(|l| !l.0.is_empty()) {
        None => Ok(()),
        Some((names, what)) => Err(format!("layers {}: {what}", crate::error::listed(&names))),
    }
}

/// The layers that a mask goes into, and those that one comes out of.
fn flow(model: &Model, length: usize) -> brisk_nn::Result<(HashSet<&str>, HashSet<&str>)> {
    let builder = Builder::new();
    let mut cx = Context::new(&builder);
    let example = |input: &ModelInput| {
        let sizes = input.shape.iter().map(|d| d.unwrap_or(length));
        builder.input(
            &input.name,
            Role::Batch,
            std::iter::once(1).chain(sizes).collect::<Vec<_>>(),
            input.layer_dtype(),
        )
    };
    let inputs: Vec<_> = model.inputs().iter().map(example).collect();
    let values = model.record(&mut cx, &inputs)?;
    let has = |number: usize| values.get(number).is_some_and(|value| cx.mask(*value).is_some());
    let first = |layer: &ModelLayer| matches!(layer.inputs.first(), Some(Source::Layer(i)) if has(*i));
    let into = model.layers().iter().filter(|l| first(l)).map(|l| l.name.as_str()).collect();
    let out_of =
        model.layers().iter().enumerate().filter(|(i, _)| has(*i)).map(|(_, l)| l.name.as_str()).collect();
    Ok((into, out_of))
}
