//! Training: the project file, the loop, checkpoints, progress and logs.
//!
//! [`Project`] is what the user writes; [`Run`] trains it in a folder; [`Fit`] is the loop itself, for programs of your own.

mod error;
mod fit;
mod history;
mod progress;
mod project;
mod run;
mod tensorboard;

pub use error::{Error, Result};
pub use fit::{Fit, Flow, Hooks, Position};
pub use history::History;
pub use progress::{Progress, TaskProgress, Unit};
pub use project::{
    DEFAULT_PROJECT, DataSpec, EarlyStopping, InputSpec, Keep, ModelSpec, OutputSpec, Project, TrainSpec,
};
pub use run::{Outcome, Prepared, Run, evaluate, new_run_dir, scaling};
pub use tensorboard::EventWriter;
