//! Finding trained models: in a run, or in a folder of their own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use brisk_data::{ImageSpec, Preprocessing};
use brisk_format::{SavedModel, is_model, load_model};
use brisk_train::Project;

use crate::exit::bad_input;

/// A model, the images that it takes, and the run that it comes from.
pub struct Saved {
    /// As it was saved.
    pub model: SavedModel,
    /// The size of its images.
    pub image: ImageSpec,
    /// The folder of its run, if it lies in one.
    pub run: Option<PathBuf>,
}

impl Saved {
    /// Reads `runs/NAME`, `runs/NAME/model`, or any other model folder.
    pub fn open(path: &Path) -> Result<Saved> {
        let is_run = path.join("config.yaml").is_file() && !is_model(path);
        let inside = path.join("model");
        let model = match is_run {
            true => match load_model(&inside) {
                // The message about the run itself says more: that it has not finished.
                Err(brisk_format::Error::NotFound { .. }) => load_model(path),
                result => result,
            },
            false => load_model(path),
        }?;
        let folder = if is_run { inside } else { path.to_path_buf() };
        let preprocessing: Preprocessing = serde_json::from_value(model.preprocessing.clone())
            .map_err(anyhow::Error::from)
            .and_then(|p: Preprocessing| p.validate().map(|()| p).map_err(Into::into))
            .map_err(|e| bad_input(e.to_string()))
            .with_context(|| folder.join("preprocessing.json").display().to_string())?;
        let image = preprocessing.image;
        if model.model.input_shape().dims() != [image.height, image.width, image.channels] {
            let shape = model.model.input_shape();
            let file = folder.join("preprocessing.json");
            return Err(bad_input(format!(
                "{}: its images are {image}, but the model takes {shape}; train the model again",
                file.display()
            )));
        }
        let run = if is_run { Some(path.to_path_buf()) } else { run_of(path) };
        Ok(Saved { model, image, run })
    }

    /// The names of the classes; numbers if they have none.
    pub fn labels(&self) -> Vec<String> {
        if !self.model.labels.is_empty() {
            return self.model.labels.clone();
        }
        let classes = self.model.model.output_shape().last().max(2);
        (0..classes).map(|i| i.to_string()).collect()
    }

    /// The project of its run.
    pub fn project(&self) -> Result<Option<Project>> {
        Ok(self.run.as_ref().map(|dir| Project::load(&dir.join("config.yaml"), &[])).transpose()?)
    }
}

/// The run around `runs/NAME/model`.
fn run_of(model: &Path) -> Option<PathBuf> {
    let folder = std::fs::canonicalize(model).ok()?;
    let run = folder.parent()?;
    (folder.file_name()? == "model" && run.join("config.yaml").is_file()).then(|| run.to_path_buf())
}
