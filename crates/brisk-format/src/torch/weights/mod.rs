//! From a state dict of PyTorch to the parameters of a model.

mod convert;
mod matching;
mod module;
mod order;
mod rule;
mod unit;

use std::collections::HashSet;

use brisk_nn::Model;
use brisk_runtime::State;

use super::StateDict;
use crate::{Error, LoadReport, Result};
use matching::Matching;
use module::{Module, modules, why_ignored};
use unit::{Param, units};

pub use rule::WeightRule;

impl StateDict<'_> {
    /// Reads the parameters of a model, by Brisk's names and in its layouts.
    ///
    /// Which module is which layer is found in three steps: what a rule says; then what is called alike, with dots as underscores and without
    /// what stands before all names (`module.`); then, of those that have tensors of the same roles and shapes, the first is the first, the second
    /// the second and so on, if there are as many on both sides and the same others, as far as those are known, stand between them. What has no
    /// counterpart is in the report, and parameters without one are not in the state. A rule that fits nothing, or leads to something of other
    /// shapes, is an error.
    ///
    /// Kernels of PyTorch are `[out, in, height, width]` and become `[height, width, in, out]`; GRU's gates change places; the two biases of an LSTM
    /// become their sum; the packed matrices of an attention are taken apart. A Dense layer after Flatten, and one before Reshape, gets the places of
    /// its numbers changed too, as PyTorch's maps have their channels first; the report lists these.
    ///
    /// What a layer computes is the model's to say, and PyTorch's defaults are not Keras's: norms have an epsilon of 1e-5, the moving statistics of batch
    /// norms a momentum of 0.9 in Keras's sense, and `padding=1` is a ZeroPadding2D before, unless strides are 1. The state that is loaded may go on to
    /// be trained; gradients are PyTorch's, but a batch norm's moving variance follows the biased one of a batch, and the bias of an LSTM, one here, is
    /// two there.
    ///
    /// ```no_run
    /// use brisk_format::TorchFile;
    /// use brisk_nn::prelude::*;
    /// let model = Sequential::new([28, 28, 1])
    ///     .add(Conv2D::new(32, 3).activation(Relu))
    ///     .add(Flatten {})
    ///     .add(Dense::new(10))
    ///     .build()?;
    /// let file = TorchFile::open("mnist.pt".as_ref())?;
    /// let (state, report) = file.state_dict(None)?.load_state(&model, &["classifier -> dense".parse()?])?;
    /// println!("{report}");
    /// assert!(report.fresh.is_empty() && state.get("dense.kernel").is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load_state(&self, model: &Model, rules: &[WeightRule]) -> Result<(State, LoadReport)> {
        let content = |message: String| Error::content(self.file().path(), message);
        let modules = modules(self);
        let packed = modules.iter().any(|m| m.tensors.contains_key("out_proj.weight"));
        let units = units(model, packed).map_err(|e| content(e.to_string()))?;
        let mut matching = Matching::new(&modules, &units);
        let single = matching.by_rules(rules).map_err(content)?;
        matching.by_name();
        matching.by_order();
        let found = matching.found();
        let (mut state, mut report) = (State::new(), LoadReport::default());
        for (unit, module) in units.iter().zip(found) {
            let module = module.and_then(|m| modules.get(m));
            for param in &unit.params {
                match (single.get(&param.name), module) {
                    (Some(name), _) => {
                        state.insert(param.name.clone(), self.floats(name)?);
                        report.loaded.push((param.name.clone(), name.clone()));
                    }
                    (None, Some(module)) => self.load_param(param, module, &mut state, &mut report)?,
                    (None, None) => report.fresh.push((param.name.clone(), param.shape.clone())),
                }
            }
        }
        let used: HashSet<&str> = report.loaded.iter().map(|l| l.1.as_str()).collect();
        let (mut ignored, mut unexpected) = (Vec::new(), Vec::new());
        for name in self.names().filter(|name| !used.contains(name)) {
            match why_ignored(name) {
                Some(why) => ignored.push((name.to_string(), why.to_string())),
                None => unexpected.push(name.to_string()),
            }
        }
        (report.ignored, report.unexpected) = (ignored, unexpected);
        Ok((state, report))
    }

    fn load_param(
        &self,
        param: &Param,
        module: &Module,
        state: &mut State,
        report: &mut LoadReport,
    ) -> Result<()> {
        let names: Vec<&String> =
            param.theirs.iter().filter_map(|(role, _)| module.names.get(role)).collect();
        let theirs = names.iter().map(|name| self.floats(name)).collect::<Result<Vec<_>>>()?;
        let made = param.make(&theirs).map_err(|e| Error::content(self.file().path(), e))?;
        state.insert(param.name.clone(), made);
        report.loaded.extend(names.iter().map(|name| (param.name.clone(), name.to_string())));
        report.reordered.extend(param.reordered().map(|why| (param.name.clone(), why.to_string())));
        Ok(())
    }
}
