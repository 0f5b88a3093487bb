//! Deep learning in one fast Rust binary: the library.
//!
//! Everything that the program `brisk` does is here to be embedded. [`Trainer`] is the short way: a model, a loss, an
//! optimizer, and Keras's three verbs.
//!
//! ```
//! use brisk::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let data = open(&"fashion-mnist-sample".into(), &OpenOptions::default())?;
//! let model = Sequential::new([28, 28, 1])
//!     .add(Flatten {})
//!     .add(Dense::new(32).activation(Relu))
//!     .add(Dense::new(10))
//!     .build()?;
//! let mut trainer = Trainer::new(model, Loss::sparse_categorical_crossentropy(), Optimizer::adam(1e-3))?;
//! trainer.fit(data.train(), None, 1)?;
//! let report = trainer.evaluate(data.test().expect("the sample has a test part"))?;
//! assert!(report.accuracy > 0.6);
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `serve` also `brisk::registry` and `brisk::serve`: versions of models, and a server of them.
//!
//! Below it lie plain functions over graph values, so that custom loops, adversarial networks and agents are ordinary
//! code: see the examples `custom_loop` and `autograd`.

pub use brisk_data as data;
pub use brisk_eval as eval;
pub use brisk_format as format;
pub use brisk_graph as graph;
pub use brisk_nn as nn;
#[cfg(feature = "serve")]
pub use brisk_registry as registry;
pub use brisk_runtime as runtime;
#[cfg(feature = "serve")]
pub use brisk_serve as serve;
pub use brisk_train as train;

mod trainer;

pub use trainer::Trainer;

/// What most programs need.
pub mod prelude {
    pub use brisk_data::{Dataset, Loader, LoaderOptions, OpenOptions, Part, open};
    pub use brisk_graph::{Builder, DType, Role, Tensor, Value, grad};
    pub use brisk_nn::prelude::*;
    pub use brisk_runtime::{Cpu, Device, Options, Program, State};

    pub use crate::Trainer;
}
