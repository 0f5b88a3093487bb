//! A project: one YAML file that says where the data is, what the model is, and how it is trained.

use std::path::{Path, PathBuf};

use brisk_data::{
    Augmentation, CategorySpec, CategoryTargetSpec, FeatureSpec, ImageColumnSpec, Normalization, NumberSpec,
    SourceSpec, TableSpec, TargetSpec, TextSpec, VectorSpec,
};
use brisk_eval::Requirements;
use brisk_format::{OnnxFile, read_onnx};
use brisk_nn::config::closest;
use brisk_nn::{LayerSpec, Loss, Metric, Model, Onnx, Optimizer, ParamRules, Pooling, Schedule, zoo};
use brisk_onnx::{Elem, Port, Type};
use brisk_runtime::{Precision, State};
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
    /// What comes out, by name. Left out: a category. `{}` for embeddings that are trained without targets.
    #[serde(default = "default_outputs")]
    pub outputs: IndexMap<String, TargetSpec>,
    /// Where samples come from.
    pub data: DataSpec,
    /// The model.
    pub model: ModelSpec,
    /// How it is trained.
    #[serde(default)]
    pub train: TrainSpec,
    /// What `brisk publish` asks of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub publish: PublishSpec,
}

/// What a model must be like to be published.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PublishSpec {
    /// What must have been measured, and what it must be: `{test_accuracy: ">= 0.9"}`.
    #[serde(skip_serializing_if = "Requirements::is_empty")]
    pub require: Requirements,
}

/// A kind of input: a picture, or what a column of a table holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum InputSpec {
    /// A picture.
    Image(ImageInput),
    /// A text, or a pair of texts.
    Text(TextSpec),
    /// A number.
    Number(NumberSpec),
    /// One of several categories.
    Category(CategorySpec),
    /// Several numbers.
    Vector(VectorSpec),
}

/// A picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImageInput {
    /// Height and width; left out: as stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// 1 for grey, 3 for colour; left out: as stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// In a table, the column with the pictures' paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

impl InputSpec {
    /// As a feature of a table.
    fn feature(&self, name: &str) -> Result<FeatureSpec> {
        Ok(match self {
            InputSpec::Text(spec) => FeatureSpec::Text(spec.clone()),
            InputSpec::Number(spec) => FeatureSpec::Number(spec.clone()),
            InputSpec::Category(spec) => FeatureSpec::Category(spec.clone()),
            InputSpec::Vector(spec) => FeatureSpec::Vector(spec.clone()),
            InputSpec::Image(spec) => {
                let size = spec.size.ok_or_else(|| Error::Project {
                    place: format!("inputs.{name}"),
                    message: "a picture of a table needs a size: [height, width]".into(),
                })?;
                let channels = spec.channels.unwrap_or(3);
                FeatureSpec::Image(ImageColumnSpec { column: spec.column.clone(), size, channels })
            }
        })
    }
}

/// Where samples come from, and what happens to them before training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// A known data set, a path, or a path with details. For tables the path of a file or folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceSpec>,
    /// Instead: a table with details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableSpec>,
    /// Columns of a table by which rows are the same: only the first of those stays, before anything is divided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deduplicate: Vec<String>,
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

/// The model: layers, or the name of a ready-made one; for tables also an encoder for each input, how they are combined, and
/// layers after that. Heads for the outputs of a table follow by themselves, unless `layers` are the whole network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSpec {
    /// The layers, one after another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<LayerSpec>>,
    /// A ready-made model: `cifar10-cnn`, `lstm-imdb`, `minilm`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// For texts: a Hugging Face folder, whose encoder and tokenizer are taken. For pictures: a model file (.onnx), whose graph the layers
    /// stand on; its parameters are called `graph.NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<PathBuf>,
    /// The value or node of the pretrained graph that the layers stand on; left out: its output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// How the vectors of a text's tokens become one; left out: the first token's, or for embeddings what the folder says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Layers for each input by itself, to a vector.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub encoders: IndexMap<String, Vec<LayerSpec>>,
    /// How the vectors of several inputs become one.
    #[serde(skip_serializing_if = "is_default")]
    pub combiner: Combiner,
    /// What stands at the end.
    #[serde(skip_serializing_if = "is_default")]
    pub head: HeadSpec,
    /// Share of values dropped before a head, in training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
}

impl ModelSpec {
    /// Whether layers or a preset go all the way from the input to the output.
    pub(crate) fn is_whole_network(&self) -> bool {
        let encoder = self.preset.as_deref().is_some_and(zoo::is_text_encoder);
        self.pretrained.is_none() && self.encoders.is_empty() && !encoder
    }
}

/// How the vectors of several inputs become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Combiner {
    /// One after another.
    #[default]
    Concat,
    /// Their sum; they must have one size.
    Sum,
    /// Their mean by learned weights; they must have one size.
    Attention,
}

/// What stands at the end of a model over a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeadSpec {
    /// A dense layer for each output.
    #[default]
    Dense,
    /// Nothing: the vectors themselves are what is trained, by a loss over vectors.
    Embedding,
    /// The encoder learns the language of the texts: tokens are hidden, and it is to say which they were. Outputs are left
    /// aside.
    MaskedLanguageModel,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How the model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSpec {
    /// What follows the gradients.
    pub optimizer: Optimizer,
    /// What the optimizer does differently from one parameter to the next.
    #[serde(skip_serializing_if = "ParamRules::is_none")]
    pub parameters: ParamRules,
    /// What is made small.
    pub loss: Loss,
    /// Of several outputs, what each one's loss is multiplied with in the sum.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub loss_weights: IndexMap<String, f64>,
    /// What is measured beside it; left out: what suits the loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<Metric>>,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Samples in a step.
    pub batch_size: usize,
    /// Instead, for texts: tokens in a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_tokens: Option<usize>,
    /// Times that all training samples are seen.
    pub epochs: usize,
    /// Batches whose gradients are added up before each update.
    pub accumulate: usize,
    /// Whether the layers of Transformers compute their insides again for their gradients: less memory for more arithmetic.
    pub gradient_checkpointing: bool,
    /// What the operands of large matrix products are rounded to.
    pub precision: TrainPrecision,
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
            parameters: ParamRules::default(),
            loss: Loss::sparse_categorical_crossentropy(),
            loss_weights: IndexMap::new(),
            metrics: None,
            schedule: Schedule::default(),
            batch_size: 32,
            batch_tokens: None,
            epochs: 10,
            accumulate: 1,
            gradient_checkpointing: false,
            precision: TrainPrecision::F32,
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

/// What the operands of large matrix products are rounded to while a model is trained. Weights, sums and updates are f32 in any case.
///
/// ```
/// use brisk_runtime::Precision;
/// use brisk_train::TrainPrecision;
/// assert_eq!(Precision::from(TrainPrecision::Bf16), Precision::Bf16);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrainPrecision {
    /// Not at all.
    #[default]
    F32,
    /// To bfloat16 (mixed precision): up to twice as fast on CPUs with AVX512-BF16.
    Bf16,
}

impl From<TrainPrecision> for Precision {
    fn from(precision: TrainPrecision) -> Precision {
        match precision {
            TrainPrecision::F32 => Precision::F32,
            TrainPrecision::Bf16 => Precision::Bf16,
        }
    }
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
    [("image".to_string(), InputSpec::Image(ImageInput::default()))].into_iter().collect()
}
fn default_outputs() -> IndexMap<String, TargetSpec> {
    [("label".to_string(), TargetSpec::Category(CategoryTargetSpec::default()))].into_iter().collect()
}
fn one() -> usize {
    1
}
fn val_loss() -> String {
    "val_loss".into()
}

/// More epochs than anyone waits for.
const MOST_EPOCHS: usize = 1_000_000;

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
        if self.inputs.is_empty() || self.outputs.is_empty() && self.train.loss.has_target() {
            return fault("expected at least one input and one output".into());
        }
        match (&self.data.source, &self.data.table) {
            (Some(_), None) | (None, Some(_)) => {}
            _ => return fault("data: expected either `source` or `table`".into()),
        }
        let m = &self.model;
        match (&m.layers, &m.preset, &m.pretrained) {
            (_, Some(_), Some(_)) => {
                return fault("model: expected either `preset` or `pretrained`, found both".into());
            }
            (Some(_), Some(_), None) if !self.is_table() || m.is_whole_network() => {
                return fault("model: expected either `layers` or `preset`, found both".into());
            }
            (None, None, None) if !self.is_table() || m.encoders.is_empty() && self.has_text() => {
                return fault("model: expected `layers`, `preset` or `pretrained`".into());
            }
            _ => {}
        }
        if self.is_masked() && (m.is_whole_network() || self.inputs.len() != 1 || !self.has_text()) {
            return fault("model.head: a masked language model takes one text, and `pretrained` or the preset of an encoder".into());
        }
        if !self.is_table() && self.outputs.len() + self.inputs.len() != 2 {
            return fault(format!(
                "of pictures, expected one input and one output, found {} and {}",
                self.inputs.len(),
                self.outputs.len()
            ));
        }
        let t = &self.train;
        for (key, value) in [("batch_size", t.batch_size), ("epochs", t.epochs), ("accumulate", t.accumulate)]
        {
            if value == 0 {
                return fault(format!("train.{key}: expected at least 1, found 0"));
            }
        }
        if t.epochs > MOST_EPOCHS {
            return fault(format!("train.epochs: expected at most {MOST_EPOCHS}, found {}", t.epochs));
        }
        t.optimizer.check()?;
        t.schedule.check()?;
        Ok(())
    }

    /// Height and width, and channels, that images are read in, where the project says so.
    pub fn image(&self) -> (Option<[usize; 2]>, Option<usize>) {
        match self.inputs.values().next() {
            Some(InputSpec::Image(image)) => (image.size, image.channels),
            _ => (None, None),
        }
    }

    /// Whether samples are rows of a table, and not pictures with labels.
    pub fn is_table(&self) -> bool {
        let column = |i: &InputSpec| !matches!(i, InputSpec::Image(ImageInput { column: None, .. }));
        let output = |t: &TargetSpec| !matches!(t, TargetSpec::Category(c) if c.column.is_none());
        self.data.table.is_some() || self.inputs.values().any(column) || self.outputs.values().any(output)
    }

    /// Whether tokens are hidden, to be found.
    pub(crate) fn is_masked(&self) -> bool {
        self.model.head == HeadSpec::MaskedLanguageModel
    }

    fn has_text(&self) -> bool {
        self.inputs.values().any(|i| matches!(i, InputSpec::Text(_)))
    }

    /// The inputs as features of a table.
    pub(crate) fn features(&self) -> Result<IndexMap<String, FeatureSpec>> {
        self.inputs.iter().map(|(name, input)| Ok((name.clone(), input.feature(name)?))).collect()
    }

    /// Where the table is.
    pub(crate) fn table(&self) -> Result<TableSpec> {
        match (&self.data.table, &self.data.source) {
            (Some(table), _) => Ok(table.clone()),
            (None, Some(SourceSpec::Name(path))) => Ok(TableSpec::at(path)),
            _ => Err(Error::Project {
                place: "data.source".into(),
                message: "expected the path of a table, or `table: {path: ...}` with details".into(),
            }),
        }
    }

    /// What the pretrained model is called.
    pub fn pretrained_name(&self) -> String {
        self.model.pretrained.as_ref().map(|p| p.display().to_string()).unwrap_or_default()
    }

    /// Where the pictures are.
    pub fn source(&self) -> Result<&SourceSpec> {
        self.data.source.as_ref().ok_or_else(|| Error::Project {
            place: "data".into(),
            message: "expected a `source` of pictures".into(),
        })
    }

    /// What the data is called.
    pub fn source_name(&self) -> String {
        let table = || self.table().ok().map(|t| t.path.to_string());
        self.data.source.as_ref().map(SourceSpec::to_string).or_else(table).unwrap_or_default()
    }

    /// The model for samples of a shape.
    pub fn model(&self, input_shape: [usize; 3], classes: usize) -> Result<Model> {
        if let Some(file) = self.pretrained_graph()? {
            let trunk = Onnx::of_pictures(file.model, input_shape);
            let own = self.model.layers.iter().flatten().cloned();
            let layers = std::iter::once(LayerSpec::new(trunk).name(GRAPH)).chain(own).collect();
            return Ok(Model::from_layers(input_shape, layers)?);
        }
        Ok(match (&self.model.layers, &self.model.preset) {
            (Some(layers), _) => Model::from_layers(input_shape, layers.clone())?,
            (None, Some(preset)) => (zoo::preset(preset)?.build)(input_shape.into(), classes)?,
            (None, None) => Model::from_layers(input_shape, Vec::new())?,
        })
    }
}

/// The layer with a pretrained graph.
const GRAPH: &str = "graph";

impl Project {
    /// The pretrained graph of a project over pictures, as far as it is used.
    fn pretrained_graph(&self) -> Result<Option<OnnxFile>> {
        let Some(path) = self.model.pretrained.as_deref().filter(|_| !self.is_table()) else {
            return Ok(None);
        };
        let mut file = read_onnx(path)?;
        let bytes = |input: &Port| matches!(input.ty, Type::Tensor(Elem::Uint8, _));
        if self.data.normalization != Normalization::None
            && file.model.graph.inputs.first().is_some_and(bytes)
        {
            return Err(Error::Project {
                place: "data.normalization".into(),
                message: format!(
                    "{} takes the bytes of pictures, and scales them itself: expected `none`; or export it with --scaled-inputs",
                    path.display()
                ),
            });
        }
        if let Some(until) = &self.model.until {
            let wrong = |e: brisk_onnx::Error| Error::Project {
                place: "model.until".into(),
                message: format!("{}: {e}", path.display()),
            };
            file.model = file.model.until(until).map_err(wrong)?;
        }
        Ok(Some(file))
    }

    /// Puts the parameters of the pretrained graph in their places.
    pub(crate) fn load_graph(&self, state: &mut State) -> Result<()> {
        for (name, tensor) in self.pretrained_graph()?.iter().flat_map(|file| file.parameters.iter()) {
            let name = format!("{GRAPH}.{name}");
            if state.get(&name).is_some_and(|t| t.shape() == tensor.shape()) {
                state.insert(name, tensor.clone());
            }
        }
        Ok(())
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
