//! Asking a model about new samples.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use brisk_graph::Tensor;
use brisk_nn::{Task, X};
use brisk_runtime::{Device, Options, Program, State};

use crate::Result;

/// Asks a model about new samples, in batches of any size.
///
/// ```
/// use brisk_graph::{DType, Tensor};
/// use brisk_nn::prelude::*;
/// let model = Sequential::new([2, 2, 1]).add(Flatten {}).add(Dense::new(3)).build()?;
/// let mut task = Task::new(model, Loss::sparse_categorical_crossentropy());
/// task.input_dtype = DType::U8;
/// let mut state = task.model.init_state(1)?;
/// let device = brisk_runtime::Cpu::new(1);
/// let pictures = Tensor::new([2, 2, 2, 1], vec![0u8, 1, 2, 3, 4, 5, 6, 7])?;
/// let said = brisk_eval::Predictor::new(&device, &task).run(&pictures, &mut state)?;
/// assert_eq!(said.shape().dims(), [2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Predictor<'a> {
    device: &'a dyn Device,
    task: &'a Task,
    programs: HashMap<usize, Box<dyn Program>>,
}

impl<'a> Predictor<'a> {
    /// Nothing is compiled yet.
    pub fn new(device: &'a dyn Device, task: &'a Task) -> Predictor<'a> {
        Predictor { device, task, programs: HashMap::new() }
    }

    /// What the model says to samples `[n, ...]`: probabilities `[n, classes]`, or the values of a regression.
    pub fn run(&mut self, samples: &Tensor, state: &mut State) -> Result<Tensor> {
        let size = samples.shape().first().copied().unwrap_or(0);
        let program = match self.programs.entry(size) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                entry.insert(self.device.compile(&self.task.predict_graph(size)?, &Options::default())?)
            }
        };
        let mut outputs = program.run(&[(X, samples)], state)?;
        Ok(outputs.swap_remove(0))
    }
}
