//! Measuring a model on data.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use brisk_data::{Batch, Loader};
use brisk_graph::{DType, Tensor};
use brisk_nn::{Task, X, Y};
use brisk_runtime::{Device, Options, Program, State};

use crate::Result;

/// Class numbers as a task's loss wants its targets: themselves, or one row for each with a 1 at its class.
///
/// ```
/// use brisk_graph::Tensor;
/// use brisk_nn::prelude::*;
/// let model = Sequential::new([4]).add(Dense::new(3)).build()?;
/// let labels = Tensor::new([2], vec![2, 0])?;
/// let task = Task::new(model.clone(), Loss::sparse_categorical_crossentropy());
/// assert_eq!(brisk_eval::targets(&task, &labels)?, labels);
/// let task = Task::new(model, Loss::MeanSquaredError);
/// assert_eq!(brisk_eval::targets(&task, &labels)?.f32s()?, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn targets(task: &Task, labels: &Tensor) -> Result<Tensor> {
    let (shape, dtype) = task.loss.target(task.model.output_shape());
    if dtype == DType::I32 {
        return Ok(labels.clone());
    }
    let width = shape.elements();
    let classes = labels.i32s()?;
    let mut rows = vec![0.0f32; classes.len() * width];
    for (row, &class) in rows.chunks_mut(width.max(1)).zip(classes) {
        match (width, row.get_mut(class.max(0) as usize)) {
            (1, _) => row[0] = class as f32,
            (_, Some(one)) => *one = 1.0,
            (_, None) => {
                let message = format!("expected a class below {width}, found {class}");
                return Err(brisk_nn::Error::config("labels", message).into());
            }
        }
    }
    Ok(Tensor::new([&[classes.len()], &shape[..]].concat(), rows)?)
}

/// Measures a task on data.
///
/// ```
/// use brisk_data::{ImageSpec, Loader, LoaderOptions, Memory, Part};
/// use brisk_graph::DType;
/// use brisk_nn::prelude::*;
/// let image = ImageSpec { height: 2, width: 2, channels: 1 };
/// let part = Part::new(Memory::new(image, vec![7; 40], vec![0; 10])?, ["a"], image)?;
/// let loader = Loader::new(part, LoaderOptions { batch_size: 4, shuffle: false, ..LoaderOptions::default() })?;
/// let model = Sequential::new([2, 2, 1]).add(Flatten {}).add(Dense::new(3)).build()?;
/// let mut task = Task::new(model, Loss::sparse_categorical_crossentropy());
/// task.input_dtype = DType::U8;
/// let mut state = task.model.init_state(1)?;
/// let device = brisk_runtime::Cpu::new(1);
/// let measured = brisk_eval::Evaluator::new(&device, &task).run(&loader, &mut state, |_, _| Ok(()))?;
/// assert_eq!(measured[0].0, "loss");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Evaluator<'a> {
    device: &'a dyn Device,
    task: &'a Task,
    programs: HashMap<usize, Box<dyn Program>>,
}

impl<'a> Evaluator<'a> {
    /// Nothing is compiled yet.
    pub fn new(device: &'a dyn Device, task: &'a Task) -> Evaluator<'a> {
        Evaluator { device, task, programs: HashMap::new() }
    }

    /// Loss and metrics over all samples of a loader. `each` sees every batch with what the model says to it.
    pub fn run(
        &mut self,
        loader: &Loader,
        state: &mut State,
        mut each: impl FnMut(&Batch, &Tensor) -> Result<()>,
    ) -> Result<Vec<(String, f64)>> {
        let (mut sums, mut samples) = (Vec::new(), 0usize);
        for batch in loader.epoch(0) {
            let batch = batch?;
            let size = batch.indices.len();
            let program = match self.programs.entry(size) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    entry.insert(self.device.compile(&self.task.eval_graph(size)?, &Options::default())?)
                }
            };
            let y = targets(self.task, &batch.labels)?;
            let outputs = program.run(&[(X, &batch.images), (Y, &y)], state)?;
            let [values @ .., said] = &outputs[..] else { continue };
            let values = values.iter().map(|t| Ok(t.item()?)).collect::<Result<Vec<_>>>()?;
            each(&batch, said)?;
            sums.resize(values.len(), 0.0);
            sums.iter_mut().zip(values).for_each(|(sum, v)| *sum += v * size as f64);
            samples += size;
        }
        let mut names = vec!["loss".to_string()];
        names.extend(self.task.metrics.iter().map(|m| m.name()));
        Ok(names.into_iter().zip(sums.iter().map(|sum| sum / samples.max(1) as f64)).collect())
    }
}
