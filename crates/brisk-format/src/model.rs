//! The model folder, in Hugging Face's shape.
//!
//! | file | what |
//! |---|---|
//! | `config.json` | inputs with their scaling, layers, loss and metrics of each output |
//! | `model.safetensors` | parameters and running statistics, by path: `conv2d_1.kernel` |
//! | `preprocessing.json` | how inputs are prepared; the data pipeline's own words |
//! | `labels.txt` | the names of the classes, one a line (`\\`, `\n` and `\r` stand for characters that would break lines) |
//! | `README.md` | the model card; may be edited |
//! | others, such as `tokenizer.json` | texts that the preparation of inputs needs |
//! | `brisk.json` | format version, and checksums of all but the card |

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::Path;

use brisk_graph::{DType, Shape, Tensor};
use brisk_nn::{INPUT, Lora, Loss, Metric, Model, ParamRules, ParamSpec, Scaling, Task, TaskOutput, Y};
use brisk_runtime::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::atomic::{aside, place, write_folder};
use crate::error::listed;
use crate::hashed::Hashed;
use crate::header::Entry;
use crate::manifest::{MANIFEST, Manifest, REMEDY, missing, not_a_model, pretty, write_new};
use crate::tensors::{Fault, Pieces, read_data, read_header};
use crate::{Error, Result, TensorProblem};

const CONFIG: &str = "config.json";
/// The file of a model's tensors.
pub const TENSORS: &str = "model.safetensors";
const PREPROCESSING: &str = "preprocessing.json";
const LABELS: &str = "labels.txt";
const CARD: &str = "README.md";
const FILES: [&str; 6] = [CONFIG, TENSORS, PREPROCESSING, LABELS, CARD, MANIFEST];

/// A trained model with all that a prediction needs.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedModel {
    /// Its inputs and layers.
    pub model: Model,
    /// What each of its outputs was trained for.
    pub outputs: Vec<TaskOutput>,
    /// How inputs are prepared; its meaning is the data pipeline's.
    pub preprocessing: Value,
    /// Other texts that the preparation of inputs needs, by the name of their file: `tokenizer.json`.
    pub files: Vec<(String, String)>,
    /// The names of the classes in order, or empty.
    pub labels: Vec<String>,
    /// The model card, in Markdown.
    pub card: String,
    /// Parameters and running statistics.
    pub state: State,
    /// The additions of low rank that stand beside their matrices in the state; none in most models.
    pub lora: Option<Lora>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    model_type: String,
    model: Model,
    #[serde(default)]
    outputs: Vec<TaskOutput>,
    // Folders of before there were several inputs and outputs say this instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    loss: Option<Loss>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metrics: Option<Vec<Metric>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lora: Option<Lora>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scaling: Option<Scaling>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input_dtype: Option<String>,
}

impl Config {
    fn parts(self) -> Result<(Model, Vec<TaskOutput>), String> {
        let mut model = self.model;
        let outputs = match (self.outputs.is_empty(), self.loss) {
            (true, Some(loss)) => {
                let metrics = self.metrics.unwrap_or_else(|| Metric::of(&loss));
                vec![TaskOutput { metrics, ..TaskOutput::new(Y, loss) }]
            }
            (false, None) => self.outputs,
            _ => return Err("expected either `outputs` or `loss`".into()),
        };
        let names = model.outputs().len();
        if outputs.len() != names {
            return Err(format!("the model has {names} outputs, but `outputs` says {}", outputs.len()));
        }
        if self.scaling.is_some() || self.input_dtype.is_some() {
            let dtype = match self.input_dtype.as_deref() {
                Some("u8") => DType::U8,
                Some("f32") | None => DType::F32,
                Some(other) => return Err(format!("input_dtype: expected u8 or f32, found {other:?}")),
            };
            model.set_stored(INPUT, dtype, self.scaling.unwrap_or_default()).map_err(|e| e.to_string())?;
        }
        Ok((model, outputs))
    }
}

impl SavedModel {
    /// A trained task: takes the model's own tensors out of a training state, and leaves the optimizer's. Additions of low
    /// rank become part of their matrices, unless the rules say that they stay beside them.
    ///
    /// ```
    /// use brisk_format::{SavedModel, load_model, save_model};
    /// use brisk_nn::prelude::*;
    /// let model = Sequential::new([4]).add(Dense::new(2)).build()?;
    /// let task = Task::new(model, Loss::sparse_categorical_crossentropy());
    /// let state = task.init_state(&Optimizer::adam(1e-3), 42)?;
    ///
    /// let mut saved = SavedModel::new(&task, &state);
    /// saved.labels = vec!["cat".into(), "dog".into()];
    /// let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("model");
    /// save_model(&path, &saved)?;
    /// let loaded = load_model(&path)?;
    /// assert_eq!(loaded, saved);
    /// assert_eq!(loaded.task(), task);
    /// assert!(loaded.state.get("optimizer/dense.kernel/m").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(task: &Task, state: &State) -> SavedModel {
        let lora = task.rules.lora.clone().filter(|lora| !lora.merge);
        let merged = if lora.is_none() { task.rules.merge(state).ok() } else { None };
        let state = merged.as_ref().unwrap_or(state);
        let mut saved = SavedModel {
            model: task.model.clone(),
            outputs: task.outputs.clone(),
            preprocessing: Value::Null,
            files: Vec::new(),
            labels: Vec::new(),
            card: String::new(),
            state: State::new(),
            lora,
        };
        let names = saved.task().param_specs().unwrap_or_default().into_iter().map(|p| p.name);
        let own = |name: String| state.get(&name).cloned().map(|tensor| (name, tensor));
        saved.state = names.filter_map(own).collect();
        saved
    }

    /// The task, to evaluate or predict with.
    pub fn task(&self) -> Task {
        Task {
            model: self.model.clone(),
            outputs: self.outputs.clone(),
            rules: ParamRules { lora: self.lora.clone(), ..ParamRules::default() },
            gradient_checkpointing: false,
        }
    }

    /// The same model with additions of low rank as part of their matrices.
    ///
    /// ```
    /// use brisk_format::SavedModel;
    /// use brisk_nn::prelude::*;
    /// use brisk_nn::{Lora, ParamRules};
    /// let model = Sequential::new([4]).add(Dense::new(2)).build()?;
    /// let lora = Lora { rank: 1, alpha: None, parameters: vec!["kernel".into()], merge: false };
    /// let rules = ParamRules { lora: Some(lora), ..ParamRules::default() };
    /// let task = Task { rules, ..Task::new(model, Loss::sparse_categorical_crossentropy()) };
    /// let saved = SavedModel::new(&task, &task.init_state(&Optimizer::adam(1e-3), 42)?);
    /// assert!(saved.state.get("dense.kernel.lora_a").is_some());
    /// assert!(saved.merged()?.state.get("dense.kernel.lora_a").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn merged(self) -> brisk_nn::Result<SavedModel> {
        let state = self.task().rules.merge(&self.state)?;
        Ok(SavedModel { state, lora: None, ..self })
    }
}

/// True if a folder says that it holds a model.
pub fn is_model(dir: &Path) -> bool {
    dir.join(MANIFEST).is_file()
}

/// The files of a model folder, each with its checksum (BLAKE3, in hexadecimal digits) where there is one: the card may be
/// edited. Only names are looked at: reading a file again shows whether it is the one that was written.
///
/// ```
/// use brisk_format::{SavedModel, model_files, save_model};
/// use brisk_nn::prelude::*;
/// let model = Sequential::new([4]).add(Dense::new(2)).build()?;
/// let task = Task::new(model, Loss::sparse_categorical_crossentropy());
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("model");
/// save_model(&path, &SavedModel::new(&task, &task.model.init_state(1)?))?;
/// let files = model_files(&path)?;
/// assert!(files.iter().any(|(name, checksum)| name == "model.safetensors" && checksum.is_some()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn model_files(dir: &Path) -> Result<Vec<(String, Option<String>)>> {
    if !is_model(dir) {
        return Err(not_a_model(dir, &FILES));
    }
    let (manifest, own) = Manifest::read_hashed(dir)?;
    let mut files = manifest.checksums().map_err(|m| Error::content(&dir.join(MANIFEST), m))?;
    check_files(files.iter().map(|f| f.0.as_str()).filter(|n| !FILES.contains(n)))
        .map_err(|m| Error::content(&dir.join(MANIFEST), m))?;
    if dir.join(CARD).is_file() {
        files.push((CARD.into(), None));
    }
    // Last: a folder without it is no model.
    files.push((MANIFEST.into(), Some(own.to_hex().to_string())));
    Ok(files)
}

/// Writes a model folder as a whole: if this fails, the former model in its place is still good. What else stood in the
/// folder stays. A folder that holds something else than a model is not touched.
pub fn save_model(dir: &Path, saved: &SavedModel) -> Result<()> {
    let unsaved = |message: String| Error::unsaved(dir, message);
    check_place(dir)?;
    let specs = saved.task().param_specs().map_err(|e| unsaved(e.to_string()))?;
    let found: Vec<_> = saved.state.iter().map(|(name, t)| (name, kind(t.dtype(), t.shape()))).collect();
    let problems = compare(&specs, &found);
    if !problems.is_empty() {
        return Err(unsaved(format!("its tensors do not fit the model: {}", listed(&problems))));
    }
    check_labels(saved).map_err(unsaved)?;
    let config = Config {
        model_type: "brisk".into(),
        model: saved.model.clone(),
        outputs: saved.outputs.clone(),
        loss: None,
        metrics: None,
        lora: saved.lora.clone(),
        scaling: None,
        input_dtype: None,
    };
    let text = pretty(&config).map_err(|e| unsaved(e.to_string()))?;
    match serde_json::from_str::<Config>(&text) {
        Ok(read) if read == config => {}
        Ok(_) => return Err(unsaved("its configuration would not be the same when read again".into())),
        Err(e) => return Err(unsaved(format!("its configuration could not be read again: {e}"))),
    }
    let preprocessing = pretty(&saved.preprocessing).map_err(|e| unsaved(e.to_string()))?;
    let tensors = Pieces::new(&saved.state).map_err(unsaved)?;
    let labels: String = saved.labels.iter().map(|l| escape(l) + "\n").collect();
    check_files(saved.files.iter().map(|f| f.0.as_str())).map_err(unsaved)?;
    let own: Vec<&str> = FILES.into_iter().chain(saved.files.iter().map(|f| f.0.as_str())).collect();
    write_folder(dir, &own, |new| {
        let mut manifest = Manifest::new();
        manifest.add_text(new, CONFIG, &text)?;
        let mut hasher = blake3::Hasher::new();
        tensors.hash(&mut hasher);
        manifest.add(new, TENSORS, hasher.finalize(), |f| tensors.write(f))?;
        manifest.add_text(new, PREPROCESSING, &preprocessing)?;
        manifest.add_text(new, LABELS, &labels)?;
        for (name, text) in &saved.files {
            manifest.add_text(new, name, text)?;
        }
        write_new(&new.join(CARD), |f| f.write_all(saved.card.as_bytes()))?;
        manifest.finish(new)
    })
}

/// Reads a model folder.
pub fn load_model(dir: &Path) -> Result<SavedModel> {
    if is_model(dir) {
        return load(dir);
    }
    // A process that died while it replaced the model may have left the former one here.
    let aside = place(dir).map(|(parent, name)| aside(&parent, &name));
    match aside {
        Ok(aside) if !dir.exists() && is_model(&aside) => load(&aside),
        _ => Err(not_a_model(dir, &FILES)),
    }
}

fn load(dir: &Path) -> Result<SavedModel> {
    let manifest = Manifest::read(dir)?;
    let (path, text) = manifest.read_text(dir, CONFIG)?;
    let config: Config = serde_json::from_str(&text)
        .map_err(|e| Error::content(&path, format!("{e}; if a newer Brisk wrote it, update Brisk")))?;
    let lora = config.lora.clone();
    let (model, outputs) = config.parts().map_err(|message| Error::content(&path, message))?;
    let rules = ParamRules { lora, ..ParamRules::default() };
    let task = Task { model, outputs, rules, gradient_checkpointing: false };
    let specs = task.param_specs().map_err(|e| Error::content(&path, e))?;
    let (path, text) = manifest.read_text(dir, PREPROCESSING)?;
    let preprocessing = serde_json::from_str(&text).map_err(|e| Error::content(&path, e))?;
    let (path, labels) = manifest.read_text(dir, LABELS)?;
    let others: Vec<String> = manifest.names().filter(|n| !FILES.contains(n)).map(String::from).collect();
    check_files(others.iter().map(String::as_str)).map_err(|m| Error::content(&dir.join(MANIFEST), m))?;
    let read = |name: String| Ok((name.clone(), manifest.read_text(dir, &name)?.1));
    let saved = SavedModel {
        preprocessing,
        files: others.into_iter().map(read).collect::<Result<_>>()?,
        labels: labels.split_terminator('\n').map(unescape).collect(),
        card: fs::read(dir.join(CARD)).map(|c| String::from_utf8_lossy(&c).into_owned()).unwrap_or_default(),
        ..SavedModel::new(&task, &load_state(&dir.join(TENSORS), &manifest, &specs)?)
    };
    match check_labels(&saved) {
        Ok(()) => Ok(saved),
        Err(message) => Err(Error::content(&path, message)),
    }
}

/// Reads the tensors, if they are those of the model, in the model's order.
fn load_state(path: &Path, manifest: &Manifest, specs: &[ParamSpec]) -> Result<State> {
    let mut file = Hashed::open(path, "the model's tensors").map_err(missing)?;
    let state = read_state(&mut file, path, specs);
    if let Err(error @ Error::Io { .. }) = state {
        return Err(error);
    }
    // Whatever is wrong inside: bytes that are not those that were written come first.
    manifest.check(path, file.finish().map_err(Error::read(path))?)?;
    state
}

fn read_state(file: &mut Hashed, path: &Path, specs: &[ParamSpec]) -> Result<State> {
    let fault = |fault: Fault| match fault {
        Fault::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::Damaged { path: path.into(), found: "it ends too early".into(), remedy: REMEDY }
        }
        fault => fault.at(path),
    };
    let entries = read_header(file).map_err(fault)?;
    let found: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.kind())).collect();
    let problems = compare(specs, &found);
    if !problems.is_empty() {
        return Err(Error::Tensors { path: path.into(), problems });
    }
    let mut tensors: HashMap<String, Tensor> = read_data(file, entries).map_err(fault)?;
    Ok(specs.iter().filter_map(|s| Some((s.name.as_str(), tensors.remove(&s.name)?))).collect())
}

fn kind(dtype: DType, shape: &Shape) -> String {
    Entry { name: String::new(), dtype, shape: shape.clone() }.kind()
}

/// What does not fit between a model and tensors.
fn compare(specs: &[ParamSpec], found: &[(&str, String)]) -> Vec<TensorProblem> {
    let of_name: HashMap<&str, &String> = found.iter().map(|(n, k)| (*n, k)).collect();
    let known: HashSet<&str> = specs.iter().map(|s| s.name.as_str()).collect();
    let wrong = specs.iter().filter_map(|spec| {
        let expected = kind(DType::F32, &spec.shape);
        let found = of_name.get(spec.name.as_str()).map(|k| k.to_string());
        let fits = found.as_ref() == Some(&expected);
        (!fits).then(|| TensorProblem { name: spec.name.clone(), expected: Some(expected), found })
    });
    let strange = found.iter().filter(|(name, _)| !known.contains(name)).map(|(name, kind)| TensorProblem {
        name: name.to_string(),
        expected: None,
        found: Some(kind.clone()),
    });
    wrong.chain(strange).collect()
}

/// Other files stand beside the model's own, and are none of them.
fn check_files<'a>(mut names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let sound = |name: &&str| {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        plain && !name.starts_with('.') && !name.is_empty() && !FILES.contains(name)
    };
    match names.find(|name| !sound(name)) {
        Some(name) => Err(format!("a file of a model cannot be called {name:?}")),
        None => Ok(()),
    }
}

/// A class has a name, or none has.
fn check_labels(saved: &SavedModel) -> Result<(), String> {
    let [output] = &saved.outputs[..] else { return Ok(()) };
    let classes = match (&output.loss, saved.model.output_shape().last()) {
        (loss, _) if !loss.is_classification() => return Ok(()),
        (Loss::BinaryCrossentropy { .. }, 1) => 2,
        (_, outputs) => outputs,
    };
    match saved.labels.len() {
        0 => Ok(()),
        n if n == classes => Ok(()),
        n => Err(format!("expected {classes} labels, one for each class of the model, found {n}")),
    }
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

fn unescape(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            },
            c => c,
        });
    }
    text
}

/// Only a model is replaced by a model.
fn check_place(dir: &Path) -> Result<()> {
    if is_model(dir) || !dir.exists() {
        return Ok(());
    }
    let entries = fs::read_dir(dir).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotADirectory => {
            Error::unsaved(dir, "there is a file of this name; choose another one")
        }
        _ => Error::write(dir)(e),
    })?;
    let names: Vec<_> = entries.flatten().map(|e| e.file_name().display().to_string()).collect();
    match names.is_empty() {
        true => Ok(()),
        false => Err(Error::unsaved(
            dir,
            format!("the folder holds no model but {}; choose a new one", listed(&names)),
        )),
    }
}
