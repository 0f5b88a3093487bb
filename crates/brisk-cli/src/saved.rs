//! Finding trained models: in a run, in a folder of their own, or in one of Hugging Face's.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use brisk_data::{Features, ImageSpec, Layouts, Preprocessing};
use brisk_format::{HfFolder, SavedModel, is_model, load_model};
use brisk_train::{Project, Readable, import_folder, saved_features};

use crate::exit::bad_input;

/// A model, what it takes, and the run that it comes from.
pub struct Saved {
    /// As it was saved.
    pub model: SavedModel,
    /// What it takes.
    pub takes: Takes,
    /// The folder of its run, if it lies in one.
    pub run: Option<PathBuf>,
}

/// What a model takes.
pub enum Takes {
    /// Pictures of one size.
    Images(ImageSpec),
    /// The rows of a table: texts, numbers, ...
    Table {
        /// How they are read.
        features: Features,
        /// How texts lie in memory.
        layouts: Layouts,
    },
}

impl Saved {
    /// Reads `runs/NAME`, `runs/NAME/model`, any other model folder, or a Hugging Face folder.
    pub fn open(path: &Path) -> Result<Saved> {
        let is_run = path.join("config.yaml").is_file() && !is_model(path);
        if !is_run && HfFolder::is_one(path) {
            let (model, features, layouts) = import_folder(&HfFolder::open(path)?)?;
            return Ok(Saved { model, takes: Takes::Table { features, layouts }, run: None });
        }
        let inside = path.join("model");
        let model = match is_run {
            true => match load_model(&inside) {
                // The message about the run itself says more: that it has not finished.
                Err(brisk_format::Error::NotFound { .. }) => load_model(path),
                result => result,
            },
            false => load_model(path),
        }?;
        let model = model.merged()?;
        let folder = if is_run { inside } else { path.to_path_buf() };
        let takes = match saved_features(&folder, &model)? {
            Some((features, layouts)) => Takes::Table { features, layouts },
            None => Takes::Images(images(&folder, &model)?),
        };
        let run = if is_run { Some(path.to_path_buf()) } else { run_of(path) };
        Ok(Saved { model, takes, run })
    }

    /// The size of its pictures. An error if it takes none.
    pub fn image(&self) -> Result<ImageSpec> {
        match self.takes {
            Takes::Images(image) => Ok(image),
            Takes::Table { .. } => Err(bad_input("this model takes the rows of a table, no pictures")),
        }
    }

    /// The model with how it reads rows. An error if it takes pictures.
    pub fn into_readable(self) -> Result<Readable> {
        match self.takes {
            Takes::Table { features, layouts } => Ok((self.model, features, layouts)),
            Takes::Images(_) => Err(bad_input("this model takes pictures, no texts")),
        }
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

/// The size of a model's pictures.
fn images(folder: &Path, model: &SavedModel) -> Result<ImageSpec> {
    let file = folder.join("preprocessing.json").display().to_string();
    let preprocessing: Preprocessing = serde_json::from_value(model.preprocessing.clone())
        .map_err(anyhow::Error::from)
        .and_then(|p: Preprocessing| p.validate().map(|()| p).map_err(Into::into))
        .map_err(|e| bad_input(e.to_string()))
        .with_context(|| file.clone())?;
    let image = preprocessing.image;
    if model.model.input_shape().dims() != [image.height, image.width, image.channels] {
        let shape = model.model.input_shape();
        return Err(bad_input(format!(
            "{file}: its images are {image}, but the model takes {shape}; train the model again"
        )));
    }
    Ok(image)
}

/// The run around `runs/NAME/model`.
fn run_of(model: &Path) -> Option<PathBuf> {
    let folder = std::fs::canonicalize(model).ok()?;
    let run = folder.parent()?;
    (folder.file_name()? == "model" && run.join("config.yaml").is_file()).then(|| run.to_path_buf())
}
