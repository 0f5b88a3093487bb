//! From a model and what it is for to the graphs that are compiled: a training step, a step of evaluation, a prediction.

use brisk_graph::{Builder, DType, Graph, Role, Shape, Value, grad};
use brisk_runtime::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::optimizer::{slot_name, slot_spec};
use crate::{Context, Error, Loss, Metric, Model, Optimizer, ParamRules, ParamSpec, Result, Shapes};

pub use crate::optimizer::LEARNING_RATE;

/// Name of the tensor with a batch of targets, of a task with one output.
pub const Y: &str = "y";
/// Name of the input with the random key of a step: i32 `[2]`.
pub const KEY: &str = "key";
/// Name of the output of evaluation and prediction graphs with what a model with the one output [`Y`] says: probabilities of
/// classes, or values.
pub const PROBABILITIES: &str = "probabilities";

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

/// What one output of a model is for.
///
/// ```
/// use brisk_nn::{Loss, TaskOutput};
/// let price = TaskOutput::new("price", Loss::MeanSquaredError);
/// assert_eq!((price.weight, price.said()), (1.0, "price"));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskOutput {
    /// The name of the tensor with its targets, and of what the model says; [`Y`] for a task with one output.
    pub name: String,
    /// What becomes small.
    pub loss: Loss,
    /// What is measured beside it.
    pub metrics: Vec<Metric>,
    /// What its loss is multiplied with in the sum of all.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

impl TaskOutput {
    /// With the usual metrics and the weight 1.
    pub fn new(name: impl Into<String>, loss: Loss) -> TaskOutput {
        let metrics = Metric::of(&loss);
        TaskOutput { name: name.into(), loss, metrics, weight: 1.0 }
    }

    /// The name of what the model says, among the outputs of evaluation and prediction graphs: the output's own, or
    /// [`PROBABILITIES`] for [`Y`].
    pub fn said(&self) -> &str {
        if self.name == Y { PROBABILITIES } else { &self.name }
    }
}

/// A model and what it is trained for.
///
/// Batches are tensors by name: the model's inputs ([`crate::ModelInput::tensor`]) and a target for each output.
///
/// ```
/// use brisk_graph::DType;
/// use brisk_nn::prelude::*;
/// use brisk_nn::{INPUT, Scaling};
/// let mut model = Sequential::new([28, 28, 1]).add(Flatten {}).add(Dense::new(10)).build()?;
/// model.set_stored(INPUT, DType::U8, Scaling::bytes())?;
/// let task = Task::new(model, Loss::sparse_categorical_crossentropy());
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
    /// What each of its outputs is for, in their order.
    pub outputs: Vec<TaskOutput>,
    /// What training does differently from one parameter to the next.
    pub rules: ParamRules,
    /// Whether the layers of Transformers compute their insides again for their gradients, rather than keep them: less memory
    /// for a third more arithmetic.
    pub gradient_checkpointing: bool,
}

impl Task {
    /// For a model with one output, with the usual metrics. Its targets are the tensor [`Y`].
    pub fn new(model: Model, loss: Loss) -> Task {
        Task {
            model,
            outputs: vec![TaskOutput::new(Y, loss)],
            rules: ParamRules::default(),
            gradient_checkpointing: false,
        }
    }

    /// For a model whose outputs are these, in their order.
    pub fn with_outputs(model: Model, outputs: Vec<TaskOutput>) -> Result<Task> {
        let task = Task { model, outputs, rules: ParamRules::default(), gradient_checkpointing: false };
        task.check().map(|()| task)
    }

    /// One training step, for a number of samples or for tensors of some shapes.
    ///
    /// Inputs: the model's inputs and the outputs' targets ([`Role::Batch`]), scalars [`KEY`] and those of
    /// [`Optimizer::scalars`], and the state. Outputs: as [`Task::measures`] names them, means over the batch; then the
    /// numbers that [`Task::weights`] asks for. Updates: parameters, slots, running statistics.
    pub fn train_graph(&self, optimizer: &Optimizer, shapes: impl Into<Shapes>) -> Result<Graph> {
        self.train_graph_with(optimizer, shapes, Accumulation::Off)
    }

    /// One training step of several that share an update. See [`Accumulation`].
    pub fn train_graph_with(
        &self,
        optimizer: &Optimizer,
        shapes: impl Into<Shapes>,
        accumulation: Accumulation,
    ) -> Result<Graph> {
        self.train_graph_at(optimizer, shapes, accumulation, 0)
    }

    /// One training step of an epoch (from 0): the rules may freeze other parameters from one to the next, see
    /// [`ParamRules::stage`].
    pub fn train_graph_at(
        &self,
        optimizer: &Optimizer,
        shapes: impl Into<Shapes>,
        accumulation: Accumulation,
        epoch: usize,
    ) -> Result<Graph> {
        let (b, shapes) = (Builder::new(), shapes.into());
        let x = self.inputs(&b, &shapes)?;
        let y = self.targets(&b, &shapes)?;
        let key = b.input(KEY, Role::Scalar, [2], DType::I32);
        let mut cx = Context::training(&b, key)
            .with_rules(&self.rules, epoch)
            .with_checkpoints(self.gradient_checkpointing);
        let predictions = self.model.forward_all(&mut cx, &x)?;
        let outputs = self.measure(&predictions, &y)?;
        let params: Vec<_> = cx.trainable().map(|(name, value)| (name.to_string(), value)).collect();
        let values: Vec<_> = params.iter().map(|p| p.1).collect();
        if params.is_empty() {
            let message = "there is nothing to train: every parameter is frozen";
            return Err(Error::config("parameter rules", message));
        }
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

    /// One step of evaluation. Inputs: the model's inputs, the outputs' targets, and the model's state. Outputs: as
    /// training, and then what the model says, an output each by [`TaskOutput::said`].
    pub fn eval_graph(&self, shapes: impl Into<Shapes>) -> Result<Graph> {
        let (b, shapes) = (Builder::new(), shapes.into());
        let x = self.inputs(&b, &shapes)?;
        let y = self.targets(&b, &shapes)?;
        let predictions = self.model.forward_all(&mut self.context(&b), &x)?;
        let mut outputs = self.measure(&predictions, &y)?;
        outputs.extend(self.say(&predictions));
        let outputs: Vec<_> = outputs.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        Ok(b.finish(&outputs, &[])?)
    }

    /// A prediction. Inputs: the model's inputs and state. Outputs, by [`TaskOutput::said`]: probabilities `[n, classes]` (of a
    /// binary classifier `[n, outputs]`), a regression's values, or embeddings.
    pub fn predict_graph(&self, shapes: impl Into<Shapes>) -> Result<Graph> {
        let b = Builder::new();
        let x = self.inputs(&b, &shapes.into())?;
        self.check()?;
        let predictions = self.model.forward_all(&mut self.context(&b), &x)?;
        let outputs = self.say(&predictions);
        let outputs: Vec<_> = outputs.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        Ok(b.finish(&outputs, &[])?)
    }

    /// The names of what is measured in a step: `loss`, for several outputs then `NAME_loss` of each, and the metrics,
    /// `NAME_accuracy` or only `accuracy` if there is one output.
    ///
    /// ```
    /// use brisk_nn::prelude::*;
    /// let model = Sequential::new([4]).add(Dense::new(3)).build()?;
    /// assert_eq!(Task::new(model, Loss::sparse_categorical_crossentropy()).measures(), ["loss", "accuracy"]);
    /// # Ok::<(), brisk_nn::Error>(())
    /// ```
    pub fn measures(&self) -> Vec<String> {
        self.measured().into_iter().map(|m| m.0).collect()
    }

    /// For each of [`Task::measures`] the number of targets that its value is a mean over, to be weighed with: the samples
    /// of the batch, or those of its targets that are not ignored, which is the step's own result. `values` are the
    /// scalars of a step in their order.
    pub fn weights(&self, values: &[f64], samples: usize) -> Vec<f64> {
        let measured = self.measured();
        let counts = &values[measured.len().min(values.len())..];
        let counted: Vec<usize> =
            (0..self.outputs.len()).filter(|&o| self.outputs[o].loss.ignores()).collect();
        let count = |o: &usize| {
            let place = counted.iter().position(|c| c == o)?;
            counts.get(place).copied()
        };
        measured.iter().map(|(_, output)| output.as_ref().and_then(count).unwrap_or(samples as f64)).collect()
    }

    /// The number of scalars at the front of the outputs of a training or evaluation graph.
    pub fn scalars(&self) -> usize {
        self.measured().len() + self.outputs.iter().filter(|o| o.loss.ignores()).count()
    }

    /// Starting values of the model's state and the optimizer's.
    pub fn init_state(&self, optimizer: &Optimizer, seed: u64) -> Result<State> {
        let specs = self.param_specs()?;
        self.rules.check(&specs)?;
        let mut state = crate::model::start(&specs, seed)?;
        optimizer.init_state(&specs, &mut state);
        Ok(state)
    }

    /// The model's parameters and other state, and what the rules add. Trainable are those that any epoch trains.
    pub fn param_specs(&self) -> Result<Vec<ParamSpec>> {
        let b = Builder::new();
        self.model.specs_in(self.context(&b))
    }

    fn context<'g>(&self, b: &'g Builder) -> Context<'g> {
        Context::new(b).with_rules(&self.rules, usize::MAX)
    }

    /// What [`Accumulation`] remembers: for each trainable parameter the sum of its gradients, at first zero.
    pub fn accumulator_specs(&self) -> Result<Vec<ParamSpec>> {
        let params = self.param_specs()?;
        Ok(params.iter().filter(|p| p.trainable).map(|p| slot_spec(&p.name, ACCUMULATED, p)).collect())
    }

    /// Names of what is measured, and of which output it is.
    fn measured(&self) -> Vec<(String, Option<usize>)> {
        let many = self.outputs.len() > 1;
        let of = |o: usize, what: &str| match many {
            true => (format!("{}_{what}", self.outputs[o].name), Some(o)),
            false => (what.to_string(), Some(o)),
        };
        let mut measured = vec![("loss".to_string(), (!many).then_some(0))];
        for (o, output) in self.outputs.iter().enumerate() {
            measured.extend(many.then(|| of(o, "loss")));
            measured.extend(output.metrics.iter().map(|m| of(o, &m.name())));
        }
        measured
    }

    fn check(&self) -> Result<()> {
        let (model, own) = (self.model.outputs(), self.outputs.len());
        if model.len() != own {
            let names = model.join(", ");
            let message = format!("the model has {} outputs ({names}), but {own} are trained", model.len());
            return Err(Error::config("outputs", message));
        }
        match self.outputs.iter().find(|o| !(o.weight.is_finite() && o.weight >= 0.0)) {
            Some(o) => {
                let message = format!("expected a weight of 0 or more, found {}", o.weight);
                Err(Error::config(format!("output {}", o.name), message))
            }
            None => Ok(()),
        }
    }

    fn inputs<'g>(&self, b: &'g Builder, shapes: &Shapes) -> Result<Vec<Value<'g>>> {
        let tensors = shapes.inputs(&self.model)?;
        let record = |(input, (shape, dtype)): (&crate::ModelInput, (Shape, DType))| {
            input.prepare(b.input(input.tensor(), Role::Batch, shape, dtype))
        };
        self.model.inputs().iter().zip(tensors).map(record).collect()
    }

    /// The targets of all outputs that have some.
    fn targets<'g>(&self, b: &'g Builder, shapes: &Shapes) -> Result<Vec<Option<Value<'g>>>> {
        self.check()?;
        let record = |(output, sizes): (&TaskOutput, &[Option<usize>])| {
            if !output.loss.has_target() {
                return Ok(None);
            }
            let fixed: Option<Vec<usize>> = sizes.iter().copied().collect();
            let (shape, dtype) = match (shapes, fixed) {
                (&Shapes::Samples(n), Some(sizes)) => {
                    let (shape, dtype) = output.loss.target(&sizes.into());
                    ([&[n], &shape[..]].concat().into(), dtype)
                }
                _ => shapes.target(&output.name).ok_or_else(|| {
                    Error::config(format!("batch {:?}", output.name), "targets are missing from the batch")
                })?,
            };
            Ok(Some(b.input(&output.name, Role::Batch, shape, dtype)))
        };
        self.outputs.iter().zip(self.model.output_sizes()).map(record).collect()
    }

    /// The loss and what is measured beside it, as means over the batch, as [`Task::measures`] names them; then the
    /// numbers of targets that count, where some are ignored.
    fn measure<'g>(
        &self,
        predictions: &[Value<'g>],
        targets: &[Option<Value<'g>>],
    ) -> Result<Vec<(String, Value<'g>)>> {
        let many = self.outputs.len() > 1;
        let (mut total, mut values, mut counts) = (None, Vec::new(), Vec::new());
        for ((output, &p), &y) in self.outputs.iter().zip(predictions).zip(targets) {
            let (loss, y) = match y {
                Some(y) => output.loss.align(p, y)?,
                None => (output.loss.clone(), p),
            };
            let count = loss.count(y);
            let mean = loss.mean(p, y)?;
            let weighted = if output.weight == 1.0 { mean } else { mean * output.weight };
            total = Some(total.map_or(weighted, |t| t + weighted));
            values.extend(many.then_some(mean));
            for metric in &output.metrics {
                let sum = p.builder().scope("metrics", || metric.sum(&loss, p, y))?;
                values.push(match count {
                    Some(count) => sum / count.max(1.0),
                    None => sum * (1.0 / p.dim(0) as f64),
                });
            }
            counts.extend(count.map(|c| (format!("{}/count", output.name), c)));
        }
        let values = total.into_iter().chain(values);
        Ok(self.measures().into_iter().zip(values).chain(counts).collect())
    }

    fn say<'g>(&self, predictions: &[Value<'g>]) -> Vec<(String, Value<'g>)> {
        let say = |(output, &p): (&TaskOutput, &Value<'g>)| {
            (output.said().to_string(), output.loss.probabilities(p))
        };
        self.outputs.iter().zip(predictions).map(say).collect()
    }
}

/// The slot of summed gradients.
const ACCUMULATED: &str = "accumulated";
