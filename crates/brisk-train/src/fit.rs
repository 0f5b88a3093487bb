//! The training loop.

use brisk_data::{Batch, Batches};
use brisk_eval::Evaluator;
use brisk_graph::{Graph, Tensor};
use brisk_nn::{Accumulation, KEY, Optimizer, Plateau, Schedule, Shapes, Task};
use brisk_runtime::{Device, Options, Programs, State};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How far a training has come: with the state, all that is needed to go on as if nothing had happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Epochs that are finished.
    pub epoch: usize,
    /// Steps of the current epoch that are done.
    pub step: usize,
    /// Steps that are done in all.
    pub total: u64,
    /// Sums of loss and metrics over this epoch so far, and for each the number of targets that it is a sum over.
    pub sums: Vec<f64>,
    /// See above. Checkpoints of before there were ignored targets have none: it is the number of samples.
    #[serde(default)]
    pub counts: Vec<f64>,
    /// Samples of this epoch so far.
    pub samples: u64,
    /// What the learning rate has lost to plateaus.
    pub plateau: Plateau,
    /// The monitored value of the best epoch, and the number of that epoch from 1.
    pub best: Option<(f64, usize)>,
    /// Early stopping: the best value that it has seen.
    pub stopping_best: Option<f64>,
    /// Early stopping: epochs since then.
    pub waited: usize,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Stop here; the position says where that is.
    Stop,
}

/// What looks on while a model is trained. All methods may be left out.
pub trait Hooks {
    /// An epoch (from 1) begins, of so many steps.
    fn on_begin(&mut self, _epoch: usize, _steps: usize) {}

    /// A step is done. The values are means over the epoch so far.
    fn on_step(&mut self, _at: &Position, _values: &[(&str, f64)], _state: &State) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    /// An epoch is done and measured. A checkpoint of this position resumes at the next epoch.
    fn on_epoch(&mut self, _at: &mut Position, _values: &[(String, f64)], _state: &State) -> Result<Flow> {
        Ok(Flow::Continue)
    }
}

impl Hooks for () {}

/// A task, and how it is trained.
pub struct Fit<'a> {
    /// What runs it.
    pub device: &'a dyn Device,
    /// Model, loss and metrics.
    pub task: &'a Task,
    /// What follows the gradients.
    pub optimizer: &'a Optimizer,
    /// How the learning rate changes.
    pub schedule: &'a Schedule,
    /// Times that all samples are seen.
    pub epochs: usize,
    /// Batches to an update.
    pub accumulate: usize,
    /// What random numbers follow from.
    pub seed: u64,
}

impl Fit<'_> {
    /// Trains from a position to the last epoch, or until a hook stops it.
    pub fn run(
        &self,
        train: &dyn Batches,
        validation: Option<&dyn Batches>,
        state: &mut State,
        at: &mut Position,
        hooks: &mut dyn Hooks,
    ) -> Result<Flow> {
        let names = self.task.measures();
        let updates_of = |epoch: usize| train.steps(epoch as u64).div_ceil(self.accumulate) as u64;
        // How many updates come before each epoch, and in all.
        let mut before = vec![0];
        for epoch in 0..self.epochs {
            before.push(before[epoch] + updates_of(epoch));
        }
        let updates = before[self.epochs];
        let mut steps = Steps { fit: self, programs: Programs::new(self.device), before: &before };
        at.counts.resize(at.sums.len(), at.samples as f64); // for checkpoints that lack them
        let mut evaluator = Evaluator::new(self.device, self.task);
        while at.epoch < self.epochs {
            let epoch_steps = train.steps(at.epoch as u64);
            hooks.on_begin(at.epoch + 1, epoch_steps);
            let first = before[at.epoch];
            let update_of = |step: usize| first + (step / self.accumulate) as u64;
            let plateau = at.plateau.clone();
            let rate_of = |step: usize| {
                let rate = self.schedule.rate(self.optimizer.learning_rate(), update_of(step), updates);
                plateau.rate(self.schedule, rate)
            };
            let mut rate = rate_of(at.step.saturating_sub(1));
            for batch in train.epoch_from(at.epoch as u64, at.step) {
                let batch = batch?;
                rate = rate_of(at.step);
                let values = steps.run(&batch, epoch_steps, rate, update_of(at.step), at, state)?;
                at.add(self.task, &values, batch.indices.len());
                let means = at.means(&names);
                let shown: Vec<_> = means.iter().map(|(n, v)| (n.as_str(), *v)).collect();
                if hooks.on_step(at, &shown, state)? == Flow::Stop {
                    return Ok(Flow::Stop);
                }
            }
            let mut values = at.means(&names);
            if let Some(validation) = validation {
                let measured = evaluator.run(validation, state, |_, _| Ok(()))?;
                values.extend(measured.into_iter().map(|(name, v)| (format!("val_{name}"), v)));
            }
            values.push(("learning_rate".into(), rate));
            (at.epoch, at.step, at.samples) = (at.epoch + 1, 0, 0);
            at.sums.clear();
            at.counts.clear();
            let monitored = self.schedule.monitor().and_then(|m| values.iter().find(|v| v.0 == m));
            if let Some(&(_, value)) = monitored {
                at.plateau.epoch(self.schedule, value);
            }
            if hooks.on_epoch(at, &values, state)? == Flow::Stop {
                break;
            }
        }
        Ok(Flow::Continue)
    }
}

impl Position {
    fn add(&mut self, task: &Task, values: &[f64], samples: usize) {
        let weights = task.weights(values, samples);
        self.sums.resize(weights.len(), 0.0);
        self.counts.resize(weights.len(), self.samples as f64);
        for (((sum, count), value), weight) in
            self.sums.iter_mut().zip(&mut self.counts).zip(values).zip(weights)
        {
            *sum += value * weight;
            *count += weight;
        }
        self.samples += samples as u64;
        self.step += 1;
        self.total += 1;
    }

    fn means(&self, names: &[String]) -> Vec<(String, f64)> {
        let means = self.sums.iter().zip(&self.counts).map(|(sum, count)| sum / count.max(1.0));
        names.iter().cloned().zip(means).collect()
    }
}

/// The training programs, one for each set of shapes, place in an accumulation, and stage of unfreezing.
struct Steps<'a> {
    fit: &'a Fit<'a>,
    programs: Programs<&'a dyn Device, (Shapes, Accumulation, usize)>,
    /// Updates before each epoch, and in all.
    before: &'a [u64],
}

impl Steps<'_> {
    /// The scalars of one batch, means over it; brings the state up to date.
    fn run(
        &mut self,
        batch: &Batch,
        steps: usize,
        rate: f64,
        update: u64,
        at: &Position,
        state: &mut State,
    ) -> Result<Vec<f64>> {
        let fit = self.fit;
        let last = at.step + 1 == steps;
        let accumulation = match (at.step + 1).is_multiple_of(fit.accumulate) || last {
            _ if fit.accumulate == 1 => Accumulation::Off,
            true => Accumulation::Apply(at.step % fit.accumulate + 1),
            false => Accumulation::Add,
        };
        let rules = &fit.task.rules;
        let key = (Shapes::from(&batch.tensors[..]), accumulation, rules.stage(at.epoch));
        let graph = || -> Result<Graph> {
            Ok(fit.task.train_graph_at(fit.optimizer, key.0.clone(), accumulation, at.epoch)?)
        };
        let options = Options { guard: Some("loss".into()), ..Options::default() };
        let program = self.programs.get(&key, &options, graph)?;
        let random = Tensor::new([2], vec![fit.seed as i32, (at.total as u32) as i32])?;
        let before = |epoch: usize| self.before[epoch.min(self.before.len() - 1)];
        let scalars = rules.scalars(fit.optimizer, rate, update, before);
        let mut inputs: Vec<_> = batch.tensors.iter().map(|(name, t)| (name.as_str(), t)).collect();
        inputs.push((KEY, &random));
        inputs.extend(scalars.iter().map(|(name, value)| (name.as_str(), value)));
        match program.run(&inputs, state) {
            Ok(outputs) => outputs.iter().map(|t| Ok(t.item()?)).collect(),
            Err(brisk_runtime::Error::NotFinite { value, .. }) => {
                let options = Options { trace: true, ..Options::default() };
                let traced = fit.device.compile(&graph()?, &options)?.run(&inputs, &mut state.clone());
                let cause = match traced {
                    Err(error) => error.to_string(),
                    Ok(_) => "no value in between is to blame".into(),
                };
                Err(Error::Diverged { epoch: at.epoch + 1, step: at.step + 1, value, cause })
            }
            Err(error) => Err(error.into()),
        }
    }
}
