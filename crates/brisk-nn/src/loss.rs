//! Losses: what training makes small.

use brisk_graph::{DType, Shape, Tensor, Value, op};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::tagged;
use crate::{Error, Result};

/// A loss, with Keras's names. Classifiers end without an activation: cross-entropies take logits, always.
///
/// A loss is computed sample by sample; the loss of a batch is `sum(weight * loss) / batch size`, the weight being that
/// of the sample's class, as in Keras.
///
/// ```
/// use brisk_nn::Loss;
/// let loss: Loss = serde_json::from_str(r#"{"huber": {"delta": 0.5}}"#)?;
/// assert_eq!(loss, Loss::Huber { delta: 0.5 });
/// let error = serde_json::from_str::<Loss>("\"mean_square_error\"").unwrap_err().to_string();
/// assert!(error.contains("did you mean \"mean_squared_error\"?"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(remote = "Loss", transform = crate::schema::allow_bare_names)]
pub enum Loss {
    /// `-log softmax(logits)[label]`; labels are class numbers (i32).
    SparseCategoricalCrossentropy {
        /// Targets become `1 - s + s / classes` for the label and `s / classes` for others.
        #[serde(default)]
        label_smoothing: f64,
        /// A weight for each class.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class_weights: Option<Vec<f64>>,
    },
    /// `-sum(y log softmax(logits))`; targets are a distribution over the classes.
    CategoricalCrossentropy {
        /// Targets become `y (1 - s) + s / classes`.
        #[serde(default)]
        label_smoothing: f64,
        /// A weight for each class; a sample's class is that of its largest target.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class_weights: Option<Vec<f64>>,
    },
    /// `-y log sigmoid(logit) - (1 - y) log sigmoid(-logit)`, the mean over the outputs; targets are 0 to 1.
    BinaryCrossentropy {
        /// Targets become `y (1 - s) + s / 2`.
        #[serde(default)]
        label_smoothing: f64,
        /// A weight for 0 and for 1; for one output only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class_weights: Option<Vec<f64>>,
    },
    /// `(y - p)²`, the mean over the outputs.
    MeanSquaredError,
    /// `|y - p|`, the mean over the outputs.
    MeanAbsoluteError,
    /// `e² / 2` for errors up to delta, `delta |e| - delta² / 2` beyond, the mean over the outputs (Huber, 1964).
    Huber {
        /// Where it becomes linear.
        #[serde(default = "default_delta")]
        delta: f64,
    },
}
tagged!(Loss, "loss");

fn default_delta() -> f64 {
    1.0
}

impl Loss {
    /// For class numbers, without smoothing or weights.
    pub fn sparse_categorical_crossentropy() -> Loss {
        Loss::SparseCategoricalCrossentropy { label_smoothing: 0.0, class_weights: None }
    }

    /// For distributions over classes, without smoothing or weights.
    pub fn categorical_crossentropy() -> Loss {
        Loss::CategoricalCrossentropy { label_smoothing: 0.0, class_weights: None }
    }

    /// For truth values, without smoothing or weights.
    pub fn binary_crossentropy() -> Loss {
        Loss::BinaryCrossentropy { label_smoothing: 0.0, class_weights: None }
    }

    /// The name in configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Loss::SparseCategoricalCrossentropy { .. } => "sparse_categorical_crossentropy",
            Loss::CategoricalCrossentropy { .. } => "categorical_crossentropy",
            Loss::BinaryCrossentropy { .. } => "binary_crossentropy",
            Loss::MeanSquaredError => "mean_squared_error",
            Loss::MeanAbsoluteError => "mean_absolute_error",
            Loss::Huber { .. } => "huber",
        }
    }

    /// Whether the model tells classes apart.
    pub fn is_classification(&self) -> bool {
        match self {
            Loss::SparseCategoricalCrossentropy { .. }
            | Loss::CategoricalCrossentropy { .. }
            | Loss::BinaryCrossentropy { .. } => true,
            Loss::MeanSquaredError | Loss::MeanAbsoluteError | Loss::Huber { .. } => false,
        }
    }

    /// The same loss for distributions instead of class numbers (mixup needs them); others stay.
    pub fn soft(&self) -> Loss {
        match self {
            Loss::SparseCategoricalCrossentropy { label_smoothing, class_weights } => {
                Loss::CategoricalCrossentropy {
                    label_smoothing: *label_smoothing,
                    class_weights: class_weights.clone(),
                }
            }
            other => other.clone(),
        }
    }

    /// Shape and type of the targets of one sample, for a model's output of one sample.
    ///
    /// ```
    /// use brisk_graph::DType;
    /// use brisk_nn::Loss;
    /// assert_eq!(Loss::sparse_categorical_crossentropy().target(&[10].into()), ([].into(), DType::I32));
    /// assert_eq!(Loss::binary_crossentropy().target(&[1].into()), ([].into(), DType::I32));
    /// assert_eq!(Loss::MeanSquaredError.target(&[3].into()), ([3].into(), DType::F32));
    /// ```
    pub fn target(&self, output: &Shape) -> (Shape, DType) {
        let places = || Shape::from(&output[..output.rank().saturating_sub(1)]);
        match self {
            Loss::SparseCategoricalCrossentropy { .. } => (places(), DType::I32),
            Loss::BinaryCrossentropy { .. } if output.last() == 1 => (places(), DType::I32),
            _ => (output.clone(), DType::F32),
        }
    }

    /// The weighted loss of each sample, `[n]`, of predictions `[n, ..., outputs]` and targets of the same shape, or
    /// class numbers (i32) `[n, ...]`.
    pub fn per_sample<'g>(&self, prediction: Value<'g>, target: Value<'g>) -> Result<Value<'g>> {
        self.check(prediction, target)?;
        let last = prediction.rank() - 1;
        let loss = prediction.builder().scope("loss", || self.by_place(prediction, target)); // [n, ...]
        let axes: Vec<usize> = (1..last).collect();
        let loss = if axes.is_empty() { loss } else { loss.mean(&axes) };
        prediction.builder().check()?;
        Ok(loss)
    }

    /// The loss of a batch: `sum(weight * loss) * (1 / batch size)`.
    pub fn mean<'g>(&self, prediction: Value<'g>, target: Value<'g>) -> Result<Value<'g>> {
        let loss = self.per_sample(prediction, target)?;
        Ok(loss.sum(&[0]) * (1.0 / prediction.dim(0) as f64))
    }

    /// What a model with this loss says of its input, from what it yields: probabilities, or the values themselves.
    pub fn probabilities<'g>(&self, prediction: Value<'g>) -> Value<'g> {
        match self {
            Loss::SparseCategoricalCrossentropy { .. } | Loss::CategoricalCrossentropy { .. } => {
                op::softmax(prediction)
            }
            Loss::BinaryCrossentropy { .. } => op::sigmoid(prediction),
            Loss::MeanSquaredError | Loss::MeanAbsoluteError | Loss::Huber { .. } => prediction,
        }
    }

    fn by_place<'g>(&self, p: Value<'g>, y: Value<'g>) -> Value<'g> {
        let last = p.rank() - 1;
        match self {
            Loss::SparseCategoricalCrossentropy { label_smoothing: s, class_weights } => {
                let loss = op::sparse_cross_entropy(p, y, *s);
                weighted(loss, class_weights, || y)
            }
            Loss::CategoricalCrossentropy { label_smoothing: s, class_weights } => {
                let smooth = if *s == 0.0 { y } else { y * (1.0 - s) + s / p.last() as f64 };
                weighted(op::cross_entropy(p, smooth), class_weights, || y.argmax(last))
            }
            Loss::BinaryCrossentropy { label_smoothing: s, class_weights } => {
                let y = if y.dtype() == DType::I32 { y.cast(DType::F32).expand(last) } else { y };
                let smooth = if *s == 0.0 { y } else { y * (1.0 - s) + s / 2.0 };
                let loss = op::binary_cross_entropy(p, smooth).mean(&[last]);
                weighted(loss, class_weights, || (y.sum(&[last]) + 0.5).floor().cast(DType::I32))
            }
            Loss::MeanSquaredError => op::squared_error(p, y).mean(&[last]),
            Loss::MeanAbsoluteError => op::absolute_error(p, y).mean(&[last]),
            Loss::Huber { delta } => op::huber(p, y, *delta).mean(&[last]),
        }
    }

    fn check(&self, p: Value<'_>, y: Value<'_>) -> Result<()> {
        let fail = |message: String| Err(Error::config(format!("loss {}", self.name()), message));
        let shape = p.shape();
        if shape.rank() < 2 || shape.contains(&0) {
            return fail(format!(
                "expected predictions [n, outputs], found {shape}; end the model with Dense"
            ));
        }
        let index = y.dtype() == DType::I32;
        let (expected, fits) = match self {
            Loss::SparseCategoricalCrossentropy { .. } => ("i32 class numbers", index),
            Loss::BinaryCrossentropy { .. } => {
                ("f32 targets, or i32 class numbers for one output", !index || p.last() == 1)
            }
            _ => ("f32 targets", !index),
        };
        let places = Shape::from(&shape[..shape.rank() - 1]);
        let wanted = if index { &places } else { &shape };
        if !fits || y.shape() != *wanted || !(index || y.dtype() == DType::F32) {
            return fail(format!(
                "expected {expected} of {wanted} for predictions {shape}, found {} {}; {}",
                y.dtype(),
                y.shape(),
                "the last layer must yield one value for each class or target"
            ));
        }
        let (smoothing, weights) = match self {
            Loss::SparseCategoricalCrossentropy { label_smoothing, class_weights }
            | Loss::CategoricalCrossentropy { label_smoothing, class_weights } => {
                if p.last() < 2 {
                    return fail("expected at least 2 classes, found 1; give the last layer a unit for each class, or use binary_crossentropy".into());
                }
                (*label_smoothing, class_weights.as_ref().map(|w| (w, p.last())))
            }
            Loss::BinaryCrossentropy { label_smoothing, class_weights } => {
                if class_weights.is_some() && p.last() != 1 {
                    return fail(format!("class_weights need a model with one output, found {}", p.last()));
                }
                (*label_smoothing, class_weights.as_ref().map(|w| (w, 2)))
            }
            Loss::Huber { delta } if !(*delta > 0.0 && delta.is_finite()) => {
                return fail(format!("expected a delta above 0, found {delta}"));
            }
            _ => (0.0, None),
        };
        if !(0.0..1.0).contains(&smoothing) {
            return fail(format!("expected a label_smoothing from 0 to below 1, found {smoothing}"));
        }
        match weights {
            Some((w, classes)) if w.len() != classes => {
                fail(format!("expected class_weights for {classes} classes, found {}", w.len()))
            }
            Some((w, _)) if w.iter().any(|w| !w.is_finite() || *w < 0.0) => {
                fail(format!("expected class_weights of 0 or more, found {w:?}"))
            }
            _ => Ok(()),
        }
    }
}

fn weighted<'g>(loss: Value<'g>, weights: &Option<Vec<f64>>, class: impl FnOnce() -> Value<'g>) -> Value<'g> {
    let Some(weights) = weights else { return loss };
    match Tensor::from_f64s(DType::F32, [weights.len()], weights) {
        Ok(table) => loss * loss.builder().constant(table).take(class()),
        Err(error) => {
            loss.builder().fail("class_weights", error.to_string());
            loss
        }
    }
}
