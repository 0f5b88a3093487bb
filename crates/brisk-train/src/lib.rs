//! Training: the project file, the loop, checkpoints, progress and logs.
//!
//! [`Project`] is what the user writes; [`Run`] trains it in a folder; [`Fit`] is the loop itself, for programs of your own.

mod assemble;
mod error;
mod fit;
mod history;
mod metrics;
mod prepared;
mod progress;
mod project;
mod run;
mod table;
mod tensorboard;

pub use assemble::{Assembly, Pretrained, assemble};
pub use error::{Error, Result};
pub use fit::{Fit, Flow, Hooks, Position};
pub use history::History;
pub use metrics::RunMetrics;
pub use prepared::{Images, Prepared, PreparedData, scaling};
pub use progress::{Progress, TaskProgress, Unit};
pub use project::{
    Combiner, DEFAULT_PROJECT, DataSpec, EarlyStopping, HeadSpec, ImageInput, InputSpec, Keep, ModelSpec,
    Project, PublishSpec, TrainPrecision, TrainSpec,
};
pub use run::{Outcome, Run, evaluate, new_run_dir};
pub use table::{Measured, Table, evaluate_table};
pub use tensorboard::EventWriter;
