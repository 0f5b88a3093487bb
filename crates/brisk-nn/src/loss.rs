//! Losses: what training makes small.

mod embedding;

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
        /// Places with this label do not count: the loss is the mean over the others, of all samples together. -1 for tags and
        /// for masked language models.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ignore_class: Option<i32>,
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
        /// For each output what its first term is multiplied with, for labels that are rarely there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        positive_weights: Option<Vec<f64>>,
    },
    /// `-(1 - p)^gamma log p` for the probability `p = softmax(logits)[label]` (Lin and others, 2017): samples that are told
    /// well count little. Labels are class numbers (i32).
    FocalCrossentropy {
        /// How much less the easy ones count.
        #[serde(default = "default_gamma")]
        gamma: f64,
        /// A weight for each class.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class_weights: Option<Vec<f64>>,
    },
    /// The same for truth values: `-(1 - p)^gamma log p`, the mean over the outputs, with `p = sigmoid(logit)` where the target is
    /// 1 and `sigmoid(-logit)` where it is 0.
    BinaryFocalCrossentropy {
        /// How much less the easy ones count.
        #[serde(default = "default_gamma")]
        gamma: f64,
        /// The weight of targets of 1; those of 0 have one minus this. Left out: all weigh 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alpha: Option<f64>,
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
    /// Contrastive, for pairs of texts that belong together: the cross-entropy of finding the second of a pair among those
    /// of all pairs of the batch, by `scale` times the cosine similarity (Henderson and others, 2017). Predictions are embeddings
    /// `[2 n, size]`, the firsts and then the seconds; there are no targets.
    MultipleNegativesRanking {
        /// What similarities are multiplied with.
        #[serde(default = "default_scale")]
        scale: f64,
    },
    /// `(cos(a, b) - y)²` for pairs of texts; predictions are embeddings `[2 n, size]`, targets f32 `[n, 1]` from -1 to 1.
    CosineSimilarity,
    /// `max(|a - p| - |a - n| + margin, 0)` for an anchor and a text that is nearer to it than another (Schroff and others,
    /// 2015); predictions are embeddings `[3 n, size]`, anchors, the nearer, the others; there are no targets.
    Triplet {
        /// How much nearer it has to be.
        #[serde(default = "default_margin")]
        margin: f64,
    },
}
tagged!(Loss, "loss");

fn default_delta() -> f64 {
    1.0
}
fn default_gamma() -> f64 {
    2.0
}
fn default_scale() -> f64 {
    20.0
}
fn default_margin() -> f64 {
    5.0
}

impl Loss {
    /// For class numbers, without smoothing or weights.
    pub fn sparse_categorical_crossentropy() -> Loss {
        Loss::SparseCategoricalCrossentropy { label_smoothing: 0.0, class_weights: None, ignore_class: None }
    }

    /// For class numbers of which some are -1, which do not count: a tag for each token, or the words that are masked.
    pub fn tags() -> Loss {
        Loss::SparseCategoricalCrossentropy {
            label_smoothing: 0.0,
            class_weights: None,
            ignore_class: Some(-1),
        }
    }

    /// For distributions over classes, without smoothing or weights.
    pub fn categorical_crossentropy() -> Loss {
        Loss::CategoricalCrossentropy { label_smoothing: 0.0, class_weights: None }
    }

    /// For truth values, without smoothing or weights.
    pub fn binary_crossentropy() -> Loss {
        Loss::BinaryCrossentropy { label_smoothing: 0.0, class_weights: None, positive_weights: None }
    }

    /// The name in configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Loss::SparseCategoricalCrossentropy { .. } => "sparse_categorical_crossentropy",
            Loss::CategoricalCrossentropy { .. } => "categorical_crossentropy",
            Loss::BinaryCrossentropy { .. } => "binary_crossentropy",
            Loss::MeanSquaredError => "mean_squared_error",
            Loss::MeanAbsoluteError => "mean_absolute_error",
            Loss::FocalCrossentropy { .. } => "focal_crossentropy",
            Loss::BinaryFocalCrossentropy { .. } => "binary_focal_crossentropy",
            Loss::Huber { .. } => "huber",
            Loss::MultipleNegativesRanking { .. } => "multiple_negatives_ranking",
            Loss::CosineSimilarity => "cosine_similarity",
            Loss::Triplet { .. } => "triplet",
        }
    }

    /// Whether the model tells classes apart.
    pub fn is_classification(&self) -> bool {
        match self {
            Loss::SparseCategoricalCrossentropy { .. }
            | Loss::CategoricalCrossentropy { .. }
            | Loss::FocalCrossentropy { .. } => true,
            _ => self.is_binary(),
        }
    }

    /// Whether each output is a truth value of its own.
    pub fn is_binary(&self) -> bool {
        matches!(self, Loss::BinaryCrossentropy { .. } | Loss::BinaryFocalCrossentropy { .. })
    }

    /// Whether predictions are the embeddings of pairs or triples: how many belong together.
    pub fn group(&self) -> Option<usize> {
        match self {
            Loss::MultipleNegativesRanking { .. } | Loss::CosineSimilarity => Some(2),
            Loss::Triplet { .. } => Some(3),
            _ => None,
        }
    }

    /// The same loss for distributions instead of class numbers (mixup needs them); others stay.
    pub fn soft(&self) -> Loss {
        match self {
            Loss::SparseCategoricalCrossentropy { label_smoothing, class_weights, .. } => {
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
            Loss::SparseCategoricalCrossentropy { .. } | Loss::FocalCrossentropy { .. } => {
                (places(), DType::I32)
            }
            _ if self.is_binary() && output.last() == 1 => (places(), DType::I32),
            Loss::CosineSimilarity => ([1].into(), DType::F32),
            _ => (output.clone(), DType::F32),
        }
    }

    /// Whether the batch has targets for it.
    pub fn has_target(&self) -> bool {
        !matches!(self, Loss::MultipleNegativesRanking { .. } | Loss::Triplet { .. })
    }

    /// Whether some targets do not count.
    pub fn ignores(&self) -> bool {
        self.ignored().is_some()
    }

    fn ignored(&self) -> Option<i32> {
        match self {
            Loss::SparseCategoricalCrossentropy { ignore_class, .. } => *ignore_class,
            _ => None,
        }
    }

    /// The number of targets that count, if some may not.
    pub(crate) fn count<'g>(&self, target: Value<'g>) -> Option<Value<'g>> {
        self.counted(target).map(|counted| counted.sum_all())
    }

    /// 1 where a target counts, 0 where not.
    pub(crate) fn counted<'g>(&self, target: Value<'g>) -> Option<Value<'g>> {
        let label = f64::from(self.ignored()?);
        Some(1.0 - target.equal(label).cast(DType::F32))
    }

    /// The loss and the targets as they go together: class numbers become rows with a 1 where the loss takes
    /// distributions; where they are distributions (mixup) a loss of class numbers becomes one of distributions.
    pub(crate) fn align<'g>(&self, p: Value<'g>, y: Value<'g>) -> Result<(Loss, Value<'g>)> {
        let (shape, classes) = (p.shape(), p.last());
        let places = Shape::from(&shape[..shape.rank().saturating_sub(1)]);
        if y.dtype() == DType::F32 && y.shape() == shape {
            return Ok((self.soft(), y));
        }
        let numbers = y.dtype() == DType::I32 && y.shape() == places && shape.rank() > 1;
        let (_, wanted) = self.target(&shape);
        Ok(match (numbers, wanted) {
            (true, DType::F32) if classes == 1 => (self.clone(), y.cast(DType::F32).expand(places.rank())),
            (true, DType::F32) => {
                // The table of ones is there for its check: a label outside is a mistake.
                let known = p.builder().fill(1.0, [classes]).take(y).expand(places.rank());
                (self.clone(), op::one_hot(y, classes) * known)
            }
            _ => (self.clone(), y),
        })
    }

    /// The weighted loss of each sample, `[n]`, of predictions `[n, ..., outputs]` and targets of the same shape, or
    /// class numbers (i32) `[n, ...]`.
    pub fn per_sample<'g>(&self, prediction: Value<'g>, target: Value<'g>) -> Result<Value<'g>> {
        self.check(prediction, target)?;
        let last = prediction.rank() - 1;
        let loss = prediction.builder().scope("loss", || self.by_place(prediction, target)); // [n, ...]
        let axes: Vec<usize> = if self.group().is_some() { vec![] } else { (1..last).collect() };
        let loss = if axes.is_empty() { loss } else { loss.mean(&axes) };
        prediction.builder().check()?;
        Ok(loss)
    }

    /// The loss of a batch: `sum(weight * loss) * (1 / batch size)`; with ignored targets the mean over those that count.
    pub fn mean<'g>(&self, prediction: Value<'g>, target: Value<'g>) -> Result<Value<'g>> {
        if let (Some(counted), Some(label)) = (self.counted(target), self.ignored()) {
            let ignored = target.equal(f64::from(label));
            let known = ignored.select(prediction.builder().fill_as(0.0, target.shape(), DType::I32), target);
            self.check(prediction, known)?;
            let loss = prediction.builder().scope("loss", || self.by_place(prediction, known));
            return Ok((loss * counted).sum_all() / counted.sum_all().max(1.0));
        }
        let loss = self.per_sample(prediction, target)?;
        Ok(loss.sum(&[0]) * (1.0 / loss.dim(0) as f64))
    }

    /// What a model with this loss says of its input, from what it yields: probabilities, or the values themselves.
    pub fn probabilities<'g>(&self, prediction: Value<'g>) -> Value<'g> {
        match self {
            _ if self.is_binary() => op::sigmoid(prediction),
            _ if self.is_classification() => op::softmax(prediction),
            _ => prediction,
        }
    }

    fn by_place<'g>(&self, p: Value<'g>, y: Value<'g>) -> Value<'g> {
        let last = p.rank() - 1;
        match self {
            Loss::SparseCategoricalCrossentropy { label_smoothing: s, class_weights, .. } => {
                let loss = op::sparse_cross_entropy(p, y, *s);
                weighted(loss, class_weights, || y)
            }
            Loss::CategoricalCrossentropy { label_smoothing: s, class_weights } => {
                let smooth = if *s == 0.0 { y } else { y * (1.0 - s) + s / p.last() as f64 };
                weighted(op::cross_entropy(p, smooth), class_weights, || y.argmax(last))
            }
            Loss::BinaryCrossentropy { label_smoothing: s, class_weights, positive_weights } => {
                let y = flags(p, y);
                let smooth = if *s == 0.0 { y } else { y * (1.0 - s) + s / 2.0 };
                let loss = match positive_weights {
                    None => op::binary_cross_entropy(p, smooth),
                    // softplus(-p) is what a target of 1 costs, softplus(p) what one of 0 does.
                    Some(weights) => {
                        let there = smooth * op::softplus(-p);
                        there * table(p, weights) + (1.0 - smooth) * op::softplus(p)
                    }
                };
                let loss = loss.mean(&[last]);
                weighted(loss, class_weights, || (y.sum(&[last]) + 0.5).floor().cast(DType::I32))
            }
            Loss::MeanSquaredError => op::squared_error(p, y).mean(&[last]),
            Loss::MeanAbsoluteError => op::absolute_error(p, y).mean(&[last]),
            Loss::FocalCrossentropy { gamma, class_weights } => {
                weighted(focal(op::sparse_cross_entropy(p, y, 0.0), *gamma), class_weights, || y)
            }
            Loss::BinaryFocalCrossentropy { gamma, alpha } => {
                let y = flags(p, y);
                let loss = focal(op::binary_cross_entropy(p, y), *gamma);
                let share = |alpha: f64| y * (2.0 * alpha - 1.0) + (1.0 - alpha);
                alpha.map_or(loss, |alpha| loss * share(alpha)).mean(&[last])
            }
            Loss::Huber { delta } => op::huber(p, y, *delta).mean(&[last]),
            Loss::MultipleNegativesRanking { scale } => embedding::multiple_negatives_ranking(p, *scale),
            Loss::CosineSimilarity => embedding::cosine_similarity(p, y),
            Loss::Triplet { margin } => embedding::triplet(p, *margin),
        }
    }

    fn check_embeddings(&self, p: Value<'_>, y: Value<'_>) -> Result<()> {
        let fail = |message: String| Err(Error::config(format!("loss {}", self.name()), message));
        let (shape, group) = (p.shape(), self.group().unwrap_or(1));
        if shape.rank() != 2 || shape.contains(&0) || shape[0] % group != 0 {
            return fail(format!(
                "expected embeddings [rows, size] of {group} texts each, found {shape}; end the model with a pooling layer"
            ));
        }
        let wanted = Shape::from([shape[0] / group, 1]);
        if self.has_target() && (y.shape() != wanted || y.dtype() != DType::F32) {
            return fail(format!("expected f32 targets of {wanted}, found {} {}", y.dtype(), y.shape()));
        }
        match self {
            Loss::MultipleNegativesRanking { scale: x } | Loss::Triplet { margin: x }
                if !(*x > 0.0 && x.is_finite()) =>
            {
                fail(format!("expected a scale or margin above 0, found {x}"))
            }
            _ => Ok(()),
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
        if self.group().is_some() {
            return self.check_embeddings(p, y);
        }
        let index = y.dtype() == DType::I32;
        let (expected, fits) = match self {
            Loss::SparseCategoricalCrossentropy { .. } | Loss::FocalCrossentropy { .. } => {
                ("i32 class numbers", index)
            }
            _ if self.is_binary() => {
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
            Loss::SparseCategoricalCrossentropy { label_smoothing, class_weights, .. }
            | Loss::CategoricalCrossentropy { label_smoothing, class_weights } => {
                if p.last() < 2 {
                    return fail("expected at least 2 classes, found 1; give the last layer a unit for each class, or use binary_crossentropy".into());
                }
                (*label_smoothing, class_weights.as_ref().map(|w| (w, p.last())))
            }
            Loss::FocalCrossentropy { gamma, class_weights } => {
                check_gamma(*gamma).or_else(fail)?;
                (0.0, class_weights.as_ref().map(|w| (w, p.last())))
            }
            Loss::BinaryFocalCrossentropy { gamma, alpha } => {
                check_gamma(*gamma).or_else(fail)?;
                if alpha.is_some_and(|a| !(0.0..=1.0).contains(&a)) {
                    return fail(format!("expected an alpha from 0 to 1, found {alpha:?}"));
                }
                (0.0, None)
            }
            Loss::BinaryCrossentropy {
                label_smoothing,
                positive_weights: Some(weights),
                class_weights: None,
            } => (*label_smoothing, Some((weights, p.last()))),
            Loss::BinaryCrossentropy { label_smoothing, class_weights, .. } => {
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

fn check_gamma(gamma: f64) -> Result<(), String> {
    match gamma.is_finite() && gamma >= 0.0 {
        true => Ok(()),
        false => Err(format!("expected a gamma of 0 or more, found {gamma}")),
    }
}

/// Truth values as f32 beside the predictions.
pub(crate) fn flags<'g>(p: Value<'g>, y: Value<'g>) -> Value<'g> {
    if y.dtype() == DType::I32 { y.cast(DType::F32).expand(p.rank() - 1) } else { y }
}

/// `(1 - p)^gamma loss` where the loss is `-log p`.
fn focal(loss: Value<'_>, gamma: f64) -> Value<'_> {
    // Away from 0, where a power below 1 has no slope.
    (1.0 - (-loss).exp()).max(1e-12).pow(gamma) * loss
}

/// Numbers known now, a vector.
fn table<'g>(like: Value<'g>, values: &[f64]) -> Value<'g> {
    match Tensor::from_f64s(DType::F32, [values.len()], values) {
        Ok(table) => like.builder().constant(table),
        Err(error) => {
            like.builder().fail("weights", error.to_string());
            like
        }
    }
}

fn weighted<'g>(loss: Value<'g>, weights: &Option<Vec<f64>>, class: impl FnOnce() -> Value<'g>) -> Value<'g> {
    let Some(weights) = weights else { return loss };
    loss * table(loss, weights).take(class())
}
