//! From a state dict of PyTorch to the parameters of a model.

mod convert;
mod module;
mod order;
mod rule;
mod unit;

use std::collections::{HashMap, HashSet};

use brisk_graph::{Data, Tensor};
use brisk_nn::Model;
use brisk_runtime::State;

use super::StateDict;
use crate::error::listed;
use crate::mapped::narrow;
use crate::{Error, LoadReport, Result};
use module::{Module, Tensors, modules, why_ignored};
use unit::{Unit, units};

pub use rule::WeightRule;

impl StateDict<'_> {
    /// Reads the parameters of a model, by Brisk's names and in its layouts.
    ///
    /// Which module is which layer is found in three steps: what a rule says; then what is called alike, with dots as underscores and without
    /// what stands before all names (`module.`); then, of those that have tensors of the same roles and shapes, the first is the first, the second
    /// the second and so on, if there are as many on both sides. What has no counterpart is in the report, and parameters without one are not in the
    /// state. A rule that fits nothing, or leads to something of other shapes, is an error.
    ///
    /// Kernels of PyTorch are `[out, in, height, width]` and become `[height, width, in, out]`; GRU's gates change places; the two biases of an LSTM
    /// become their sum; the packed matrices of an attention are taken apart. A Dense layer after Flatten, and one before Reshape, gets the places of
    /// its numbers changed too, as PyTorch's maps have their channels first; the report lists these.
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
        let module_of = matching.module_of;
        let (mut state, mut report) = (State::new(), LoadReport::default());
        for (unit, module) in units.iter().zip(module_of) {
            match module.and_then(|m| modules.get(m)) {
                Some(module) => self.load_unit(unit, module, &mut state, &mut report)?,
                None => {
                    for param in &unit.params {
                        match single.get(&param.name) {
                            Some(name) => {
                                state.insert(param.name.clone(), self.floats(name)?);
                                report.loaded.push((param.name.clone(), name.clone()));
                            }
                            None => report.fresh.push((param.name.clone(), param.shape.clone())),
                        }
                    }
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

    fn load_unit(
        &self,
        unit: &Unit,
        module: &Module,
        state: &mut State,
        report: &mut LoadReport,
    ) -> Result<()> {
        for param in &unit.params {
            let names: Vec<&String> =
                param.theirs.iter().filter_map(|(role, _)| module.names.get(role)).collect();
            let theirs = names.iter().map(|name| self.floats(name)).collect::<Result<Vec<_>>>()?;
            let made = param.make(&theirs).map_err(|e| Error::content(self.file().path(), e))?;
            state.insert(param.name.clone(), made);
            report.loaded.extend(names.iter().map(|name| (param.name.clone(), name.to_string())));
            report.reordered.extend(param.reordered().map(|why| (param.name.clone(), why.to_string())));
        }
        Ok(())
    }

    /// A tensor of f32.
    fn floats(&self, name: &str) -> Result<Tensor> {
        let tensor = self.tensor(name)?;
        let values: Option<Vec<f32>> = match tensor.data() {
            Data::F32(_) => return Ok(tensor),
            Data::F64(values) => values.iter().map(|&x| narrow(x)).collect(),
            _ => None,
        };
        let message = || {
            let found = tensor.dtype();
            format!(
                "expected weights of numbers that f32 can hold, found {name:?} of {found}; save the model as float32"
            )
        };
        let values = values.ok_or_else(|| Error::content(self.file().path(), message()))?;
        Tensor::new(tensor.shape().clone(), values).map_err(|e| Error::content(self.file().path(), e))
    }
}

/// Which module is which unit, as far as it is known.
struct Matching<'a> {
    modules: &'a [Module],
    units: &'a [Unit],
    wants: Vec<Tensors>,
    module_of: Vec<Option<usize>>,
    taken: Vec<bool>,
}

impl<'a> Matching<'a> {
    fn new(modules: &'a [Module], units: &'a [Unit]) -> Matching<'a> {
        let wants = units.iter().map(Unit::wants).collect();
        Matching {
            modules,
            units,
            wants,
            module_of: vec![None; units.len()],
            taken: vec![false; modules.len()],
        }
    }

    /// What rules say; gives parameters that are single tensors, by Brisk's names.
    fn by_rules(&mut self, rules: &[WeightRule]) -> Result<HashMap<String, String>, String> {
        let mut single = HashMap::new();
        let mut used = vec![false; rules.len()];
        let mut apply = |name: &str| {
            let (number, rule, to) =
                rules.iter().enumerate().find_map(|(i, r)| Some((i, r, r.apply(name)?)))?;
            if let Some(used) = used.get_mut(number) {
                *used = true;
            }
            Some((format!("rule {} -> {}", rule.from, rule.to), to))
        };
        for (m, module) in self.modules.iter().enumerate() {
            if let Some((rule, to)) = apply(&module.path) {
                let Some(u) = self.units.iter().position(|unit| unit.path == to) else {
                    let known: Vec<&str> = self.units.iter().map(|u| u.path.as_str()).collect();
                    return Err(format!(
                        "{rule}: the model has no part {to:?}; there are: {}",
                        listed(&known)
                    ));
                };
                if let Some(problem) = self.difference(m, u) {
                    return Err(format!("{rule}: {:?} is not {to:?}: {problem}", module.path));
                }
                self.set(m, u);
                continue;
            }
            for (name, shape) in module.names.values().zip(module.tensors.values()) {
                let Some((rule, to)) = apply(name) else { continue };
                let mut params = self.units.iter().flat_map(|u| &u.params);
                match params.find(|p| p.name == to) {
                    Some(param) if param.shape == *shape => {
                        single.insert(to, name.clone());
                    }
                    Some(param) => {
                        return Err(format!(
                            "{rule}: {to:?} should be {}, found {name:?} of {shape}",
                            param.shape
                        ));
                    }
                    None => return Err(format!("{rule}: the model has no parameter {to:?}")),
                }
            }
        }
        match used.iter().zip(rules).find(|(used, _)| !**used) {
            Some((_, rule)) => {
                let known: Vec<&str> = self.modules.iter().map(|m| m.path.as_str()).collect();
                Err(format!("rule {} -> {} fits nothing; there are: {}", rule.from, rule.to, listed(&known)))
            }
            None => Ok(single),
        }
    }

    /// What differs between a module and what a unit wants.
    fn difference(&self, module: usize, unit: usize) -> Option<String> {
        let (found, wanted) = (&self.modules.get(module)?.tensors, self.wants.get(unit)?);
        let wrong = wanted.iter().find(|(role, shape)| found.get(*role) != Some(shape));
        let strange = found.keys().find(|role| !wanted.contains_key(*role));
        match (wrong, strange) {
            (Some((role, shape)), _) => Some(match found.get(role) {
                Some(found) => format!("{role} should be {shape}, found {found}"),
                None => format!("{role} {shape} is missing"),
            }),
            (None, Some(role)) => Some(format!("{role} has no place")),
            (None, None) => None,
        }
    }

    fn set(&mut self, module: usize, unit: usize) {
        if let (Some(place), Some(taken)) = (self.module_of.get_mut(unit), self.taken.get_mut(module)) {
            (*place, *taken) = (Some(module), true);
        }
    }

    /// What is called alike and has tensors of the same roles and shapes.
    fn by_name(&mut self) {
        let plain = |path: &str| path.replace('.', "_");
        let shared = shared_front(self.modules);
        let mut named: HashMap<String, usize> = HashMap::new();
        for (m, module) in self.modules.iter().enumerate() {
            named.insert(plain(module.path.get(shared..).unwrap_or_default()), m);
        }
        named.extend(self.modules.iter().enumerate().map(|(m, module)| (plain(&module.path), m)));
        for (u, unit) in self.units.iter().enumerate() {
            if let Some(&m) = named.get(&plain(&unit.path))
                && self.is_free(m, u)
                && self.difference(m, u).is_none()
            {
                self.set(m, u);
            }
        }
    }

    /// Of those with tensors of the same roles and shapes the first, the second and so on, if there are as many on both sides.
    fn by_order(&mut self) {
        let mut alike: HashMap<&Tensors, (Vec<usize>, Vec<usize>)> = HashMap::new();
        for (m, module) in self.modules.iter().enumerate().filter(|(m, _)| self.taken.get(*m) == Some(&false))
        {
            alike.entry(&module.tensors).or_default().0.push(m);
        }
        for (u, wants) in self.wants.iter().enumerate().filter(|(u, _)| self.module_of.get(*u) == Some(&None))
        {
            alike.entry(wants).or_default().1.push(u);
        }
        let pairs: Vec<(usize, usize)> = alike
            .into_values()
            .filter(|(modules, units)| modules.len() == units.len())
            .flat_map(|(modules, units)| modules.into_iter().zip(units))
            .collect();
        pairs.into_iter().for_each(|(m, u)| self.set(m, u));
    }

    fn is_free(&self, module: usize, unit: usize) -> bool {
        self.taken.get(module) == Some(&false) && self.module_of.get(unit) == Some(&None)
    }
}

/// The length of what stands before the names of all modules, up to a dot.
fn shared_front(modules: &[Module]) -> usize {
    let mut paths = modules.iter().map(|m| m.path.as_str());
    let Some(first) = paths.next() else { return 0 };
    let alike = |other: &str| first.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let shared = paths.map(alike).fold(first.len(), usize::min);
    first.get(..shared).and_then(|front| front.rfind('.')).map_or(0, |dot| dot + 1)
}
