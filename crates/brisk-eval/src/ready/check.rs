//! Outputs that are stored with a model, so that a machine can find out whether it computes the same.

use std::ops::Deref;

use brisk_data::{Encoded, EncodedValue, Feature, Features, Notes, TextFeature, TextTokens};
use brisk_graph::Tensor;
use brisk_runtime::{Device, State};

use super::{Asker, Ready};
use crate::{Error, Result};

/// Samples that are computed.
const SAMPLES: usize = 3;
/// The most tokens of their texts.
const TOKENS: usize = 24;
/// How far numbers may lie apart: other machines add in other orders.
const TOLERANCE: f32 = 1e-3;

impl Ready {
    /// What the model says about made-up samples, the same on every machine: a tensor `OUTPUT` for each output, samples one after another.
    /// Stored beside a published model and checked with [`Ready::verify`] before it is served.
    ///
    /// ```
    /// # use brisk_eval::Ready;
    /// # use brisk_format::SavedModel;
    /// # use brisk_nn::prelude::*;
    /// let model = Sequential::new([2]).add(Dense::new(3)).build()?;
    /// let task = Task::new(model, Loss::sparse_categorical_crossentropy());
    /// let saved = SavedModel::new(&task, &task.model.init_state(1)?);
    /// let ready = Ready::new(saved, "".as_ref())?;
    /// let device = brisk_runtime::Cpu::new(1);
    /// let stored = ready.self_check(&device)?;
    /// ready.verify(&device, &stored)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn self_check<D: Deref<Target: Device>>(&self, device: D) -> Result<State> {
        let mut asker = Asker::new(device, self);
        let said = asker.ask(&samples(&self.features, Some(TOKENS))?).or_else(|_| {
            // Layers may need longer texts.
            asker.ask(&samples(&self.features, None)?)
        })?;
        let outputs = self.model.outputs.iter().enumerate().map(|(place, output)| {
            let values: Vec<f32> = said.iter().filter_map(|s| s.get(place)).flatten().copied().collect();
            Ok((output.name.clone(), Tensor::new([values.len()], values)?))
        });
        outputs.collect()
    }

    /// An error if this machine computes something else than what was stored.
    pub fn verify<D: Deref<Target: Device>>(&self, device: D, stored: &State) -> Result<()> {
        let found = self.self_check(device)?;
        let fault = |message: String| Error::NotReady { place: "self-check".into(), message };
        for output in &self.model.outputs {
            let name = &output.name;
            let (Some(stored), Some(found)) = (stored.get(name), found.get(name)) else {
                return Err(fault(format!(
                    "nothing is stored for the output `{name}`; publish the model again"
                )));
            };
            let (stored, found) = (stored.f32s()?, found.f32s()?);
            if stored.len() != found.len() {
                return Err(fault(format!(
                    "output `{name}`: expected {} numbers, computed {}",
                    stored.len(),
                    found.len()
                )));
            }
            let apart = |(a, b): (&f32, &f32)| {
                (a - b).abs() > TOLERANCE * (1.0 + a.abs()) || a.is_nan() != b.is_nan()
            };
            if let Some(at) = stored.iter().zip(found).position(apart) {
                return Err(fault(format!(
                    "output `{name}`: number {at} was {} when the model was published, and is {} here; the model or this machine is broken",
                    stored[at], found[at]
                )));
            }
        }
        Ok(())
    }
}

/// Made-up samples of some features, with texts of up to so many tokens, or as long as the model takes them.
fn samples(features: &Features, tokens: Option<usize>) -> Result<Vec<Encoded>> {
    let mut random = Random(1);
    let sample = |_| {
        let inputs =
            features.inputs.values().map(|f| value(f, tokens, &mut random)).collect::<Result<_>>()?;
        Ok(Encoded { inputs, targets: Vec::new(), notes: Notes::default() })
    };
    (0..SAMPLES).map(sample).collect()
}

fn value(feature: &Feature, tokens: Option<usize>, random: &mut Random) -> Result<EncodedValue> {
    Ok(match feature {
        Feature::Text(f) => {
            let second = if f.is_separate_pair() { Some(text(f, tokens, random)?) } else { None };
            EncodedValue::Text(text(f, tokens, random)?, second)
        }
        Feature::Number(_) => EncodedValue::Number(random.number()),
        Feature::Category(f) => EncodedValue::Category(random.below(f.size()) as i32),
        Feature::Vector(f) => EncodedValue::Vector((0..f.size()).map(|_| random.number()).collect()),
        Feature::Image(f) => {
            EncodedValue::Image((0..f.image.elements()).map(|_| random.below(256) as u8).collect())
        }
    })
}

fn text(f: &TextFeature, most: Option<usize>, random: &mut Random) -> Result<TextTokens> {
    let (longest, kinds) = (f.max_length.max(1), f.tokenizer()?.size());
    let tokens = most.map_or(longest, |most| (1 + random.below(most)).min(longest));
    let ids: Vec<i32> = (0..tokens).map(|_| random.below(kinds) as i32).collect();
    let words = (0..tokens as i32).collect();
    Ok(TextTokens { types: vec![0; tokens], ids, words, cut: 0, is_empty: false })
}

/// Numbers that never change from one release to the next (the MMIX generator of Knuth, The Art of Computer Programming, volume 2).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % n.max(1)
    }

    fn number(&mut self) -> f32 {
        self.below(2001) as f32 / 1000.0 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use brisk_format::SavedModel;
    use brisk_nn::prelude::*;

    use super::*;

    #[test]
    fn another_model_is_found_out() {
        let model = Sequential::new([2]).add(Dense::new(3)).build().unwrap();
        let task = Task::new(model, Loss::sparse_categorical_crossentropy());
        let ready = |seed| {
            let saved = SavedModel::new(&task, &task.model.init_state(seed).unwrap());
            Ready::new(saved, "".as_ref()).unwrap()
        };
        let device = brisk_runtime::Cpu::new(1);
        let stored = ready(1).self_check(&device).unwrap();
        assert_eq!(stored.get("y").unwrap().elements(), SAMPLES * 3);
        ready(1).verify(&device, &stored).unwrap();
        let message = ready(2).verify(&device, &stored).unwrap_err().to_string();
        assert!(message.contains("output `y`: number 0 was"), "{message}");
        assert!(
            ready(1).verify(&device, &State::new()).unwrap_err().to_string().contains("nothing is stored")
        );
    }
}
