//! Measuring a model on data.

use brisk_data::{Batch, Batches};
use brisk_graph::{Graph, Tensor};
use brisk_nn::{Shapes, Task};
use brisk_runtime::{Device, Options, Programs, State};

use crate::Result;

/// Measures a task on data.
///
/// ```
/// use brisk_data::{ImageSpec, Loader, LoaderOptions, Memory, Part};
/// use brisk_graph::DType;
/// use brisk_nn::prelude::*;
/// use brisk_nn::{INPUT, Scaling};
/// let image = ImageSpec { height: 2, width: 2, channels: 1 };
/// let part = Part::new(Memory::new(image, vec![7; 40], vec![0; 10])?, ["a"], image)?;
/// let loader = Loader::new(part, LoaderOptions { batch_size: 4, shuffle: false, ..LoaderOptions::default() })?;
/// let mut model = Sequential::new([2, 2, 1]).add(Flatten {}).add(Dense::new(3)).build()?;
/// model.set_stored(INPUT, DType::U8, Scaling::bytes())?;
/// let task = Task::new(model, Loss::sparse_categorical_crossentropy());
/// let mut state = task.model.init_state(1)?;
/// let device = brisk_runtime::Cpu::new(1);
/// let measured = brisk_eval::Evaluator::new(&device, &task).run(&loader, &mut state, |_, _| Ok(()))?;
/// assert_eq!(measured[0].0, "loss");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Evaluator<'a> {
    task: &'a Task,
    programs: Programs<&'a dyn Device, Shapes>,
}

impl<'a> Evaluator<'a> {
    /// Nothing is compiled yet.
    pub fn new(device: &'a dyn Device, task: &'a Task) -> Evaluator<'a> {
        Evaluator { task, programs: Programs::new(device) }
    }

    /// Loss and metrics over all samples. `each` sees every batch with what the model says to it, a tensor for each output
    /// of the task.
    pub fn run(
        &mut self,
        data: &dyn Batches,
        state: &mut State,
        mut each: impl FnMut(&Batch, &[Tensor]) -> Result<()>,
    ) -> Result<Vec<(String, f64)>> {
        let names = self.task.measures();
        let (mut sums, mut counts) = (vec![0.0; names.len()], vec![0.0; names.len()]);
        for batch in data.epoch_from(0, 0) {
            let batch = batch?;
            let shapes = Shapes::from(&batch.tensors[..]);
            let graph = || -> Result<Graph> { Ok(self.task.eval_graph(shapes.clone())?) };
            let program = self.programs.get(&shapes, &Options::default(), graph)?;
            let inputs: Vec<_> = batch.tensors.iter().map(|(name, t)| (name.as_str(), t)).collect();
            let outputs = program.run(&inputs, state)?;
            let (values, said) = outputs.split_at(self.task.scalars().min(outputs.len()));
            let values = values.iter().map(|t| Ok(t.item()?)).collect::<Result<Vec<_>>>()?;
            each(&batch, said)?;
            let weights = self.task.weights(&values, batch.indices.len());
            for (((sum, count), value), weight) in sums.iter_mut().zip(&mut counts).zip(values).zip(weights) {
                *sum += value * weight;
                *count += weight;
            }
        }
        let means = sums.iter().zip(&counts).map(|(sum, count): (&f64, &f64)| sum / count.max(1.0));
        Ok(names.into_iter().zip(means).collect())
    }
}
