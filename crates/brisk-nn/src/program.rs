//! From a model and what it is for to the graphs that are compiled: a training step, a step of evaluation, a prediction.

use brisk_graph::{Builder, DType, Graph, Role, Shape, Tensor, Value, grad};
use brisk_runtime::State;
use serde::{Deserialize, Serialize};

use crate::optimizer::{slot_name, slot_spec};
use crate::{Context, Error, Loss, Metric, Model, Optimizer, ParamSpec, Result};

pub use crate::optimizer::LEARNING_RATE;

/// Name of the input with a batch of samples, as they are stored: u8 or f32.
pub const X: &str = "x";
/// Name of the input with a batch of targets.
pub const Y: &str = "y";
/// Name of the input with the random key of a step: i32 `[2]`.
pub const KEY: &str = "key";
/// Name of the output of evaluation and prediction graphs with what the model says: probabilities of classes, or values.
pub const PROBABILITIES: &str = "probabilities";

/// How stored values become what the model sees: `(x * scale - mean) / std`, channel by channel, inside the graph, so that
/// u8 images stay u8 until they are used.
///
/// ```
/// use brisk_nn::Scaling;
/// let s = Scaling { scale: 1.0 / 255.0, mean: vec![0.5], std: vec![0.25] };
/// assert_ne!(s, Scaling::default());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// What each value is multiplied with.
    pub scale: f64,
    /// For each channel what is then subtracted; empty for nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mean: Vec<f64>,
    /// For each channel what the result is divided by; empty for nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub std: Vec<f64>,
}

impl Default for Scaling {
    fn default() -> Scaling {
        Scaling { scale: 1.0, mean: Vec::new(), std: Vec::new() }
    }
}

impl Scaling {
    /// Division by 255: bytes to 0..1.
    pub fn bytes() -> Scaling {
        Scaling { scale: 1.0 / 255.0, ..Scaling::default() }
    }

    /// Records it.
    pub fn apply<'g>(&self, x: Value<'g>) -> Result<Value<'g>> {
        let (b, channels) = (x.builder(), x.last());
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if !values.is_empty() && values.len() != channels {
                let message =
                    format!("expected a {name} for each of {channels} channels, found {}", values.len());
                return Err(Error::config("scaling", message));
            }
        }
        if self.std.iter().any(|s| *s <= 0.0 || !s.is_finite()) || !self.scale.is_finite() {
            return Err(Error::config(
                "scaling",
                format!(
                    "expected a finite scale and std above 0, found scale {} and std {:?}",
                    self.scale, self.std
                ),
            ));
        }
        let vector =
            |values: &[f64]| Ok::<_, Error>(b.constant(Tensor::from_f64s(DType::F32, [channels], values)?));
        let mut x = x.cast(DType::F32);
        if self.scale != 1.0 {
            x = x * self.scale;
        }
        if !self.mean.is_empty() {
            x = x - vector(&self.mean)?;
        }
        if !self.std.is_empty() {
            x = x * vector(&self.std.iter().map(|s| 1.0 / s).collect::<Vec<_>>())?;
        }
        Ok(x)
    }
}

/// What a step does with its gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Accumulation {
    /// Follows them.
    #[default]
    Off,
    /// Adds them to `optimizer/PARAMETER/accumulated`; parameters stay.
    Add,
    /// Adds them, follows the sum divided by this number of steps, and starts again from zero.
    Apply(usize),
}

/// A model and what it is trained for.
///
/// ```
/// use brisk_graph::DType;
/// use brisk_nn::prelude::*;
/// use brisk_nn::Scaling;
/// let model = Sequential::new([28, 28, 1]).add(Flatten {}).add(Dense::new(10)).build()?;
/// let mut task = Task::new(model, Loss::sparse_categorical_crossentropy());
/// task.scaling = Scaling::bytes();
/// task.input_dtype = DType::U8;
/// let optimizer = Optimizer::adam(1e-3);
/// let step = task.train_graph(&optimizer, 32)?;
/// let inputs: Vec<&str> = step.inputs.iter().map(|i| i.name.as_str()).collect();
/// assert_eq!(inputs[..4], ["x", "y", "key", "dense.kernel"]);
/// let state = task.init_state(&optimizer, 42)?;
/// assert!(state.get("optimizer/dense.kernel/m").is_some());
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The model.
    pub model: Model,
    /// What becomes small.
    pub loss: Loss,
    /// What is measured beside it.
    pub metrics: Vec<Metric>,
    /// What happens to stored values first.
    pub scaling: Scaling,
    /// The element type of stored values: u8 or f32.
    pub input_dtype: DType,
    /// In training, targets are distributions (mixup): f32 `[n, classes]` instead of class numbers.
    pub soft_targets: bool,
}

impl Task {
    /// With the usual metrics, for f32 samples that need no scaling.
    pub fn new(model: Model, loss: Loss) -> Task {
        let metrics = Metric::of(&loss);
        Task {
            model,
            loss,
            metrics,
            scaling: Scaling::default(),
            input_dtype: DType::F32,
            soft_targets: false,
        }
    }

    /// One training step.
    ///
    /// Inputs: batch [`X`], batch [`Y`], scalars [`KEY`] and those of [`Optimizer::scalars`], and the state. Outputs: `loss`,
    /// the mean over the batch, and each metric's mean by its name. Updates: parameters, slots, running statistics.
    pub fn train_graph(&self, optimizer: &Optimizer, batch: usize) -> Result<Graph> {
        self.train_graph_with(optimizer, batch, Accumulation::Off)
    }

    /// One training step of several that share an update. See [`Accumulation`].
    pub fn train_graph_with(
        &self,
        optimizer: &Optimizer,
        batch: usize,
        accumulation: Accumulation,
    ) -> Result<Graph> {
        let b = Builder::new();
        let loss = if self.soft_targets { self.loss.soft() } else { self.loss.clone() };
        let (x, y) = (self.input(&b, batch)?, self.target(&b, batch, &loss));
        let mut cx = Context::training(&b, b.input(KEY, Role::Scalar, [2], DType::I32));
        let prediction = self.model.forward(&mut cx, x)?;
        let outputs = self.measure(&loss, prediction, y)?;
        let params: Vec<_> = cx.trainable().map(|(name, value)| (name.to_string(), value)).collect();
        let values: Vec<_> = params.iter().map(|p| p.1).collect();
        let mut gradients = grad(outputs[0].1, &values)?;
        if accumulation != Accumulation::Off {
            for ((name, p), gradient) in params.iter().zip(&mut gradients) {
                let sum = b.input(&slot_name(name, ACCUMULATED), Role::State, p.shape(), DType::F32);
                *gradient = sum + *gradient;
                let zero = b.fill(0.0, p.shape());
                cx.update(sum, if accumulation == Accumulation::Add { *gradient } else { zero });
            }
        }
        match accumulation {
            Accumulation::Add => {}
            Accumulation::Off => optimizer.record(&mut cx, &params, &gradients)?,
            Accumulation::Apply(steps) => {
                gradients.iter_mut().for_each(|g| *g = *g * (1.0 / steps.max(1) as f64));
                optimizer.record(&mut cx, &params, &gradients)?;
            }
        }
        let outputs: Vec<_> = outputs.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        Ok(b.finish(&outputs, cx.updates())?)
    }

    /// One step of evaluation. Inputs: batches [`X`] and [`Y`], and the model's state. Outputs: as training, and
    /// [`PROBABILITIES`].
    pub fn eval_graph(&self, batch: usize) -> Result<Graph> {
        let b = Builder::new();
        let (x, y) = (self.input(&b, batch)?, self.target(&b, batch, &self.loss));
        let prediction = self.model.forward(&mut Context::new(&b), x)?;
        let mut outputs = self.measure(&self.loss, prediction, y)?;
        outputs.push((PROBABILITIES.into(), self.loss.probabilities(prediction)));
        let outputs: Vec<_> = outputs.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        Ok(b.finish(&outputs, &[])?)
    }

    /// A prediction. Input: batch [`X`], and the model's state. Output: [`PROBABILITIES`] `[n, classes]` (of a binary
    /// classifier `[n, outputs]`), or a regression's values.
    pub fn predict_graph(&self, batch: usize) -> Result<Graph> {
        let b = Builder::new();
        let prediction = self.model.forward(&mut Context::new(&b), self.input(&b, batch)?)?;
        Ok(b.finish(&[(PROBABILITIES, self.loss.probabilities(prediction))], &[])?)
    }

    /// Starting values of the model's state and the optimizer's.
    pub fn init_state(&self, optimizer: &Optimizer, seed: u64) -> Result<State> {
        let mut state = self.model.init_state(seed)?;
        optimizer.init_state(&self.model.param_specs()?, &mut state);
        Ok(state)
    }

    /// What [`Accumulation`] remembers: for each trainable parameter the sum of its gradients, at first zero.
    pub fn accumulator_specs(&self) -> Result<Vec<ParamSpec>> {
        let params = self.model.param_specs()?;
        Ok(params.iter().filter(|p| p.trainable).map(|p| slot_spec(&p.name, ACCUMULATED, p)).collect())
    }

    fn input<'g>(&self, b: &'g Builder, batch: usize) -> Result<Value<'g>> {
        if batch == 0 || batch > 1 << 32 {
            return Err(Error::config("batch_size", format!("expected 1 to 2^32, found {batch}")));
        }
        let shape = [&[batch], &self.model.input_shape()[..]].concat();
        let x = b.input(X, Role::Batch, shape, self.input_dtype);
        b.scope("scaling", || self.scaling.apply(x))
    }

    fn target<'g>(&self, b: &'g Builder, batch: usize, loss: &Loss) -> Value<'g> {
        let (shape, dtype) = loss.target(self.model.output_shape());
        b.input(Y, Role::Batch, Shape::from([&[batch], &shape[..]].concat()), dtype)
    }

    /// The loss and the metrics, as means over the batch: sums over samples times `1 / batch`.
    fn measure<'g>(&self, loss: &Loss, p: Value<'g>, y: Value<'g>) -> Result<Vec<(String, Value<'g>)>> {
        let mut outputs = vec![("loss".to_string(), loss.mean(p, y)?)];
        for metric in &self.metrics {
            let sum = p.builder().scope("metrics", || metric.sum(loss, p, y))?;
            outputs.push((metric.name(), sum * (1.0 / p.dim(0) as f64)));
        }
        Ok(outputs)
    }
}

/// The slot of summed gradients.
const ACCUMULATED: &str = "accumulated";
