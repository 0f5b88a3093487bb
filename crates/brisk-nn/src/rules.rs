//! Rules over the names of parameters: what fine-tuning does differently from one parameter to the next.

use brisk_graph::{DType, Shape, Tensor};
use brisk_runtime::State;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::optimizer::STEP_SIZE;
use crate::{Error, Initializer, Optimizer, ParamSpec, Result};

/// Which parameters are frozen, which have a learning rate or a weight decay of their own, and which are trained by an
/// addition of low rank. Layers know nothing of it: the rules act where a [`crate::Context`] hands out a parameter, and where
/// an optimizer follows its gradient.
///
/// A *pattern* is a part of a parameter's path, whole from dot to dot, in which `*` stands for any text: `bias` fits
/// `encoder.layer_0.norm.bias`, and `encoder.layer_*.attention` fits all attentions of an encoder.
///
/// ```
/// use brisk_nn::ParamRules;
/// let rules: ParamRules = serde_saphyr::from_str("
/// no_decay: [bias, gamma, beta]
/// layer_decay: 0.9
/// frozen: [encoder.embeddings]
/// learning_rates: {head: 10}
/// lora: {rank: 8, parameters: [query.kernel, value.kernel]}
/// ")?;
/// assert!(!rules.trainable("encoder.embeddings.word", 0));
/// assert_eq!(rules.learning_rate("head.kernel", 12), 10.0);
/// assert_eq!(rules.learning_rate("encoder.layer_11.norm.gamma", 12), 0.9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ParamRules {
    /// Patterns of parameters without weight decay: see [`ParamRules::NO_DECAY`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_decay: Vec<String>,
    /// Patterns, and what the learning rate of their parameters is multiplied with. If several fit, all factors count.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub learning_rates: IndexMap<String, f64>,
    /// The deeper, the slower (Howard and Ruder, 2018): of `n` layers the learning rate of `layer_{i}` is multiplied with
    /// this to the power of `n - i`, that of `embeddings` with it to the power of `n + 1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_decay: Option<f64>,
    /// Patterns of parameters that training leaves as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<String>,
    /// When frozen parameters begin to be trained after all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unfreeze: Vec<Unfreeze>,
    /// Parameters that stay as they are while an addition of low rank is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
}

/// From an epoch on, some frozen parameters are trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unfreeze {
    /// From which epoch on; the first is 1.
    pub epoch: usize,
    /// Patterns of the parameters.
    pub parameters: Vec<String>,
}

/// LoRA (Hu and others, 2021): a matrix `W` `[in, out]` becomes `W + (alpha / rank) A B`, with `A` `[in, rank]` and `B`
/// `[rank, out]`, which are trained, and `W`, which is not. `B` starts at zero. They are the parameters `NAME.lora_a` and
/// `NAME.lora_b`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// The rank of the addition.
    pub rank: usize,
    /// How much it counts; left out: twice the rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Patterns of the matrices.
    pub parameters: Vec<String>,
    /// Whether a model that is saved has the additions in its matrices, rather than beside them.
    #[serde(default = "merged", skip_serializing_if = "is_merged")]
    pub merge: bool,
}

fn merged() -> bool {
    true
}
fn is_merged(merge: &bool) -> bool {
    *merge
}

impl Lora {
    /// `alpha / rank`
    pub fn scale(&self) -> f64 {
        self.alpha.unwrap_or(2.0 * self.rank as f64) / self.rank as f64
    }

    /// How `A` starts: uniform within `± 1 / sqrt(in)`.
    pub(crate) fn initializer(inputs: usize) -> Initializer {
        let bound = 1.0 / (inputs.max(1) as f64).sqrt();
        Initializer::RandomUniform { minval: -bound, maxval: bound }
    }
}

/// The endings of the names of LoRA's matrices.
pub(crate) const LORA_A: &str = "lora_a";
pub(crate) const LORA_B: &str = "lora_b";

impl ParamRules {
    /// Patterns of biases and of the gains and shifts of norms, which are usually left without weight decay.
    pub const NO_DECAY: [&'static str; 3] = ["bias", "gamma", "beta"];

    /// The usual ones for fine-tuning: no weight decay for [`ParamRules::NO_DECAY`].
    pub fn fine_tuning() -> ParamRules {
        ParamRules { no_decay: Self::NO_DECAY.map(String::from).into(), ..ParamRules::default() }
    }

    /// True if all parameters are treated alike.
    pub fn is_none(&self) -> bool {
        *self == ParamRules::default()
    }

    /// Whether a parameter is trained in an epoch (from 0).
    pub fn trainable(&self, name: &str, epoch: usize) -> bool {
        if is_lora(name) || !fits_any(&self.frozen, name) {
            return true;
        }
        self.thawed_by(name).is_some_and(|rule| rule.1.epoch <= epoch.saturating_add(1))
    }

    /// Whether its weights decay.
    pub fn decays(&self, name: &str) -> bool {
        !fits_any(&self.no_decay, name)
    }

    /// What its learning rate is multiplied with, in a model with so many layers called `layer_{i}`.
    pub fn learning_rate(&self, name: &str, layers: usize) -> f64 {
        let own = self.learning_rates.iter().filter(|(pattern, _)| fits(pattern, name)).map(|r| r.1);
        let depth = match layer_of(name) {
            Some(layer) => layers.saturating_sub(layer),
            None if layers > 0 && fits("embeddings", name) => layers + 1,
            None => 0,
        };
        own.product::<f64>() * self.layer_decay.map_or(1.0, |decay| decay.powi(depth as i32))
    }

    /// What differs between the graphs of epochs: how many of the rules for unfreezing hold in one (from 0).
    pub fn stage(&self, epoch: usize) -> usize {
        self.unfreeze.iter().filter(|rule| rule.epoch <= epoch.saturating_add(1)).count()
    }

    /// The rule that says from when on a frozen parameter is trained, and its number from 1.
    fn thawed_by(&self, name: &str) -> Option<(usize, &Unfreeze)> {
        let fitting = self.unfreeze.iter().enumerate().filter(|(_, rule)| fits_any(&rule.parameters, name));
        fitting.min_by_key(|(_, rule)| rule.epoch).map(|(i, rule)| (i + 1, rule))
    }

    /// The name of the scalar with the step size of a parameter: those that were frozen at first count steps of their own.
    pub(crate) fn step_size(&self, name: &str) -> String {
        match self.thawed_by(name).filter(|_| !is_lora(name) && fits_any(&self.frozen, name)) {
            Some((number, _)) => format!("{STEP_SIZE}/{number}"),
            None => STEP_SIZE.into(),
        }
    }

    /// The scalar inputs of a step: those of the optimizer, and the step sizes of parameters that were frozen at first.
    /// `update` is the number of the update from 0; `updates_before` gives the number of updates before an epoch (from 0).
    pub fn scalars(
        &self,
        optimizer: &Optimizer,
        learning_rate: f64,
        update: u64,
        updates_before: impl Fn(usize) -> u64,
    ) -> Vec<(String, Tensor)> {
        let own = optimizer.scalars(learning_rate, update + 1).into_iter();
        let mut scalars: Vec<_> = own.map(|(name, t)| (name.to_string(), t)).collect();
        for (i, rule) in self.unfreeze.iter().enumerate() {
            let before = updates_before(rule.epoch.saturating_sub(1));
            let step = (update + 1).saturating_sub(before).max(1);
            let sizes = optimizer.scalars(learning_rate, step).into_iter().filter(|s| s.0 == STEP_SIZE);
            scalars.extend(sizes.map(|(name, t)| (format!("{name}/{}", i + 1), t)));
        }
        scalars
    }

    /// The addition of low rank that a parameter gets.
    pub(crate) fn lora(&self, name: &str, shape: &Shape) -> Option<&Lora> {
        self.lora.as_ref().filter(|lora| shape.rank() == 2 && fits_any(&lora.parameters, name))
    }

    /// An error if its numbers make no sense, or if a pattern fits no parameter of a model.
    pub fn check(&self, params: &[ParamSpec]) -> Result<()> {
        let fail = |message: String| Err(Error::config("parameter rules", message));
        let factors = self.learning_rates.iter().map(|(pattern, factor)| (pattern.as_str(), *factor));
        let decay = self.layer_decay.map(|decay| ("layer_decay", decay));
        if let Some((what, found)) = factors.chain(decay).find(|f| !(f.1 >= 0.0 && f.1.is_finite())) {
            return fail(format!("expected a factor of 0 or more for {what}, found {found}"));
        }
        if let Some(lora) = &self.lora
            && (lora.rank == 0 || lora.rank > 1 << 16 || !lora.scale().is_finite())
        {
            return fail(format!("expected a lora rank from 1 to 65536 and a finite alpha, found {lora:?}"));
        }
        let lora = self.lora.iter().flat_map(|l| &l.parameters).map(|p| (p, true));
        let thaw = self.unfreeze.iter().flat_map(|u| &u.parameters);
        let others = self.no_decay.iter().chain(self.learning_rates.keys()).chain(&self.frozen).chain(thaw);
        for (pattern, matrix) in others.map(|p| (p, false)).chain(lora) {
            let usual = !matrix && Self::NO_DECAY.contains(&pattern.as_str()); // there may well be no bias
            let found = params.iter().any(|p| fits(pattern, &p.name) && (!matrix || p.shape.rank() == 2));
            if !found && !usual {
                let names: Vec<_> = params.iter().map(|p| p.name.as_str()).take(8).collect();
                let what = if matrix { "matrix" } else { "parameter" };
                return fail(format!(
                    "no {what} fits the pattern \"{pattern}\"; parameters are called {}, ...",
                    names.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// A state in which the additions of low rank are part of their matrices, and gone themselves. All else stays.
    ///
    /// ```
    /// use brisk_graph::Tensor;
    /// use brisk_nn::{Lora, ParamRules};
    /// use brisk_runtime::State;
    /// let lora = Lora { rank: 1, alpha: Some(2.0), parameters: vec!["kernel".into()], merge: true };
    /// let rules = ParamRules { lora: Some(lora), ..ParamRules::default() };
    /// let state: State = [
    ///     ("dense.kernel", Tensor::new([2, 1], vec![1.0f32, 2.0])?),
    ///     ("dense.kernel.lora_a", Tensor::new([2, 1], vec![1.0f32, -1.0])?),
    ///     ("dense.kernel.lora_b", Tensor::new([1, 1], vec![0.5f32])?),
    /// ].into_iter().collect();
    /// let merged = rules.merge(&state)?;
    /// assert_eq!(merged.get("dense.kernel").unwrap().f32s()?, [2.0, 1.0]);
    /// assert_eq!(merged.len(), 1);
    /// # Ok::<(), brisk_nn::Error>(())
    /// ```
    pub fn merge(&self, state: &State) -> Result<State> {
        let Some(lora) = &self.lora else { return Ok(state.clone()) };
        let mut merged = State::new();
        for (name, tensor) in state.iter() {
            let part = |part: &str| state.get(&format!("{name}.{part}"));
            match (part(LORA_A), part(LORA_B)) {
                (Some(a), Some(b)) => merged.insert(name, add_product(name, tensor, a, b, lora.scale())?),
                _ if is_lora(name) => {}
                _ => merged.insert(name, tensor.clone()),
            }
        }
        Ok(merged)
    }
}

/// `w + scale a b`
fn add_product(name: &str, w: &Tensor, a: &Tensor, b: &Tensor, scale: f64) -> Result<Tensor> {
    let (&[rows, columns], &[_, rank]) = (&w.shape()[..], &a.shape()[..]) else {
        return Err(Error::config(name, "expected matrices"));
    };
    if a.shape()[..] != [rows, rank] || b.shape()[..] != [rank, columns] || w.dtype() != DType::F32 {
        let message = format!("cannot add {} times {} to {}", a.shape(), b.shape(), w.shape());
        return Err(Error::config(name, message));
    }
    let (a, b) = (a.f32s()?, b.f32s()?);
    let mut sum = w.f32s()?.to_vec();
    for (row, a) in sum.chunks_mut(columns.max(1)).zip(a.chunks(rank.max(1))) {
        for (j, value) in row.iter_mut().enumerate() {
            let product: f64 =
                a.iter().zip(b[j..].iter().step_by(columns)).map(|(a, b)| f64::from(a * b)).sum();
            *value = (f64::from(*value) + scale * product) as f32;
        }
    }
    Ok(Tensor::new(w.shape().clone(), sum)?)
}

/// Whether a parameter is one of LoRA's.
fn is_lora(name: &str) -> bool {
    name.ends_with(".lora_a") || name.ends_with(".lora_b")
}

/// The number of the layer that a parameter belongs to: 3 of `encoder.layer_3.norm.gamma`.
pub(crate) fn layer_of(name: &str) -> Option<usize> {
    name.split('.').find_map(|part| part.strip_prefix("layer_")?.parse().ok())
}

fn fits_any(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| fits(pattern, name))
}

/// Whether a pattern fits some neighbouring parts of a path.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, parts): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), name.split('.').collect());
    parts.windows(pattern.len()).any(|parts| pattern.iter().zip(parts).all(|(p, part)| fits_part(p, part)))
}

/// Whether a text fits a pattern in which `*` stands for any text.
fn fits_part(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or("");
    for piece in pieces {
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_parts() {
        for (pattern, name, expected) in [
            ("bias", "dense.bias", true),
            ("bias", "dense.bias_2", false),
            ("encoder", "encoder.layer_0.norm.gamma", true),
            ("layer_*", "encoder.layer_0.norm.gamma", true),
            ("layer_*.norm", "encoder.layer_0.attention.norm.gamma", false),
            ("layer_*.*.norm", "encoder.layer_0.attention.norm.gamma", true),
            ("*", "anything", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxcyyb", false),
            ("a*a", "a", false),
            ("", "dense.bias", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn frozen_parameters_thaw_when_their_epoch_comes() {
        let thaw = |epoch, pattern: &str| Unfreeze { epoch, parameters: vec![pattern.into()] };
        let rules = ParamRules {
            frozen: vec!["encoder".into()],
            unfreeze: vec![thaw(3, "encoder"), thaw(2, "layer_1")],
            ..ParamRules::default()
        };
        let trained = |epoch| {
            ["head.bias", "encoder.layer_1.bias", "encoder.layer_0.bias"].map(|n| rules.trainable(n, epoch))
        };
        assert_eq!(trained(0), [true, false, false]);
        assert_eq!(trained(1), [true, true, false]);
        assert_eq!(trained(2), [true, true, true]);
        assert_eq!([0, 1, 2, 9].map(|e| rules.stage(e)), [0, 1, 2, 2]);
        assert_eq!(rules.step_size("encoder.layer_1.bias"), "step_size/2");
        // Two updates an epoch: at update 3, of the second epoch, layer_1 takes its second step, the head its fourth.
        let adam = Optimizer::adam(1.0);
        let scalars = rules.scalars(&adam, 1.0, 3, |epoch| epoch as u64 * 2);
        let names: Vec<_> = scalars.iter().map(|s| s.0.as_str()).collect();
        assert_eq!(names, ["learning_rate", "step_size", "step_size/1", "step_size/2"]);
        assert_eq!(scalars[3].1, adam.scalars(1.0, 2)[1].1);
    }

    #[test]
    fn patterns_that_fit_nothing_are_mistakes() {
        let spec = ParamSpec {
            name: "dense.bias".into(),
            shape: [3].into(),
            initializer: Initializer::Zeros,
            trainable: true,
        };
        let error = |rules: ParamRules| rules.check(std::slice::from_ref(&spec)).unwrap_err().to_string();
        let frozen = ParamRules { frozen: vec!["dens".into()], ..ParamRules::default() };
        assert_eq!(
            error(frozen),
            "parameter rules: no parameter fits the pattern \"dens\"; parameters are called dense.bias, ..."
        );
        let lora = Lora { rank: 2, alpha: None, parameters: vec!["bias".into()], merge: true };
        assert!(error(ParamRules { lora: Some(lora), ..ParamRules::default() }).contains("no matrix fits"));
        ParamRules::fine_tuning().check(&[spec]).expect("usual");
    }
}
