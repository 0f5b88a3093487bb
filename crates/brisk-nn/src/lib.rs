//! Layers, losses, optimizers, schedules and ready-made models, in Keras's vocabulary.
//!
//! A [`Model`] is a description; [`Model::forward`] records it into a graph. A [`Task`] adds what a model is for, and makes
//! the three graphs of it: one training step, one step of evaluation, a prediction.
//!
//! ```
//! use brisk_nn::prelude::*;
//! let model = Sequential::new([28, 28, 1])
//!     .add(Conv2D::new(32, 3).activation(Relu))
//!     .add(MaxPooling2D::new(2))
//!     .add(Flatten {})
//!     .add(Dense::new(10))
//!     .build()?;
//! let task = Task::new(model, Loss::sparse_categorical_crossentropy());
//! let step = task.train_graph(&Optimizer::adam(1e-3), 32)?;
//! assert!(step.outputs.iter().any(|o| o.0 == "loss"));
//! # Ok::<(), brisk_nn::Error>(())
//! ```

mod activation;
pub mod config;
mod context;
mod error;
mod init;
mod layer;
mod loss;
mod metric;
mod model;
pub mod optimizer;
mod program;
mod rules;
mod schedule;
mod schema;
mod shapes;
mod size;
pub mod zoo;

pub use activation::Activation;
pub use context::{Context, ParamSpec};
pub use error::{Error, Result};
pub use init::Initializer;
pub use layer::*;
pub use loss::Loss;
pub use metric::Metric;
pub use model::{INPUT, Model, ModelConfig, ModelInput, ModelLayer, Rows, Scaling, Sequential, Source, X};
pub use optimizer::Optimizer;
pub use program::{Accumulation, KEY, LEARNING_RATE, PROBABILITIES, Task, TaskOutput, Y};
pub use rules::{Lora, ParamRules, Unfreeze};
pub use schedule::{Plateau, Schedule};
pub use shapes::Shapes;
pub use size::{Padding, Size};

/// What most programs that build models need.
pub mod prelude {
    pub use crate::Activation::{Relu, Sigmoid, Silu, Softmax, Softplus, Tanh};
    pub use crate::layer::*;
    pub use crate::{
        Activation, Context, Initializer, Loss, Metric, Model, Optimizer, Padding, ParamRules, Schedule,
        Sequential, Task, TaskOutput,
    };
}
