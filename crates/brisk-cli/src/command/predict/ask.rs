//! Rows to what the model says about each.

use std::sync::Arc;

use anyhow::Result;
use brisk_data::{
    Encoded, EncodedValue, Encoder, Features, Layout, Layouts, Notes, Rows, Target, fewer_samples,
};
use brisk_eval::Predictor;
use brisk_graph::Tensor;
use brisk_nn::Task;
use brisk_runtime::{Device, State};

/// Tokens that are looked at together.
const TOKENS: usize = 4096;
/// Samples that are looked at together, however short they are.
const SAMPLES: usize = 128;

/// A sample and the numbers that each output of the model has for it, those of tags token after token.
pub struct Said {
    pub sample: Encoded,
    pub outputs: Vec<Vec<f32>>,
}

/// Asks a model about rows.
pub struct Asker<'a> {
    predictor: Predictor<'a>,
    task: &'a Task,
    state: State,
    features: Arc<Features>,
    layouts: Layouts,
    /// What happened to all rows so far.
    pub notes: Notes,
}

impl<'a> Asker<'a> {
    pub fn new(
        device: &'a dyn Device,
        task: &'a Task,
        state: State,
        features: Arc<Features>,
        layouts: Layouts,
    ) -> Asker<'a> {
        Asker {
            predictor: Predictor::new(device, task),
            task,
            state,
            features,
            layouts,
            notes: Notes::default(),
        }
    }

    /// What the model says about rows, in their order. Texts of like length are looked at together.
    pub fn ask(&mut self, rows: &Rows) -> Result<Vec<Said>> {
        let encoder = Encoder::new(self.features.clone(), rows.clone(), false)?;
        let samples =
            (0..encoder.len()).map(|i| encoder.encode(i)).collect::<brisk_data::Result<Vec<_>>>()?;
        samples.iter().for_each(|s| self.notes += s.notes);
        let mut order: Vec<usize> = (0..samples.len()).collect();
        order.sort_by_key(|&i| samples[i].tokens());
        let mut said: Vec<Vec<Vec<f32>>> = vec![Vec::new(); samples.len()];
        let mut from = 0;
        while from < order.len() {
            let n = fitting(&samples, &order[from..]);
            let batch = &order[from..from + n];
            for (&i, outputs) in batch.iter().zip(self.batch(batch.iter().map(|&i| &samples[i]))?) {
                said[i] = outputs;
            }
            from += n;
        }
        Ok(samples.into_iter().zip(said).map(|(sample, outputs)| Said { sample, outputs }).collect())
    }

    fn batch<'s>(&mut self, samples: impl Iterator<Item = &'s Encoded>) -> Result<Vec<Vec<Vec<f32>>>> {
        let samples: Vec<Encoded> = samples.cloned().collect();
        let tensors = self.features.collate(&samples, &self.layouts)?;
        let inputs: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let outputs = self.predictor.run(&inputs, &mut self.state)?;
        let mut said = vec![Vec::with_capacity(outputs.len()); samples.len()];
        for (output, tensor) in self.task.outputs.iter().zip(&outputs) {
            let parts = match self.features.targets.get(&output.name) {
                Some(Target::Tags { input, .. }) => self.of_tokens(input, &samples, tensor)?,
                _ => {
                    let width = tensor.elements() / samples.len().max(1);
                    tensor.f32s()?.chunks(width.max(1)).map(<[f32]>::to_vec).collect()
                }
            };
            said.iter_mut().zip(parts).for_each(|(said, part)| said.push(part));
        }
        Ok(said)
    }

    /// The rows of each sample's tokens.
    fn of_tokens(&self, input: &str, samples: &[Encoded], tensor: &Tensor) -> Result<Vec<Vec<f32>>> {
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
