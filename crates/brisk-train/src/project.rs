//! A project: one YAML file that says where the data is, what the model is, and how it is trained.

use std::path::Path;

use brisk_data::{Augmentation, Normalization, SourceSpec};
use brisk_nn::config::closest;
use brisk_nn::{LayerSpec, Loss, Metric, Model, Optimizer, Schedule, zoo};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result};

/// A whole project, as its file says it.
///
/// ```
/// let project = brisk_train::Project::parse("
/// data: {source: fashion-mnist-sample, validation_split: 0.1}
/// model:
///   layers:
///     - Flatten
///     - Dense: {units: 10}
/// train: {optimizer: {adam: {learning_rate: 1e-3}}, epochs: 3}
/// ", "brisk.yaml")?;
/// assert_eq!(project.train.epochs, 3);
/// # Ok::<(), brisk_train::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// What goes in, by name. Left out: images as the data has them.
    #[serde(default = "default_inputs")]
    pub inputs: IndexMap<String, InputSpec>,
    /// What comes out, by name. Left out: a category.
    #[serde(default = "default_outputs")]
    pub outputs: IndexMap<String, OutputSpec>,
    /// Where samples come from.
    pub data: DataSpec,
    /// The model.
    pub model: ModelSpec,
    /// How it is trained.
    #[serde(default)]
    pub train: TrainSpec,
}

/// A kind of input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum InputSpec {
    /// A picture.
    Image {
        /// Height and width; left out: as stored.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<[usize; 2]>,
        /// 1 for grey, 3 for colour; left out: as stored.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channels: Option<usize>,
    },
}

/// A kind of output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum OutputSpec {
    /// One of several classes.
    Category {},
}

/// Where samples come from, and what happens to them before training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// A known data set, a path, or a path with details.
    pub source: SourceSpec,
    /// Share of the training samples to validate on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<f64>,
    /// Share of the samples to test on, if the data has no test part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_split: Option<f64>,
    /// What pixel values become.
    #[serde(default)]
    pub normalization: Normalization,
    /// Random changes of training images.
    #[serde(default, skip_serializing_if = "Augmentation::is_none")]
    pub augmentation: Augmentation,
    /// Threads that read and augment images.
    #[serde(default = "one")]
    pub workers: usize,
}

/// The model: layers, or the name of a ready-made one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// The layers, one after another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<LayerSpec>>,
    /// A ready-made model: `cifar10-cnn`, `mlp`, `lenet`, `resnet18-cifar`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
}

/// How the model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSpec {
    /// What follows the gradients.
    pub optimizer: Optimizer,
    /// What is made small.
    pub loss: Loss,
    /// What is measured beside it; left out: what suits the loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<Metric>>,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Samples in a step.
    pub batch_size: usize,
    /// Times that all training samples are seen.
    pub epochs: usize,
    /// Batches whose gradients are added up before each update.
    pub accumulate: usize,
    /// What everything random follows from.
    pub seed: u64,
    /// When to stop early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    /// Which weights become the model.
    pub keep: Keep,
    /// The value that says which epoch was best; left out: `val_loss`, or `loss` if nothing is validated on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor: Option<String>,
    /// Save a checkpoint after so many steps too, not only after each epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_steps: Option<u64>,
}

impl Default for TrainSpec {
    fn default() -> TrainSpec {
        TrainSpec {
            optimizer: Optimizer::adam(1e-3),
            loss: Loss::sparse_categorical_crossentropy(),
            metrics: None,
            schedule: Schedule::default(),
            batch_size: 32,
            epochs: 10,
            accumulate: 1,
            seed: 42,
            early_stopping: None,
            keep: Keep::Best,
            monitor: None,
            checkpoint_steps: None,
        }
    }
}

/// Stops when a value has not become better for some epochs, as in Keras.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// Which value.
    #[serde(default = "val_loss")]
    pub monitor: String,
    /// For how many epochs.
    #[serde(default = "one")]
    pub patience: usize,
    /// What counts as better.
    #[serde(default)]
    pub min_delta: f64,
}

/// Which weights become the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Those of the best epoch.
    Best,
    /// Those of the last epoch.
    Last,
}

fn default_inputs() -> IndexMap<String, InputSpec> {
    [("image".to_string(), InputSpec::Image { size: None, channels: None })].into_iter().collect()
}
fn default_outputs() -> IndexMap<String, OutputSpec> {
    [("label".to_string(), OutputSpec::Category {})].into_iter().collect()
}
fn one() -> usize {
    1
}
fn val_loss() -> String {
    "val_loss".into()
}

/// The project that `brisk train` runs without a file: the article's network on the sample of Fashion-MNIST.
pub const DEFAULT_PROJECT: &str = include_str!("default.yaml");

impl Project {
    /// From YAML text; `file` is what messages call it.
    pub fn parse(text: &str, file: &str) -> Result<Project> {
        let project: Project = serde_saphyr::from_str(text).map_err(|e| {
            let place = match e.location() {
                Some(at) => format!("{file}:{}:{}", at.line(), at.column()),
                None => file.to_string(),
            };
            // The same again by way of plain values: that knows the path of the key.
            let tree = serde_saphyr::from_str::<Value>(text).ok();
            let message = match tree.map(from_tree) {
                Some(Err(message)) => message,
                _ => suggest(&e.without_snippet().to_string()),
            };
            Error::Project { place, message }
        })?;
        project.check(file)?;
        Ok(project)
    }

    /// From a file, with `key=value` overrides such as `train.epochs=3`.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Project> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        Project::parse_with(&text, &path.display().to_string(), overrides)
    }

    /// [`Project::parse`], then overrides.
    ///
    /// ```
    /// use brisk_train::{DEFAULT_PROJECT, Project};
    /// let project = Project::parse_with(DEFAULT_PROJECT, "default", &["train.epochs=2".into()])?;
    /// assert_eq!(project.train.epochs, 2);
    /// let error = Project::parse_with(DEFAULT_PROJECT, "default", &["train.epoch=2".into()]).unwrap_err();
    /// assert!(error.to_string().contains("did you mean `epochs`?"), "{error}");
    /// # Ok::<(), brisk_train::Error>(())
    /// ```
    pub fn parse_with(text: &str, file: &str, overrides: &[String]) -> Result<Project> {
        let mut project = Project::parse(text, file)?;
        for assignment in overrides {
            let place = format!("--set {assignment}");
            let fault = |message: String| Error::Project { place: place.clone(), message };
            let Some((key, value)) = assignment.split_once('=') else {
                return Err(fault("expected key=value, such as train.epochs=3".into()));
            };
            let value: Value =
                serde_saphyr::from_str(value).map_err(|e| fault(e.without_snippet().to_string()))?;
            let mut tree = serde_json::to_value(&project).map_err(|e| fault(e.to_string()))?;
            set(&mut tree, key, value).map_err(fault)?;
            project = from_tree(tree).map_err(fault)?;
            project.check(&place)?;
        }
        Ok(project)
    }

    /// As YAML, complete: every default is written down.
    pub fn to_yaml(&self) -> Result<String> {
        serde_saphyr::to_string(self)
            .map_err(|e| Error::Project { place: "project".into(), message: e.to_string() })
    }

    fn check(&self, place: &str) -> Result<()> {
        let fault = |message: String| Err(Error::Project { place: place.to_string(), message });
        if self.inputs.len() != 1 || self.outputs.len() != 1 {
            return fault(format!(
                "expected one input and one output, found {} and {}",
                self.inputs.len(),
                self.outputs.len()
            ));
        }
        match (&self.model.layers, &self.model.preset) {
            (Some(_), None) | (None, Some(_)) => {}
            _ => return fault("model: expected either `layers` or `preset`".into()),
        }
        let t = &self.train;
        for (key, value) in [("batch_size", t.batch_size), ("epochs", t.epochs), ("accumulate", t.accumulate)]
        {
            if value == 0 {
                return fault(format!("train.{key}: expected at least 1, found 0"));
            }
        }
        t.optimizer.check()?;
        t.schedule.check()?;
        Ok(())
    }

    /// Height and width, and channels, that images are read in, where the project says so.
    pub fn image(&self) -> (Option<[usize; 2]>, Option<usize>) {
        match self.inputs.values().next() {
            Some(InputSpec::Image { size, channels }) => (*size, *channels),
            None => (None, None),
        }
    }

    /// The model for samples of a shape.
    pub fn model(&self, input_shape: [usize; 3], classes: usize) -> Result<Model> {
        Ok(match (&self.model.layers, &self.model.preset) {
            (Some(layers), _) => Model::from_layers(input_shape, layers.clone())?,
            (None, Some(preset)) => (zoo::preset(preset)?.build)(input_shape.into(), classes)?,
            (None, None) => Model::from_layers(input_shape, Vec::new())?,
        })
    }
}

/// Puts a value at a path such as `train.optimizer` or `model.layers.0.Dense.units`.
fn set(tree: &mut Value, key: &str, value: Value) -> Result<(), String> {
    let mut at = tree;
    let mut walked = String::new();
    for part in key.split('.') {
        at = match at {
            Value::Array(items) => {
                let count = items.len();
                let found = part.parse().ok().and_then(|i: usize| items.get_mut(i));
                found.ok_or_else(|| format!("{walked} has {count} entries, there is no entry `{part}`"))?
            }
            Value::Object(map) => map.entry(part).or_insert(Value::Null),
            Value::Null => {
                *at = Value::Object(serde_json::Map::new());
                match at {
                    Value::Object(map) => map.entry(part).or_insert(Value::Null),
                    _ => return Err(format!("cannot set {key}")),
                }
            }
            _ => return Err(format!("`{walked}` is a plain value, it has no `{part}`")),
        };
        walked = if walked.is_empty() { part.to_string() } else { format!("{walked}.{part}") };
    }
    *at = value;
    Ok(())
}

/// A project of plain values; the message of an error begins with the path of the key.
fn from_tree(tree: Value) -> Result<Project, String> {
    serde_path_to_error::deserialize(tree).map_err(|e| {
        let (path, message) = (e.path().to_string(), suggest(&plain(&e.inner().to_string())));
        match path.as_str() {
            "." | "?" => message,
            _ => format!("{path}: {message}"),
        }
    })
}

/// serde's message without the types of Rust.
fn plain(message: &str) -> String {
    let Some((found, expected)) = message.split_once(", expected ") else { return message.to_string() };
    let expected = match expected {
        "usize" | "u64" | "u32" => "a whole number",
        "f64" | "f32" => "a number",
        "a sequence" => "a list",
        "a map" => "keys with values",
        other if other.starts_with("struct ") => "keys with values",
        other => other,
    };
    format!(
        "{}, expected {expected}",
        found.replace("sequence", "a list").replace("invalid type: map", "invalid type: keys with values")
    )
}

/// Adds the nearest known key to serde's message about an unknown one.
fn suggest(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let unknown = message.find("unknown field").or_else(|| message.find("unknown variant"));
    match (unknown, quoted.split_first()) {
        (Some(_), Some((name, known))) if !message.contains("did you mean") => {
            match closest(name, known.iter().copied()) {
                Some(near) => format!("unknown key `{name}`; did you mean `{near}`?"),
                None if known.is_empty() => format!("unknown key `{name}`"),
                None => format!("unknown key `{name}`; known are {}", known.join(", ")),
            }
        }
        _ => message.to_string(),
    }
}
