//! What commands want to know of a trained model.

use anyhow::Result;
use brisk_data::{ImageSpec, Target};
use brisk_eval::{Ready, Takes};
use brisk_train::Project;

use crate::exit::bad_input;

/// The size of its pictures. An error if it takes none.
pub fn image(ready: &Ready) -> Result<ImageSpec> {
    match ready.takes {
        Takes::Pictures(image) => Ok(image),
        Takes::Rows | Takes::Numbers => Err(bad_input("this model takes the rows of a table, no pictures")),
    }
}

/// The names of the classes of a model with one output.
pub fn labels(ready: &Ready) -> Vec<String> {
    ready.features.targets.values().filter_map(Target::labels).flatten().cloned().collect()
}

/// The project of its run.
pub fn project(ready: &Ready) -> Result<Option<Project>> {
    Ok(ready.run.as_ref().map(|dir| Project::load(&dir.join("config.yaml"), &[])).transpose()?)
}
