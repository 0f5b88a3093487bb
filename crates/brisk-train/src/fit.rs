//! The training loop.

use std::collections::HashMap;

use brisk_data::{Batch, Loader};
use brisk_eval::{Evaluator, targets};
use brisk_graph::Tensor;
use brisk_nn::{Accumulation, KEY, Optimizer, Plateau, Schedule, Task, X, Y};
use brisk_runtime::{Device, Options, Program, State};
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
    /// Sums of loss and metrics over the samples of this epoch so far, and their number.
    pub sums: Vec<f64>,
    /// See above.
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
        train: &Loader,
        validation: Option<&Loader>,
        state: &mut State,
        at: &mut Position,
        hooks: &mut dyn Hooks,
    ) -> Result<Flow> {
        let mut names = vec!["loss".to_string()];
        names.extend(self.task.metrics.iter().map(|m| m.name()));
        let updates = train.steps().div_ceil(self.accumulate) as u64 * self.epochs as u64;
        let mut steps = Steps { fit: self, programs: HashMap::new() };
        let mut evaluator = Evaluator::new(self.device, self.task);
        while at.epoch < self.epochs {
            hooks.on_begin(at.epoch + 1, train.steps());
            let mut rate = self.optimizer.learning_rate();
            for batch in train.epoch_from(at.epoch as u64, at.step) {
                let batch = batch?;
                let update = at.epoch as u64 * train.steps().div_ceil(self.accumulate) as u64
                    + (at.step / self.accumulate) as u64;
                rate = self.schedule.rate(self.optimizer.learning_rate(), update, updates);
                rate = at.plateau.rate(self.schedule, rate);
                let values = steps.run(&batch, train.steps(), rate, update, at, state)?;
                at.add(&values, batch.indices.len());
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
    fn add(&mut self, values: &[f64], samples: usize) {
        self.sums.resize(values.len(), 0.0);
        self.sums.iter_mut().zip(values).for_each(|(sum, v)| *sum += v * samples as f64);
        self.samples += samples as u64;
        self.step += 1;
        self.total += 1;
    }

    fn means(&self, names: &[String]) -> Vec<(String, f64)> {
        let count = self.samples.max(1) as f64;
        names.iter().cloned().zip(self.sums.iter().map(|sum| sum / count)).collect()
    }
}

/// The training programs, one for each batch size and place in an accumulation.
struct Steps<'a> {
    fit: &'a Fit<'a>,
    programs: HashMap<(usize, Accumulation), Box<dyn Program>>,
}

impl Steps<'_> {
    /// Loss and metrics of one batch, as means over it; brings the state up to date.
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
        let size = batch.indices.len();
        let last = at.step + 1 == steps;
        let accumulation = match (at.step + 1).is_multiple_of(fit.accumulate) || last {
            _ if fit.accumulate == 1 => Accumulation::Off,
            true => Accumulation::Apply(at.step % fit.accumulate + 1),
            false => Accumulation::Add,
        };
        let graph = || fit.task.train_graph_with(fit.optimizer, size, accumulation);
        let program = match self.programs.entry((size, accumulation)) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let options = Options { guard: Some("loss".into()), trace: false };
                entry.insert(fit.device.compile(&graph()?, &options)?)
            }
        };
        let y = match &batch.soft_labels {
            Some(soft) => soft.clone(),
            None => targets(fit.task, &batch.labels)?,
        };
        let key = Tensor::new([2], vec![fit.seed as i32, (at.total as u32) as i32])?;
        let scalars = fit.optimizer.scalars(rate, update + 1);
        let mut inputs = vec![(X, &batch.images), (Y, &y), (KEY, &key)];
        inputs.extend(scalars.iter().map(|(name, value)| (*name, value)));
        match program.run(&inputs, state) {
            Ok(outputs) => outputs.iter().map(|t| Ok(t.item()?)).collect(),
            Err(brisk_runtime::Error::NotFinite { value, .. }) => {
                let options = Options { guard: None, trace: true };
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
