//! Asking a model about new samples.

use std::ops::Deref;

use brisk_graph::{Graph, Tensor};
use brisk_nn::{Shapes, Task};
use brisk_runtime::{Device, Options, Program, Programs, State};

use crate::Result;

/// Asks a model about new samples, in batches of any size. Device and task are borrowed or shared (`Arc`).
///
/// ```
/// use brisk_graph::Tensor;
/// use brisk_nn::prelude::*;
/// let model = Sequential::new([4]).add(Dense::new(3)).build()?;
/// let task = Task::new(model, Loss::sparse_categorical_crossentropy());
/// let mut state = task.model.init_state(1)?;
/// let device = brisk_runtime::Cpu::new(1);
/// let samples = Tensor::new([2, 4], vec![0.0f32, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])?;
/// let said = brisk_eval::Predictor::new(&device, &task).run(&[("x", &samples)], &mut state)?;
/// assert_eq!(said[0].shape().dims(), [2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Predictor<D, T> {
    task: T,
    programs: Programs<D, Shapes>,
}

impl<D: Deref<Target: Device>, T: Deref<Target = Task>> Predictor<D, T> {
    /// Nothing is compiled yet.
    pub fn new(device: D, task: T) -> Predictor<D, T> {
        Predictor { task, programs: Programs::new(device) }
    }

    /// What the model says to a batch, a tensor for each output of the task: probabilities `[n, classes]`, values, or
    /// embeddings. `inputs` are the tensors of the model's inputs by name; others are left aside.
    pub fn run(&mut self, inputs: &[(&str, &Tensor)], state: &mut State) -> Result<Vec<Tensor>> {
        let own = |name: &str| self.task.model.inputs().iter().any(|input| input.tensor() == name);
        let inputs: Vec<_> = inputs.iter().copied().filter(|(name, _)| own(name)).collect();
        let shapes: Shapes = inputs.iter().copied().collect();
        Ok(self.program(&shapes)?.run(&inputs, state)?)
    }

    /// The shapes of inputs that it has programs for.
    pub fn shapes(&self) -> Vec<Shapes> {
        self.programs.keys().cloned().collect()
    }

    /// The program for inputs of some shapes, compiled if it is not there.
    pub fn program(&mut self, shapes: &Shapes) -> Result<&mut dyn Program> {
        let graph = || -> Result<Graph> { Ok(self.task.predict_graph(shapes.clone())?) };
        self.programs.get(shapes, &Options::default(), graph)
    }
}
