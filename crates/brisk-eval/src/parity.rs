//! Whether a converted model says what it said before.

use std::ops::Deref;

use brisk_format::SavedModel;
use brisk_graph::Tensor;
use brisk_runtime::Device;
use indexmap::IndexMap;
use serde::Serialize;

use crate::{Error, Predictor, Result};

/// How far an output lies from what was expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The output.
    pub output: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The largest difference between two elements; NaN if one of them is no number and the other is.
    pub largest: f64,
    /// The same, relative to the largest element that was expected.
    pub relative: f64,
    /// Where it stands.
    pub at: Vec<usize>,
    /// What was expected there, and what was found.
    pub expected: f64,
    /// See [`Difference::expected`].
    pub found: f64,
}

impl Difference {
    /// Between two tensors. An error if their shapes differ.
    ///
    /// ```
    /// use brisk_eval::Difference;
    /// use brisk_graph::Tensor;
    /// let [a, b] = [[1.0f32, 2.0], [1.0, 2.5]].map(|v| Tensor::new([2], v.to_vec()).unwrap());
    /// let difference = Difference::between("y", &a, &b)?;
    /// assert_eq!((difference.largest, difference.at), (0.5, vec![1]));
    /// # Ok::<(), brisk_eval::Error>(())
    /// ```
    pub fn between(output: &str, found: &Tensor, expected: &Tensor) -> Result<Difference> {
        if found.shape() != expected.shape() {
            return Err(Error::NotReady {
                place: output.into(),
                message: format!("expected an output of {}, found {}", expected.shape(), found.shape()),
            });
        }
        let (f, e) = (found.to_f64s(), expected.to_f64s());
        let apart = |i: usize| match f[i] == e[i] || f[i].is_nan() && e[i].is_nan() {
            true => 0.0,
            false => (f[i] - e[i]).abs(),
        };
        let worse = |a: f64, b: f64| a.is_nan() || a > b;
        let most = (0..f.len()).fold(0, |most, i| if worse(apart(i), apart(most)) { i } else { most });
        let scale = e.iter().filter(|v| v.is_finite()).fold(0.0f64, |s, v| s.max(v.abs()));
        let largest = if f.is_empty() { 0.0 } else { apart(most) };
        let strides = found.shape().strides();
        let at = found.shape().iter().zip(&strides).map(|(d, s)| most / s % d.max(&1)).collect();
        Ok(Difference {
            output: output.into(),
            shape: found.shape().to_vec(),
            largest,
            relative: if largest == 0.0 { 0.0 } else { largest / scale.max(f64::MIN_POSITIVE) },
            at,
            expected: e.get(most).copied().unwrap_or(0.0),
            found: f.get(most).copied().unwrap_or(0.0),
        })
    }

    /// Whether it is at most `tolerance`, in absolute terms or relative to the largest element.
    pub fn within(&self, tolerance: f64) -> bool {
        self.largest <= tolerance || self.relative <= tolerance
    }
}

/// What a model says to tensors by the names of its inputs, a tensor by the name of each output. Element types are made those that the
/// model takes.
///
/// ```
/// use brisk_format::SavedModel;
/// use brisk_graph::Tensor;
/// use brisk_nn::prelude::*;
/// let model = Sequential::new([2]).add(Dense::new(3)).build()?;
/// let task = Task::new(model, Loss::MeanSquaredError);
/// let saved = SavedModel::new(&task, &task.model.init_state(1)?);
/// let x = Tensor::new([4, 2], vec![0.0f64; 8])?;
/// let said = brisk_eval::ask(&brisk_runtime::Cpu::new(1), &saved, &[("x".to_string(), x)].into_iter().collect())?;
/// assert_eq!(said[0].shape().dims(), [4, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn ask<D: Deref<Target: Device>>(
    device: D,
    model: &SavedModel,
    inputs: &IndexMap<String, Tensor>,
) -> Result<IndexMap<String, Tensor>> {
    let task = model.task();
    let known = || task.model.inputs().iter().map(|i| i.tensor().to_string()).collect::<Vec<_>>().join(", ");
    let only = inputs.len() == 1 && task.model.inputs().len() == 1;
    let mut given = Vec::new();
    for input in task.model.inputs() {
        let named = inputs.get(input.tensor()).or_else(|| inputs.get(&input.name));
        let tensor = named.or_else(|| if only { inputs.values().next() } else { None });
        let Some(tensor) = tensor else {
            return Err(Error::NotReady {
                place: input.name.clone(),
                message: format!("there is no tensor of this name; the model's inputs are {}", known()),
            });
        };
        let fitted = match tensor.dtype() == input.dtype {
            true => tensor.clone(),
            false => Tensor::from_f64s(input.dtype, tensor.shape(), &tensor.to_f64s())?,
        };
        given.push((input.tensor().to_string(), fitted));
    }
    let tensors: Vec<_> = given.iter().map(|(name, t)| (name.as_str(), t)).collect();
    let mut state = model.state.clone();
    let said = Predictor::new(device, &task).run(&tensors, &mut state)?;
    Ok(model.outputs.iter().map(|o| o.name.clone()).zip(said).collect())
}

/// How far outputs lie from those that were expected. With one output its name does not matter.
///
/// ```
/// use brisk_graph::Tensor;
/// let of = |name: &str, v: f32| [(name.to_string(), Tensor::scalar(v))].into_iter().collect();
/// let found = brisk_eval::differences(&of("y", 1.0), &of("output_0", 1.25))?;
/// assert_eq!(found[0].largest, 0.25);
/// # Ok::<(), brisk_eval::Error>(())
/// ```
pub fn differences(
    said: &IndexMap<String, Tensor>,
    expected: &IndexMap<String, Tensor>,
) -> Result<Vec<Difference>> {
    let only = said.len() == 1 && expected.len() == 1;
    let compare = |(name, expected): (&String, &Tensor)| {
        let found = said.get(name).or_else(|| if only { said.values().next() } else { None });
        let Some(found) = found else {
            let known: Vec<_> = said.keys().map(String::as_str).collect();
            let message =
                format!("the model has no output of this name; its outputs are {}", known.join(", "));
            return Err(Error::NotReady { place: name.clone(), message });
        };
        Difference::between(name, found, expected)
    };
    expected.iter().map(compare).collect()
}
