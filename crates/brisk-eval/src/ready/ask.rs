//! Samples to what a model says about each.

use std::ops::Deref;
use std::sync::Arc;

use brisk_data::{Encoded, EncodedValue, Features, Layout, Layouts, Target, fewer_samples};
use brisk_graph::{DType, Tensor};
use brisk_nn::{Shapes, Task};
use brisk_runtime::{Device, State};

use super::Ready;
use crate::{Predictor, Result};

/// Tokens that are looked at together.
const TOKENS: usize = 4096;
/// Samples that are looked at together, however short they are.
const SAMPLES: usize = 128;

/// The numbers that each output of a model has for a sample, those of tags token after token.
pub type Said = Vec<Vec<f32>>;

/// Asks a [`Ready`] model about samples. The device is borrowed or shared (`Arc`).
pub struct Asker<D> {
    predictor: Predictor<D, Arc<Task>>,
    task: Arc<Task>,
    state: State,
    features: Arc<Features>,
    layouts: Layouts,
}

impl<D: Deref<Target: Device>> Asker<D> {
    /// Nothing is compiled yet. The weights are shared with the model, not copied.
    pub fn new(device: D, ready: &Ready) -> Asker<D> {
        let task = Arc::new(ready.model.task());
        Asker {
            predictor: Predictor::new(device, task.clone()),
            task,
            state: ready.model.state.clone(),
            features: Arc::new(ready.features.clone()),
            layouts: ready.layouts.clone(),
        }
    }

    /// The shapes of batches that it has been asked about.
    pub fn shapes(&self) -> Vec<Shapes> {
        self.predictor.shapes()
    }

    /// Compiles programs for batches of some shapes before they come. Shapes that are not of this model are left out.
    pub fn compile(&mut self, shapes: &[Shapes]) {
        for shapes in shapes {
            let _ = self.predictor.program(shapes);
        }
    }

    /// What the model says about samples, in their order. Texts of like length are looked at together, a few thousand tokens
    /// at a time.
    pub fn ask(&mut self, samples: &[Encoded]) -> Result<Vec<Said>> {
        let mut order: Vec<usize> = (0..samples.len()).collect();
        order.sort_by_key(|&i| samples[i].tokens());
        let mut said: Vec<Said> = vec![Vec::new(); samples.len()];
        let mut from = 0;
        while from < order.len() {
            let n = fitting(samples, &order[from..]);
            let batch = &order[from..from + n];
            let encoded: Vec<&Encoded> = batch.iter().map(|&i| &samples[i]).collect();
            for (&i, outputs) in batch.iter().zip(self.batch(&encoded)?) {
                said[i] = outputs;
            }
            from += n;
        }
        Ok(said)
    }

    /// What the model says about samples, all looked at together.
    pub fn batch(&mut self, samples: &[&Encoded]) -> Result<Vec<Said>> {
        let tensors = self.features.collate(samples, &self.layouts)?;
        let tensors = tensors.into_iter().map(|(name, t)| Ok((self.fitted(&name, t)?, name)));
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        let inputs: Vec<_> = tensors.iter().map(|(tensor, name)| (name.as_str(), tensor)).collect();
        let outputs = self.predictor.run(&inputs, &mut self.state)?;
        let mut said = vec![Vec::with_capacity(outputs.len()); samples.len()];
        for (output, tensor) in self.task.outputs.iter().zip(&outputs) {
            let parts = match self.features.targets.get(&output.name) {
                Some(Target::Tags { input, .. }) => self.of_tokens(input, samples, tensor)?,
                _ => {
                    let width = tensor.elements() / samples.len().max(1);
                    tensor.f32s()?.chunks(width.max(1)).map(<[f32]>::to_vec).collect()
                }
            };
            said.iter_mut().zip(parts).for_each(|(said, part)| said.push(part));
        }
        Ok(said)
    }

    /// The tensor of an input in the type and shape that the model takes: features know bytes and flat lists.
    fn fitted(&self, name: &str, tensor: Tensor) -> Result<Tensor> {
        let Some(input) = self.task.model.inputs().iter().find(|i| i.tensor() == name) else {
            return Ok(tensor);
        };
        let dims: Option<Vec<usize>> =
            std::iter::once(Some(tensor.shape().dims()[0])).chain(input.shape.iter().copied()).collect();
        let tensor = match dims {
            Some(dims) if *tensor.shape().dims() != dims[..] => tensor.reshape(dims)?,
            _ => tensor,
        };
        match (tensor.dtype(), input.dtype) {
            (DType::U8, DType::F32) => {
                let values: Vec<f32> = tensor.u8s()?.iter().map(|&v| v.into()).collect();
                Ok(Tensor::new(tensor.shape().clone(), values)?)
            }
            (DType::F32, DType::U8) => {
                let values: Vec<u8> = tensor.f32s()?.iter().map(|&v| v.round() as u8).collect();
                Ok(Tensor::new(tensor.shape().clone(), values)?)
            }
            _ => Ok(tensor),
        }
    }

    /// The rows of each sample's tokens.
    fn of_tokens(&self, input: &str, samples: &[&Encoded], tensor: &Tensor) -> Result<Vec<Vec<f32>>> {
        let place = self.features.inputs.get_index_of(input).unwrap_or(0);
        let (values, dims) = (tensor.f32s()?, tensor.shape().dims());
        let width = tensor.shape().last();
        let mut next = 0;
        let parts = samples.iter().enumerate().map(|(i, sample)| {
            let tokens = match sample.inputs.get(place) {
                Some(EncodedValue::Text(tokens, _)) => tokens.ids.len(),
                _ => 0,
            };
            let start = match (self.layouts.of(input), dims) {
                (Layout::Padded, &[_, length, _]) => i * length,
                _ => next,
            };
            next += tokens;
            values.get(start * width..(start + tokens) * width).unwrap_or_default().to_vec()
        });
        Ok(parts.collect())
    }
}

/// How many of the samples from the front are looked at together: they are sorted, so that the last is the longest.
fn fitting(samples: &[Encoded], order: &[usize]) -> usize {
    let fits = |&n: &usize| samples[order[n - 1]].tokens() * n <= TOKENS;
    let n = (1..=order.len().min(SAMPLES)).take_while(fits).last().unwrap_or(1);
    if n < order.len() { fewer_samples(n) } else { n }
}
