//! From a file of Keras to a model of Brisk.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use brisk_graph::{Shape, Tensor};
use brisk_nn::{Model, Optimizer, ParamSpec, Task};
use brisk_runtime::State;
use serde_json::Value as Json;

use super::archive::Archive;
use super::compile;
use super::ends::{inputs, outputs, tokens};
use super::flatten::Flat;
use super::graph::parse;
use super::hdf5::Hdf5;
use super::masks;
use super::region::Region;
use super::report::KerasReport;
use super::weights;
use crate::budget::Budget;
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
        let config = json(path, "model_config", &config, length)?;
        let training = training.map(|t| json(path, "training_config", &t, length)).transpose()?;
        return import(&config, training.as_ref(), &version, &weights).map_err(|e| e.at(path));
    }
    if !start.starts_with(b"PK") {
        return Err(fail("its first bytes are of neither a zip archive nor an HDF5 file; expected a model that Keras saved as .keras or .h5".into()));
    }
    let mut archive = Archive::open(path, file, length)?;
    let config = json(path, CONFIG, &archive.text(CONFIG)?, length)?;
    let metadata = json(path, METADATA, &archive.text(METADATA)?, length)?;
    let version = metadata.get("keras_version").and_then(Json::as_str).unwrap_or_default().to_string();
    let (region, length) = archive.region(WEIGHTS)?;
    let weights = Hdf5::open(region, length).map_err(|e| fail(format!("{WEIGHTS}: {e}")))?;
    let mut model =
        import(&config, config.get("compile_config"), &version, &weights).map_err(|e| e.at(path))?;
    let labels = metadata.get(LABELS).and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    model.saved.labels = labels.iter().filter_map(Json::as_str).map(String::from).collect();
    Ok(model)
}

/// How many values a configuration has for each byte of its file, and beyond that: one takes more memory than it has letters, and many
/// of the same take none in an archive.
const VALUES: u64 = 4;
const MORE_VALUES: u64 = 1 << 16;

/// Reads the configuration of a file of so many bytes.
fn json(path: &Path, name: &str, text: &str, length: u64) -> Result<Json> {
    let fail = |message: String| Error::content(path, format!("{name}: {message}; save the model again"));
    // Before each but the first is one of these.
    let values = text.bytes().filter(|b| b",:[{".contains(b)).count();
    Budget::of(length, VALUES, MORE_VALUES).take(values).map_err(|most| {
        fail(format!("it has more than {most} values, which is too much for a file of {length} bytes"))
    })?;
    serde_json::from_str(text).map_err(|e| fail(e.to_string()))
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
    let outputs = outputs(&graph, &mut flat, &ends, training, &mut report);
    let model = Model::new(inputs, std::mem::take(&mut flat.layers), &ends)?;
    check_axes(&model, &flat.axes)?;
    masks::check(&model, &flat.masks)?;
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
            match fit(file.floats(place)?, shape, weight.split) {
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
            let tensor = fit(file.floats(path)?, shape, *split)
                .map_err(|found| format!("{path:?}: expected {shape}, found {found}"))?;
            training.slots.insert(format!("optimizer/{name}/{kind}"), tensor);
        }
    }
    // f64 to u64 keeps within bounds; a count of steps is whole.
    training.steps = steps as u64;
    Ok(())
}
