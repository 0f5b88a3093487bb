//! Keras's verbs for Rust programs: fit, evaluate, predict.

use brisk_data::{Batches, Loader, LoaderOptions, Part};
use brisk_eval::{Evaluator, OutputReport, Outputs, Predictor, Report};
use brisk_format::{SavedModel, save_model};
use brisk_graph::{DType, Tensor};
use brisk_nn::{INPUT, Loss, Model, Optimizer, Scaling, Schedule, Task, X};
use brisk_runtime::{Cpu, State};
use brisk_train::{Fit, Flow, Hooks, Position, Progress};

type Result<T, E = brisk_train::Error> = std::result::Result<T, E>;

/// Values by name, in order.
type Named<T> = Vec<(String, T)>;

/// A model with its weights, and all that training it needs. Images are scaled from bytes to 0..1.
///
/// See the [crate's example](crate).
pub struct Trainer {
    /// The model, its loss, and what happens to samples first.
    pub task: Task,
    /// What follows the gradients.
    pub optimizer: Optimizer,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Samples in a step.
    pub batch_size: usize,
    /// What everything random follows from.
    pub seed: u64,
    /// Weights and optimizer slots.
    pub state: State,
    /// What runs it.
    pub device: Cpu,
}

impl Trainer {
    /// New weights, from seed 42, on all threads of the machine.
    pub fn new(model: Model, loss: Loss, optimizer: Optimizer) -> Result<Trainer> {
        let mut task = Task::new(model, loss);
        task.model.set_stored(INPUT, DType::U8, Scaling::bytes())?;
        Trainer::of_task(task, optimizer)
    }

    /// The same for any task: several inputs and outputs of any kind, rules for parameters.
    pub fn of_task(task: Task, optimizer: Optimizer) -> Result<Trainer> {
        let seed = 42;
        let state = task.init_state(&optimizer, seed)?;
        let schedule = Schedule::default();
        Ok(Trainer { task, optimizer, schedule, batch_size: 32, seed, state, device: Cpu::all_threads() })
    }

    /// Trains for some epochs, with Keras's progress on stderr. Each call begins with a new learning-rate schedule.
    pub fn fit(&mut self, train: &Part, validation: Option<&Part>, epochs: usize) -> Result<()> {
        let loader = |part: &Part, shuffle| {
            let options = LoaderOptions {
                batch_size: self.batch_size,
                shuffle,
                seed: self.seed,
                ..LoaderOptions::default()
            };
            Loader::new(part.clone(), options)
        };
        let training = loader(train, true)?;
        let validation = validation.map(|part| loader(part, false)).transpose()?;
        self.fit_batches(&training, validation.as_ref().map(|v| v as &dyn Batches), epochs)
    }

    /// [`Trainer::fit`] on batches of any kind: tensors by the names of the task's inputs and outputs.
    pub fn fit_batches(
        &mut self,
        train: &dyn Batches,
        validation: Option<&dyn Batches>,
        epochs: usize,
    ) -> Result<()> {
        let fit = Fit {
            device: &self.device,
            task: &self.task,
            optimizer: &self.optimizer,
            schedule: &self.schedule,
            epochs,
            accumulate: 1,
            seed: self.seed,
        };
        let mut screen = Screen(Progress::stderr(epochs));
        fit.run(train, validation, &mut self.state, &mut Position::default(), &mut screen)?;
        Ok(())
    }

    /// Loss, accuracy and more on data.
    pub fn evaluate(&mut self, part: &Part) -> Result<Report> {
        Ok(brisk_train::evaluate(&self.device, &self.task, part, &mut self.state, 0)?.0)
    }

    /// Loss and metrics, and a report of each output, on batches of any kind.
    pub fn evaluate_batches(&mut self, data: &dyn Batches) -> Result<(Named<f64>, Named<OutputReport>)> {
        let mut outputs = Outputs::new(&self.task, |_| Vec::new());
        let mut evaluator = Evaluator::new(&self.device, &self.task);
        let measured = evaluator.run(data, &mut self.state, |batch, said| outputs.update(batch, said))?;
        Ok((measured, outputs.reports()))
    }

    /// What the model says to tensors by the names of the task's inputs: a tensor for each output.
    pub fn predict_batch(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        Ok(Predictor::new(&self.device, &self.task).run(inputs, &mut self.state)?)
    }

    /// What the model says to images, u8 `[n, height, width, channels]`: probabilities `[n, classes]`.
    pub fn predict(&mut self, images: &Tensor) -> Result<Tensor> {
        let mut said = Predictor::new(&self.device, &self.task).run(&[(X, images)], &mut self.state)?;
        Ok(said.swap_remove(0))
    }

    /// Writes a model folder that `brisk predict` and [`brisk_format::load_model`] read.
    pub fn save(&self, dir: impl AsRef<std::path::Path>, labels: &[String]) -> Result<()> {
        let image = self.task.model.input_shape();
        let preprocessing = match image[..] {
            [height, width, channels] => {
                serde_json::to_value(brisk_data::Preprocessing::scaled(brisk_data::ImageSpec {
                    height,
                    width,
                    channels,
                }))
            }
            _ => Ok(serde_json::Value::Null),
        };
        let saved = SavedModel {
            labels: labels.to_vec(),
            preprocessing: preprocessing.unwrap_or_default(),
            ..SavedModel::new(&self.task, &self.state)
        };
        Ok(save_model(dir.as_ref(), &saved)?)
    }
}

struct Screen(Progress);

impl Hooks for Screen {
    fn on_begin(&mut self, epoch: usize, steps: usize) {
        self.0.epoch(epoch, steps);
    }

    fn on_step(&mut self, at: &Position, values: &[(&str, f64)], _: &State) -> Result<Flow> {
        self.0.step(at.step, values);
        Ok(Flow::Continue)
    }

    fn on_epoch(&mut self, _: &mut Position, values: &[(String, f64)], _: &State) -> Result<Flow> {
        let values: Vec<_> = values.iter().filter(|v| v.0 != "learning_rate").collect();
        self.0.finish(&values.iter().map(|(n, v)| (n.as_str(), *v)).collect::<Vec<_>>());
        Ok(Flow::Continue)
    }
}
