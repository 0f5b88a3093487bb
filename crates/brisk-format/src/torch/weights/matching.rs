//! Which module of a state dict is which part of a model.

use std::collections::{HashMap, HashSet};

use super::WeightRule;
use super::module::{Module, Tensors};
use super::unit::Unit;
use crate::error::listed;

/// Which module is which unit, as far as it is known.
pub(super) struct Matching<'a> {
    modules: &'a [Module],
    units: &'a [Unit],
    wants: Vec<Tensors>,
    module_of: Vec<Option<usize>>,
    taken: Vec<bool>,
}

impl<'a> Matching<'a> {
    pub fn new(modules: &'a [Module], units: &'a [Unit]) -> Matching<'a> {
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
    pub fn by_rules(&mut self, rules: &[WeightRule]) -> Result<HashMap<String, String>, String> {
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
                if let Some(other) =
                    self.module_of.get(u).copied().flatten().and_then(|m| self.modules.get(m))
                {
                    return Err(format!(
                        "{rule}: {to:?} is {:?} already, by another rule or by this one",
                        other.path
                    ));
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
    pub fn by_name(&mut self) {
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

    /// Of those with tensors of the same roles and shapes the first, the second and so on, if there are as many on both sides, and if what
    /// is known of others does not speak against it.
    pub fn by_order(&mut self) {
        let mut alike: HashMap<&Tensors, (Vec<usize>, Vec<usize>)> = HashMap::new();
        for (m, module) in self.modules.iter().enumerate().filter(|(m, _)| self.taken.get(*m) == Some(&false))
        {
            alike.entry(&module.tensors).or_default().0.push(m);
        }
        for (u, wants) in self.wants.iter().enumerate().filter(|(u, _)| self.module_of.get(*u) == Some(&None))
        {
            alike.entry(wants).or_default().1.push(u);
        }
        let as_many = alike.into_values().filter(|(modules, units)| modules.len() == units.len());
        let pairs = |(modules, units): (Vec<usize>, Vec<usize>)| modules.into_iter().zip(units).collect();
        let (single, several): (Vec<Vec<(usize, usize)>>, Vec<_>) =
            as_many.map(pairs).partition(|pairs: &Vec<_>| pairs.len() == 1);
        single.into_iter().flatten().for_each(|(m, u)| self.set(m, u));
        let known = self.module_of.clone();
        let agrees = |pairs: &Vec<(usize, usize)>| {
            let next = pairs.iter().zip(pairs.iter().skip(1));
            next.clone().all(|(&(m, u), &(next_m, next_u))| {
                let between = |other: &usize| (m + 1..next_m).contains(other);
                let theirs: HashSet<usize> = known.iter().flatten().copied().filter(between).collect();
                let ours = known.get(u + 1..next_u).unwrap_or(&[]).iter().flatten().copied();
                theirs == ours.collect()
            })
        };
        several.into_iter().filter(agrees).flatten().for_each(|(m, u)| self.set(m, u));
    }

    /// The number of the module of each unit, where it is known.
    pub fn found(self) -> Vec<Option<usize>> {
        self.module_of
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
