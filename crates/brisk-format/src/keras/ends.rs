//! What goes into a model, and what comes out of it and is trained for.

use std::collections::{HashMap, HashSet};

use brisk_graph::DType;
use brisk_nn::{
    Activation, ActivationLayer, INPUT, LayerConfig, LayerSpec, Metric, ModelInput, TaskOutput, Y,
};
use serde_json::Value as Json;

use super::args::brief;
use super::compile::{self, Named};
use super::flatten::Flat;
use super::graph::{Graph, Layer};
use super::report::KerasReport;

/// What comes into the model.
pub(super) fn inputs(graph: &Graph) -> Result<Vec<ModelInput>, String> {
    let mut taken = HashSet::new();
    let mut all = Vec::new();
    for &number in &graph.inputs {
        let Some(layer) = graph.layers.get(number) else {
            return Err("an input is not among the layers".into());
        };
        let sound = |c: char| if c.is_control() || c.is_whitespace() || c == '.' { '_' } else { c };
        let mut name: String = layer.name.chars().map(sound).collect();
        if graph.inputs.len() == 1 {
            name = INPUT.into();
        }
        if name.is_empty() || !taken.insert(name.clone()) {
            return Err(format!(
                "two inputs are called {name:?}, or one has no name; expected names that differ"
            ));
        }
        all.push(input(layer, name).map_err(|e| format!("input {:?}: {e}", layer.name))?);
    }
    Ok(all)
}

fn input(layer: &Layer, name: String) -> Result<ModelInput, String> {
    if layer.class != "InputLayer" {
        return Err(format!("expected an InputLayer, found {}", layer.class));
    }
    for key in ["sparse", "ragged"] {
        if layer.config.get(key) == Some(&Json::Bool(true)) {
            return Err(format!("{key} inputs are not supported; use a dense one, padded"));
        }
    }
    let shape =
        layer.config.get("batch_shape").or(layer.config.get("batch_input_shape")).and_then(Json::as_array);
    let Some([_, sizes @ ..]) = shape.map(Vec::as_slice) else {
        return Err("expected its batch_shape, found none".into());
    };
    let size = |json: &Json| match json {
        Json::Null => Ok(None),
        other => match other.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => Err(format!("expected sizes in its batch_shape, found {}", brief(other))),
        },
    };
    let sizes: Vec<Option<usize>> = sizes.iter().map(size).collect::<Result<_, _>>()?;
    let dtype = match layer.config.get("dtype").and_then(Json::as_str).unwrap_or("float32") {
        "float32" | "float16" | "bfloat16" | "float64" => DType::F32,
        "int8" | "int16" | "int32" | "int64" | "uint16" | "uint32" => DType::I32,
        "uint8" | "bool" => DType::U8,
        other => {
            return Err(format!("expected numbers, found {other}; turn text into numbers before the model"));
        }
    };
    Ok(ModelInput::new(name, sizes).dtype(dtype))
}

/// What only Embeddings read are numbers of tokens.
pub(super) fn tokens(inputs: &mut [ModelInput], layers: &[LayerSpec]) {
    let mut readers: HashMap<&str, bool> = HashMap::new();
    for layer in layers {
        let is_embedding = matches!(layer.layer, LayerConfig::Embedding(_));
        layer.inputs.iter().for_each(|i| *readers.entry(i).or_insert(true) &= is_embedding);
    }
    for input in inputs {
        if readers.get(input.name.as_str()) == Some(&true) {
            input.dtype = DType::I32;
        }
    }
}

/// What each output is for; takes the last activation off outputs whose losses have it in them.
pub(super) fn outputs(
    graph: &Graph,
    flat: &mut Flat,
    ends: &[String],
    training: Option<&Json>,
    report: &mut KerasReport,
) -> Vec<TaskOutput> {
    let ignored = &mut report.ignored;
    let layer = |number: usize| graph.layers.get(number).map_or("", |l| l.name.as_str());
    let names: Vec<Named<'_>> =
        graph.outputs.iter().map(|(key, t)| Named { key: key.as_deref(), layer: layer(t.layer) }).collect();
    let setting = |key: &str| training.and_then(|t| t.get(key));
    let places: HashMap<String, usize> =
        flat.layers.iter().enumerate().filter_map(|(i, l)| Some((l.name.clone()?, i))).collect();
    let (mut outputs, mut inside_of_losses) = (Vec::new(), Vec::new());
    for (i, end) in ends.iter().enumerate() {
        let given = compile::of_output(setting("loss"), &names, i);
        let place = places.get(end).copied();
        let last = place.and_then(|p| activation(&mut flat.layers[p].layer).copied());
        let given = given.map(|json| compile::loss(json, ignored)).transpose();
        let settled = given.and_then(|given| compile::settle(given, last));
        let (loss, inside) = settled.unwrap_or_else(|message| {
            ignored.push(format!(
                "output {end:?}: {message}; without another loss it is trained with mean_squared_error"
            ));
            (brisk_nn::Loss::MeanSquaredError, false)
        });
        inside_of_losses.extend(place.filter(|_| inside));
        if loss.is_classification() && !inside {
            report.logits.push(end.clone());
        }
        let metrics = compile::of_output(setting("metrics"), &names, i);
        let metrics = match training {
            Some(_) => compile::metrics(metrics, &loss, ignored),
            None => Metric::of(&loss),
        };
        let name =
            if ends.len() == 1 { Y.into() } else { names[i].key.unwrap_or(names[i].layer).to_string() };
        let weight =
            compile::of_output(setting("loss_weights"), &names, i).and_then(Json::as_f64).unwrap_or(1.0);
        outputs.push(TaskOutput { name, loss, metrics, weight });
    }
    take_off(flat, &inside_of_losses);
    outputs
}

/// What a layer's result goes through at last.
fn activation(layer: &mut LayerConfig) -> Option<&mut Activation> {
    match layer {
        LayerConfig::Dense(l) => Some(&mut l.activation),
        LayerConfig::Conv1D(l) => Some(&mut l.activation),
        LayerConfig::Conv2D(l) => Some(&mut l.activation),
        LayerConfig::Conv2DTranspose(l) => Some(&mut l.activation),
        LayerConfig::ActivationLayer(l) => Some(&mut l.activation),
        LayerConfig::TimeDistributed(l) => activation(&mut l.layer.layer),
        _ => None,
    }
}

/// Takes the last activations off layers; others that read their results read them from layers of their own.
fn take_off(flat: &mut Flat, places: &[usize]) {
    let read: HashSet<String> = flat.layers.iter().flat_map(|l| &l.inputs).cloned().collect();
    let mut alone: HashMap<String, (String, LayerSpec)> = HashMap::new();
    for &place in places {
        let Some(own) = activation(&mut flat.layers[place].layer) else { continue };
        let taken = std::mem::take(own);
        let Some(name) = flat.layers[place].name.clone().filter(|name| read.contains(name)) else { continue };
        let other = flat.free(&format!("{name}_activation"));
        let spec = LayerSpec::new(ActivationLayer::new(taken)).name(&other).inputs([&name]);
        alone.insert(name, (other, spec));
    }
    for input in flat.layers.iter_mut().flat_map(|l| &mut l.inputs) {
        if let Some((other, _)) = alone.get(input) {
            input.clone_from(other);
        }
    }
    let behind = |layer: LayerSpec| {
        let spec = layer.name.as_ref().and_then(|name| alone.remove(name)).map(|(_, spec)| spec);
        std::iter::once(layer).chain(spec)
    };
    flat.layers = std::mem::take(&mut flat.layers).into_iter().flat_map(behind).collect();
}
