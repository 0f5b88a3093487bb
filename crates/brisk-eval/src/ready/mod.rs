//! Trained models with all that they need to answer.

mod answer;
mod ask;
mod check;
mod embedder;
mod import;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use brisk_data::{
    Feature, Features, ImageFeature, ImageSpec, Layout, Layouts, Preprocessing, Scaling, Target,
    VectorFeature,
};
use brisk_format::{HfFolder, SavedModel, import_onnx, is_model, load_keras, load_model, read_graph};
use brisk_graph::DType;
use brisk_nn::{Rows, X};
use indexmap::{IndexMap, IndexSet};

use crate::{Error, Result};

pub use answer::{Answer, Guess, guesses, record, shown};
pub use ask::{Asker, Said};

/// What the picture of a model of pictures is called, where its inputs are named.
pub const IMAGE: &str = "image";

/// A trained model with all that it needs to answer: how its inputs are read, and what its outputs are called. Wherever it comes
/// from (pictures, the rows of a table, bare tensors, a Hugging Face folder), it reads [`Features`].
///
/// ```
/// use brisk_data::{Encoded, EncodedValue, Notes};
/// use brisk_eval::{Asker, Ready};
/// use brisk_format::SavedModel;
/// use brisk_nn::prelude::*;
/// let model = Sequential::new([2]).add(Dense::new(3)).build()?;
/// let task = Task::new(model, Loss::sparse_categorical_crossentropy());
/// let saved = SavedModel::new(&task, &task.model.init_state(1)?);
/// let ready = Ready::new(saved, "".as_ref())?;
/// let sample = Encoded { inputs: vec![EncodedValue::Vector(vec![0.5, 1.5])], targets: vec![], notes: Notes::default() };
/// let device = brisk_runtime::Cpu::new(1);
/// let said = Asker::new(&device, &ready).ask(&[sample])?;
/// assert_eq!(said[0][0].len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ready {
    /// As it was saved.
    pub model: SavedModel,
    /// How its inputs are read, and its outputs are called.
    pub features: Features,
    /// How texts lie in memory.
    pub layouts: Layouts,
    /// What people give it.
    pub takes: Takes,
    /// The folder of the run that it comes from, if it lies in one.
    pub run: Option<PathBuf>,
}

/// What people give a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Pictures, which become this size.
    Pictures(ImageSpec),
    /// The rows of a table: texts, numbers, ...
    Rows,
    /// Tensors of numbers: nobody has written down what they mean.
    Numbers,
}

impl Ready {
    /// Reads `runs/NAME`, `runs/NAME/model`, any other model folder, a Hugging Face folder, or a file of ONNX, TensorFlow Lite, TensorFlow (a
    /// frozen graph) or Keras.
    pub fn open(path: &Path) -> Result<Ready> {
        if is_foreign_folder(path) {
            return Ready::import(&HfFolder::open(path)?);
        }
        let (model, folder) = read(path)?;
        let run = match is_run(path) {
            true => Some(path.to_path_buf()),
            false => run_of(&folder),
        };
        Ok(Ready { run, ..Ready::new(model, &folder)? })
    }

    /// A saved model, and the folder that its tokenizers lie in. An error if what it says of its inputs does not fit it.
    pub fn new(model: SavedModel, folder: &Path) -> Result<Ready> {
        let model = model.merged()?;
        let place = folder.join("preprocessing.json").display().to_string();
        let fault = |message: String| Error::NotReady { place: place.clone(), message };
        if let Some((features, layouts)) = saved_features(folder, &model)? {
            return Ok(Ready { model, features, layouts, takes: Takes::Rows, run: None });
        }
        let targets = labelled(&model).map_err(fault)?;
        let (inputs, takes) = match model.preprocessing.is_null() {
            true => (numbers(&model).map_err(fault)?, Takes::Numbers),
            false => {
                let image = picture(&model, &place)?;
                let feature = Feature::Image(ImageFeature { column: IMAGE.into(), image });
                ([(X.to_string(), feature)].into(), Takes::Pictures(image))
            }
        };
        let features = Features { inputs, targets };
        Ok(Ready { model, features, layouts: Layouts::packed(), takes, run: None })
    }
}

/// The model alone of all that [`Ready::open`] reads: for tensors, of which nobody needs to say how they are read.
///
/// ```no_run
/// let model = brisk_eval::open_model("model.keras".as_ref())?;
/// println!("{}", model.model.summary()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open_model(path: &Path) -> Result<SavedModel> {
    match is_foreign_folder(path) {
        true => Ok(Ready::import(&HfFolder::open(path)?)?.model),
        false => Ok(read(path)?.0.merged()?),
    }
}

fn is_run(path: &Path) -> bool {
    path.join("config.yaml").is_file() && !is_model(path)
}

/// Whether it is one of Hugging Face.
fn is_foreign_folder(path: &Path) -> bool {
    !is_run(path) && HfFolder::is_one(path)
}

/// A model, and the folder that its other files lie in; the empty path if it is a file itself.
fn read(path: &Path) -> Result<(SavedModel, PathBuf)> {
    if path.is_file()
        && let Some(file) = read_graph(path)?
    {
        return Ok((import_onnx(path, file)?, PathBuf::new()));
    }
    let kind = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    match kind.as_str() {
        "keras" | "h5" | "hdf5" if path.is_file() => return Ok((load_keras(path)?.saved, PathBuf::new())),
        _ => {}
    }
    let inside = path.join("model");
    match is_run(path) {
        true => match load_model(&inside) {
            // The message about the run itself says more: that it has not finished.
            Err(brisk_format::Error::NotFound { .. }) => Ok((load_model(path)?, inside)),
            result => Ok((result?, inside)),
        },
        false => Ok((load_model(path)?, path.to_path_buf())),
    }
}

/// The output of a model that tells classes apart; numbers if they have no names.
fn labelled(model: &SavedModel) -> Result<IndexMap<String, Target>, String> {
    let [output] = &model.outputs[..] else { return Ok(IndexMap::new()) };
    if !output.loss.is_classification() {
        return Ok(IndexMap::new());
    }
    let classes = model.model.output_shape().last().max(2);
    let labels: IndexSet<String> = match model.labels.is_empty() {
        true => (0..classes).map(|i| i.to_string()).collect(),
        false => model.labels.iter().cloned().collect(),
    };
    if labels.len() != classes {
        return Err(format!("expected {classes} labels that differ from each other, found {}", labels.len()));
    }
    let target = Target::Category { column: "label".into(), labels };
    Ok([(output.name.clone(), target)].into())
}

/// The inputs of a model of tensors.
fn numbers(model: &SavedModel) -> Result<IndexMap<String, Feature>, String> {
    let feature = |input: &brisk_nn::ModelInput| {
        let size = input.shape.iter().copied().product::<Option<usize>>();
        match (size, input.dtype, input.rows) {
            (Some(size), DType::F32 | DType::U8, Rows::Samples) => {
                let scaling = vec![Scaling { offset: 0.0, factor: 1.0 }; size];
                let columns = vec![input.name.clone()];
                let vector = VectorFeature { columns, list: true, fill: vec![None; size], scaling };
                Ok((input.tensor().to_string(), Feature::Vector(vector)))
            }
            _ => Err(format!(
                "nothing says how `{}` ({} {}) is read; save the model with its features, as training from a project does",
                input.name,
                input.dtype,
                input
                    .shape
                    .iter()
                    .map(|d| d.map_or("?".into(), |d| d.to_string()))
                    .collect::<Vec<_>>()
                    .join("x"),
            )),
        }
    };
    model.model.inputs().iter().map(feature).collect()
}

/// The size of a model's pictures.
fn picture(model: &SavedModel, place: &str) -> Result<ImageSpec> {
    let fault = |message: String| Error::NotReady { place: place.into(), message };
    let preprocessing: Preprocessing = serde_json::from_value(model.preprocessing.clone())
        .map_err(|e| e.to_string())
        .and_then(|p: Preprocessing| p.validate().map(|()| p).map_err(|e| e.to_string()))
        .map_err(fault)?;
    let image = preprocessing.image;
    let shape = model.model.input_shape();
    match shape.dims() == [image.height, image.width, image.channels] {
        true => Ok(image),
        false => {
            Err(fault(format!("its images are {image}, but the model takes {shape}; train the model again")))
        }
    }
}

/// The run around `runs/NAME/model`, if the model is in one.
///
/// ```
/// assert_eq!(brisk_eval::run_of("somewhere/else".as_ref()), None);
/// ```
pub fn run_of(model: &Path) -> Option<PathBuf> {
    let folder = std::fs::canonicalize(model).ok()?;
    let run = folder.parent()?;
    (folder.file_name()? == "model" && run.join("config.yaml").is_file()).then(|| run.to_path_buf())
}

/// Writes into a model how its rows are read.
///
/// ```
/// use brisk_data::{Features, Layouts};
/// use brisk_format::SavedModel;
/// use brisk_nn::prelude::*;
/// let model = Sequential::new([2]).add(Dense::new(3)).build()?;
/// let task = Task::new(model, Loss::sparse_categorical_crossentropy());
/// let mut saved = SavedModel::new(&task, &task.model.init_state(1)?);
/// brisk_eval::record_features(&mut saved, &Features::default(), &Layouts::packed())?;
/// assert!(saved.preprocessing["features"].is_object());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn record_features(saved: &mut SavedModel, features: &Features, layouts: &Layouts) -> Result<()> {
    let layouts: BTreeMap<String, String> = features
        .texts()
        .map(|(name, _)| (name.to_string(), format!("{:?}", layouts.of(name)).to_lowercase()))
        .collect();
    saved.preprocessing = serde_json::json!({ "features": features, "layouts": layouts });
    saved.files = features.tokenizer_files()?;
    Ok(())
}

/// The features of a saved model, and how it wants texts to lie in memory; `None` if nobody has recorded any.
fn saved_features(dir: &Path, saved: &SavedModel) -> Result<Option<(Features, Layouts)>> {
    let Some(features) = saved.preprocessing.get("features") else { return Ok(None) };
    let fault = |message: String| Error::NotReady { place: dir.display().to_string(), message };
    let mut features: Features = serde_json::from_value(features.clone())
        .map_err(|e| fault(format!("preprocessing.json: {e}; restore the folder, or train again")))?;
    features.load_tokenizers(dir)?;
    let mut layouts = Layouts::packed();
    for (name, layout) in saved.preprocessing["layouts"].as_object().into_iter().flatten() {
        if layout == "padded" {
            layouts = layouts.with(name, Layout::Padded);
        }
    }
    Ok(Some((features, layouts)))
}
