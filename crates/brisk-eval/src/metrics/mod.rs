//! Metrics that accumulate over batches, with the names and conventions of Keras and scikit-learn.
//!
//! [`Classification`] and [`Regression`] take batch after batch and give a report at the end. Below them stand
//! [`ConfusionMatrix`] and [`roc_auc`], usable on their own.
//!
//! # Where there is nothing to divide by
//! - Precision of a class that was never predicted, recall of a class without samples, F1 of both: 0, as scikit-learn's
//!   `zero_division` default. All classes of the model count in the macro average (scikit-learn's `labels=range(classes)`).
//! - Loss, accuracy and every mean over no samples at all: NaN, which JSON shows as `null` and tables as `-`.
//! - ROC AUC of a class that lacks positive or negative samples: absent, and left out of the macro average.
//! - R2 over fewer than two samples: NaN. R2 of a constant target: 1 if predicted perfectly, otherwise 0.
//!
//! # NaN in the outputs
//! A NaN never wins an argmax. A row of nothing but NaN counts as a prediction of class 0 with probability NaN, its loss is NaN, and
//! ROC AUC is absent, so a broken model shows.

mod auc;
mod classification;
mod confusion;
mod correlation;
mod labels;
mod regression;
mod report;

pub use auc::roc_auc;
pub use classification::{Classification, argmax, softmax};
pub use confusion::{Average, ConfusionMatrix, Scores};
pub use correlation::{pearson, spearman};
pub use labels::{MultiLabel, MultiLabelReport};
pub use regression::{Regression, RegressionReport};
pub use report::{Averages, ClassReport, Report, TopK};
