//! From a file of Keras to a model of Brisk.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use brisk_graph::{DType, Shape, Tensor};
use brisk_nn::{
    Activation, ActivationLayer, INPUT, LayerConfig, LayerSpec, Metric, Model, ModelInput, Optimizer,
    ParamSpec, Task, TaskOutput, Y,
};
use brisk_runtime::State;
use serde_json::Value as Json;

use super::archive::Archive;
use super::args::brief;
use super::compile::{self, Named};
use super::flatten::Flat;
use super::graph::{Graph, Layer, parse};
use super::hdf5::Hdf5;
use super::region::Region;
use super::report::KerasReport;
use super::weights;
use crate::error::listed;
use crate::hashed::open_file;
use crate::{Error, Result, SavedModel, TensorProblem};

/// A model of Keras as a model of Brisk.
#[derive(Clone, Debug, PartialEq)]
pub struct KerasModel {
    /// The model, its weights, and what its outputs were trained for.
    pub saved: SavedModel,
    /// What it was trained with, if the file says so and Brisk has it.
    pub training: Option<KerasTraining>,
    /// What was read, and what of it is not followed.
    pub report: KerasReport,
}

/// What a model of Keras was trained with.
#[derive(Clone, Debug, PartialEq)]
pub struct KerasTraining {
    /// The optimizer with its numbers.
    pub optimizer: Optimizer,
    /// How many steps it has taken.
    pub steps: u64,
    /// What it remembers, as `optimizer/PARAMETER/SLOT`; empty if the file does not hold it.
    pub slots: State,
}

pub(super) const CONFIG: &str = "config.json";
pub(super) const METADATA: &str = "metadata.json";
pub(super) const WEIGHTS: &str = "model.weights.h5";
/// Where the names of classes are kept in the metadata, which Keras passes over.
pub(super) const LABELS: &str = "brisk_labels";

/// Reads a `.keras` file, or a whole-model `.h5` file, of Keras 3 or 2: Sequential and Functional models, models inside of models,
/// layers that are used several times.
///
/// An output that ends with softmax or sigmoid under a loss of probabilities ends without it in Brisk, whose losses take logits; what the
/// model says stays the same. No code of a file is run: a Lambda is an error, as is each layer that Brisk does not have, all named at once.
///
/// ```
/// use brisk_format::{SavedModel, load_keras, save_keras};
/// use brisk_nn::prelude::*;
/// let model = Sequential::new([4]).add(Dense::new(3)).build()?;
/// let task = Task::new(model, Loss::sparse_categorical_crossentropy());
/// let saved = SavedModel::new(&task, &task.model.init_state(1)?);
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("model.keras");
/// save_keras(&path, &saved, None)?;
/// let read = load_keras(&path)?;
/// assert_eq!(read.saved.state, saved.state);
/// assert_eq!(read.saved.outputs[0].loss, Loss::sparse_categorical_crossentropy());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn load_keras(path: &Path) -> Result<KerasModel> {
    let (mut file, length) = open_file(path, "a model of Keras (.keras or .h5)")?;
    let mut start = [0; 8];
    let read = std::io::Read::read(&mut file, &mut start).map_err(Error::read(path))?;
    let fail = |message: String| Error::content(path, message);
    if start[..read.min(8)] == *b"\x89HDF\r\n\x1a\n" {
        let weights = Hdf5::open(Region::new(file, 0, length), length).map_err(fail)?;
        let text = |attribute: &str| weights.text("", attribute).map_err(fail);
        let config = text("model_config")?.ok_or_else(|| {
            fail("it holds weights without a model; expected a whole model: save it with model.save, not save_weights".into())
        })?;
        let training = text("training_config")?;
        let version = text("keras_version")?.unwrap_or_default();
        let config = json(path, "model_config", &config)?;
        let training = training.map(|t| json(path, "training_config", &t)).transpose()?;
        return import(&config, training.as_ref(), &version, &weights).map_err(|e| e.at(path));
    }
    if !start.starts_with(b"PK") {
        return Err(fail("its first bytes are of neither a zip archive nor an HDF5 file; expected a model that Keras saved as .keras or .h5".into()));
    }
    let mut archive = Archive::open(path, file, length)?;
    let config = json(path, CONFIG, &archive.text(CONFIG)?)?;
    let metadata = json(path, METADATA, &archive.text(METADATA)?)?;
    let version = metadata.get("keras_version").and_then(Json::as_str).unwrap_or_default().to_string();
    let (region, length) = archive.region(WEIGHTS)?;
    let weights = Hdf5::open(region, length).map_err(|e| fail(format!("{WEIGHTS}: {e}")))?;
    let mut model =
        import(&config, config.get("compile_config"), &version, &weights).map_err(|e| e.at(path))?;
    let labels = metadata.get(LABELS).and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    model.saved.labels = labels.iter().filter_map(Json::as_str).map(String::from).collect();
    Ok(model)
}

fn json(path: &Path, name: &str, text: &str) -> Result<Json> {
    serde_json::from_str(text).map_err(|e| Error::content(path, format!("{name}: {e}; save the model again")))
}

/// What is wrong with a file.
enum Fault {
    Content(String),
    Tensors(Vec<TensorProblem>),
}

impl From<String> for Fault {
    fn from(message: String) -> Fault {
        Fault::Content(message)
    }
}

impl From<brisk_nn::Error> for Fault {
    fn from(error: brisk_nn::Error) -> Fault {
        Fault::Content(error.to_string())
    }
}

impl Fault {
    fn at(self, path: &Path) -> Error {
        match self {
            Fault::Content(message) => Error::content(path, message),
            Fault::Tensors(problems) => Error::Tensors { path: path.into(), problems },
        }
    }
}

fn import(
    config: &Json,
    training: Option<&Json>,
    version: &str,
    weights: &Hdf5,
) -> Result<KerasModel, Fault> {
    let graph = parse(config)?;
    let mut inputs = inputs(&graph)?;
    let names: Vec<String> = inputs.iter().map(|i| i.name.clone()).collect();
    let (mut flat, ends) = Flat::new(&graph, &names, version.starts_with("2."))?;
    if !flat.problems.is_empty() {
        return Err(
            format!("{} layers cannot be read: {}", flat.problems.len(), flat.problems.join("; ")).into()
        );
    }
    let mut report = KerasReport { ignored: std::mem::take(&mut flat.ignored), ..KerasReport::default() };
    tokens(&mut inputs, &flat.layers);
    let training = training.filter(|t| t.as_object().is_some_and(|t| !t.is_empty()));
    let outputs = outputs(&graph, &mut flat, &ends, training, &mut report.ignored);
    let model = Model::new(inputs, std::mem::take(&mut flat.layers), &ends)?;
    check_axes(&model, &flat.axes)?;
    let task = Task::with_outputs(model, outputs)?;
    let specs = task.param_specs()?;

    let places = weights::paths(weights, &flat.leaves)?;
    let state = read(weights, &flat, &places, &specs)?;
    let used: HashSet<&str> = places.iter().flatten().map(String::as_str).collect();
    let mut unused: Vec<String> =
        weights.tensors().filter(|t| !used.contains(t)).map(str::to_string).collect();
    unused.retain(|t| !t.starts_with("optimizer") && !t.contains("seed_generator"));
    unused.sort_unstable();
    report.unused = unused;
    report.layers =
        task.model.layers().iter().map(|l| (l.name.clone(), l.layer.kind(), l.output.clone())).collect();
    let training =
        training.and_then(|t| t.get("optimizer").or(t.get("optimizer_config"))).filter(|o| !o.is_null());
    let training = training.and_then(|json| match compile::optimizer(json, &mut report.ignored) {
        Ok(optimizer) => Some(slots(optimizer, weights, &flat, &specs, &mut report.ignored)),
        Err(message) => {
            report.ignored.push(message);
            None
        }
    });
    Ok(KerasModel { saved: SavedModel::new(&task, &state), training, report })
}

/// What comes into the model.
fn inputs(graph: &Graph) -> Result<Vec<ModelInput>, String> {
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
fn tokens(inputs: &mut [ModelInput], layers: &[LayerSpec]) {
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
fn outputs(
    graph: &Graph,
    flat: &mut Flat,
    ends: &[String],
    training: Option<&Json>,
    ignored: &mut Vec<String>,
) -> Vec<TaskOutput> {
    let layer = |number: usize| graph.layers.get(number).map_or("", |l| l.name.as_str());
    let names: Vec<Named<'_>> =
        graph.outputs.iter().map(|(key, t)| Named { key: key.as_deref(), layer: layer(t.layer) }).collect();
    let setting = |key: &str| training.and_then(|t| t.get(key));
    let mut outputs = Vec::new();
    for (i, end) in ends.iter().enumerate() {
        let given = compile::of_output(setting("loss"), &names, i);
        let place = flat.layers.iter().position(|l| l.name.as_ref() == Some(end));
        let last = place.and_then(|p| activation(&mut flat.layers[p].layer).copied());
        let given = given.map(|json| compile::loss(json, ignored)).transpose();
        let settled = given.and_then(|given| compile::settle(given, last));
        let (loss, inside) = settled.unwrap_or_else(|message| {
            ignored.push(format!(
                "output {end:?}: {message}; without another loss it is trained with mean_squared_error"
            ));
            (brisk_nn::Loss::MeanSquaredError, false)
        });
        if let (true, Some(place)) = (inside, place) {
            take_off(flat, place);
        }
        if loss.is_classification() && !inside {
            ignored.push(format!("output {end:?}: Keras gives logits, Brisk their probabilities"));
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

/// Takes the last activation off a layer; others that read its result read it from a layer of its own.
fn take_off(flat: &mut Flat, place: usize) {
    let Some(own) = activation(&mut flat.layers[place].layer) else { return };
    let taken = std::mem::take(own);
    let Some(name) = flat.layers[place].name.clone() else { return };
    if !flat.layers.iter().any(|l| l.inputs.contains(&name)) {
        return;
    }
    let alone = flat.free(&format!("{name}_activation"));
    for layer in &mut flat.layers {
        layer.inputs.iter_mut().filter(|i| **i == name).for_each(|i| i.clone_from(&alone));
    }
    let spec = LayerSpec::new(ActivationLayer::new(taken)).name(alone).inputs([name]);
    flat.layers.insert(place + 1, spec);
}

/// An error unless the axis of each normalization is the last one.
fn check_axes(model: &Model, axes: &[(String, i64)]) -> Result<(), String> {
    let ranks: HashMap<&str, usize> =
        model.layers().iter().map(|l| (l.name.as_str(), l.output.len())).collect();
    let wrong: Vec<String> = axes
        .iter()
        .filter(|(name, axis)| {
            ranks.get(name.as_str()).is_none_or(|&rank| usize::try_from(*axis) != Ok(rank))
        })
        .map(|(name, axis)| format!("{name} (axis {axis})"))
        .collect();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "expected normalizations along the last axis, found {}; put Permute before it, or save the model with channels_last",
            listed(&wrong)
        )),
    }
}

/// The weights under Brisk's names.
fn read(file: &Hdf5, flat: &Flat, places: &[Vec<String>], specs: &[ParamSpec]) -> Result<State, Fault> {
    let shapes: HashMap<&str, &Shape> = specs.iter().map(|s| (s.name.as_str(), &s.shape)).collect();
    let (mut tensors, mut problems) = (HashMap::new(), Vec::new());
    for (leaf, places) in flat.leaves.iter().zip(places) {
        let Some(owner) = flat.uses.get(&leaf.path).and_then(|u| u.first()) else { continue };
        for (weight, place) in leaf.weights.iter().zip(places) {
            let name = format!("{owner}.{}", weight.name);
            let Some(shape) = shapes.get(name.as_str()) else { continue };
            if !file.has_tensor(place) {
                let expected = Some(format!("f32 {shape}, {place:?} in the file"));
                problems.push(TensorProblem { name, expected, found: None });
                continue;
            }
            match fit(file.tensor(place)?, shape, weight.split) {
                Ok(tensor) => drop(tensors.insert(name, tensor)),
                Err(found) => problems.push(TensorProblem {
                    name,
                    expected: Some(format!("f32 {shape}")),
                    found: Some(format!("f32 {found}, {place:?} in the file")),
                }),
            }
        }
    }
    if !problems.is_empty() {
        return Err(Fault::Tensors(problems));
    }
    let state: State =
        specs.iter().filter_map(|s| Some((s.name.as_str(), tensors.remove(&s.name)?))).collect();
    let missing = specs.iter().filter(|s| state.get(&s.name).is_none()).map(|s| TensorProblem {
        name: s.name.clone(),
        expected: Some(format!("f32 {}", s.shape)),
        found: None,
    });
    let missing: Vec<TensorProblem> = missing.collect();
    match missing.is_empty() {
        true => Ok(state),
        false => Err(Fault::Tensors(missing)),
    }
}

/// A tensor in the shape that Brisk has, or its own.
fn fit(tensor: Tensor, shape: &Shape, split: bool) -> Result<Tensor, Shape> {
    if tensor.shape() == shape {
        return Ok(tensor);
    }
    let found = tensor.shape().clone();
    // Axes of heads and of their size are one in Brisk, at either end.
    let joins = |axes: &[usize]| {
        let mut rest = shape.iter();
        let mut product = 1usize;
        let mut wanted = rest.next();
        for &axis in axes {
            product = product.saturating_mul(axis);
            if Some(&product) == wanted {
                (product, wanted) = (1, rest.next());
            }
        }
        wanted.is_none() && product == 1
    };
    match split && found.elements() == shape.elements() && joins(&found) {
        true => tensor.reshape(shape.clone()).map_err(|_| found),
        false => Err(found),
    }
}

/// What the optimizer remembers, if the file holds it.
fn slots(
    optimizer: Optimizer,
    file: &Hdf5,
    flat: &Flat,
    specs: &[ParamSpec],
    ignored: &mut Vec<String>,
) -> KerasTraining {
    let mut training = KerasTraining { optimizer, steps: 0, slots: State::new() };
    if let Err(message) = fill(&mut training, file, flat, specs) {
        ignored.push(format!("what the optimizer remembers: {message}; it starts anew"));
        (training.steps, training.slots) = (0, State::new());
    }
    training
}

fn fill(training: &mut KerasTraining, file: &Hdf5, flat: &Flat, specs: &[ParamSpec]) -> Result<(), String> {
    let paths = match file.has_group("optimizer_weights") {
        true => {
            let names = weights::named(file, "optimizer_weights", "weight_names")?;
            names.into_iter().map(|n| format!("optimizer_weights/{n}")).collect()
        }
        false => {
            let path = |i| format!("optimizer/vars/{i}");
            (0..).map(path).take_while(|p| file.has_tensor(p)).collect::<Vec<_>>()
        }
    };
    let [steps, _learning_rate, slots @ ..] = &paths[..] else { return Ok(()) };
    let steps = file.number(steps)?;
    let shapes: HashMap<&str, &Shape> = specs.iter().map(|s| (s.name.as_str(), &s.shape)).collect();
    let mut params = Vec::new();
    for leaf in flat.leaves.iter().filter(|l| !l.frozen) {
        let owner = flat.uses.get(&leaf.path).and_then(|u| u.first()).map_or("", String::as_str);
        params.extend(
            leaf.weights.iter().filter(|w| w.trained).map(|w| (format!("{owner}.{}", w.name), w.split)),
        );
    }
    let (by_parameter, kinds) = compile::slots(&training.optimizer);
    if slots.is_empty() && steps == 0.0 {
        return Ok(());
    }
    if slots.len() != params.len() * kinds.len() {
        return Err(format!("expected {} tensors, found {}", params.len() * kinds.len(), slots.len()));
    }
    for (p, (name, split)) in params.iter().enumerate() {
        for (k, kind) in kinds.iter().enumerate() {
            let place = if by_parameter { p * kinds.len() + k } else { k * params.len() + p };
            let (Some(path), Some(shape)) = (slots.get(place), shapes.get(name.as_str())) else { continue };
            let tensor = fit(file.tensor(path)?, shape, *split)
                .map_err(|found| format!("{path:?}: expected {shape}, found {found}"))?;
            training.slots.insert(format!("optimizer/{name}/{kind}"), tensor);
        }
    }
    // f64 to u64 keeps within bounds; a count of steps is whole.
    training.steps = steps as u64;
    Ok(())
}
