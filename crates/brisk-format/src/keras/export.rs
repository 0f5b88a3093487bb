//! From a model of Brisk to a file that Keras opens.

use std::io::{Cursor, Write};
use std::path::Path;

use brisk_nn::Optimizer;
use serde_json::json;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::import::{CONFIG, LABELS, METADATA, WEIGHTS};
use super::write_compile;
use super::write_graph::Written;
use super::write_weights::weights;
use crate::{Error, Result, SavedModel, write_atomic};

/// The version of Keras whose format is written.
const VERSION: &str = "3.15.1";

/// Writes a model as a `.keras` file, which Keras 3 opens with `keras.saving.load_model`. It says there what it says in Brisk: an output for
/// classes gets its softmax or sigmoid, and an input that is scaled gets a Rescaling.
///
/// With an optimizer, the model is compiled in Keras too. Gives what has no place in Keras and is left out; a layer that Keras does not have
/// is an error.
///
/// ```
/// use brisk_format::{SavedModel, load_keras, save_keras};
/// use brisk_nn::prelude::*;
/// let model = Sequential::new([4]).add(Dense::new(2)).build()?;
/// let task = Task::new(model, Loss::sparse_categorical_crossentropy());
/// let mut saved = SavedModel::new(&task, &task.model.init_state(1)?);
/// saved.labels = vec!["cat".into(), "dog".into()];
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("model.keras");
/// let left_out = save_keras(&path, &saved, Some(&Optimizer::adam(1e-3)))?;
/// assert!(left_out.is_empty());
/// let read = load_keras(&path)?;
/// assert_eq!((read.saved.state, read.saved.labels), (saved.state, saved.labels));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn save_keras(path: &Path, saved: &SavedModel, optimizer: Option<&Optimizer>) -> Result<Vec<String>> {
    let unsaved = |message: String| Error::unsaved(path, message);
    let merged = saved.clone().merged().map_err(|e| unsaved(e.to_string()))?;
    let mut left_out = Vec::new();
    let written = Written::new(&merged).map_err(unsaved)?;
    let compile = write_compile::settings(&merged, optimizer, &mut left_out);
    let config = json!({
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": written.config(),
        "registered_name": "Functional",
        "build_config": {"input_shape": null},
        "compile_config": compile,
    });
    let metadata =
        json!({"keras_version": VERSION, "date_saved": "1980-01-01@00:00:00", LABELS: merged.labels});
    if merged.preprocessing.as_object().is_some_and(|p| !p.is_empty()) {
        left_out.push("preprocessing: prepare inputs in Python as Brisk's preprocessing.json says".into());
    }
    let weights = weights(&written.weights, &merged.state).map_err(unsaved)?;

    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut part = |name: &str, bytes: &[u8]| {
        let stored = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(bytes.len() as u64 >= u64::from(u32::MAX));
        zip.start_file(name, stored).map_err(|e| unsaved(e.to_string()))?;
        zip.write_all(bytes).map_err(Error::write(path))
    };
    part(METADATA, metadata.to_string().as_bytes())?;
    part(CONFIG, config.to_string().as_bytes())?;
    part(WEIGHTS, &weights)?;
    let bytes = zip.finish().map_err(|e| unsaved(e.to_string()))?.into_inner();
    write_atomic(path, |w| w.write_all(&bytes))?;
    Ok(left_out)
}
