//! How good is a model? Metrics, plots, reports and model cards.
//!
//! - [`metrics`] accumulates over batches and gives a [`Report`] (JSON, or an aligned table through `Display`).
//! - [`plot`] draws small SVG charts that follow the reader's light or dark theme.
//! - [`report`] puts a whole training run into one self-contained HTML page.
//! - [`card`] writes the README of a published model.
//!
//! - [`Evaluator`] measures a model on data, [`Predictor`] asks it about tensors.
//! - [`Ready`] is a trained model with all that it needs to answer, [`Asker`] asks it about samples.
//!
//! All but those are pure: numbers and strings in, numbers and strings out.
//!
//! ```
//! use brisk_eval::Classification;
//!
//! let mut metrics = Classification::new(3);
//! metrics.update(&[0.7, 0.2, 0.1, /* second sample */ 0.1, 0.3, 0.6], &[0, 1])?;
//! let report = metrics.report();
//! assert_eq!(report.accuracy, 0.5);
//! println!("{report}");
//! # Ok::<(), brisk_eval::Error>(())
//! ```

pub mod card;
mod error;
mod evaluate;
pub mod metrics;
mod outputs;
mod parity;
pub mod plot;
mod predict;
mod ready;
mod record;
pub mod report;
mod require;

pub use card::ModelCard;
pub use error::{Error, Result};
pub use evaluate::Evaluator;
pub use metrics::{Classification, MultiLabel, MultiLabelReport, Regression, RegressionReport, Report};
pub use outputs::{OutputReport, Outputs};
pub use parity::{Difference, ask, differences};
pub use predict::Predictor;
pub use ready::{
    Answer, Asker, Guess, IMAGE, Ready, Said, Takes, guesses, open_model, record, record_features, run_of,
    shown,
};
pub use record::EpochRecord;
pub use report::{Mistake, RunReport};
pub use require::{Comparison, Condition, Requirements, Unmet};
