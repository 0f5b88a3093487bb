//! The modules of a state dict: tensors that belong together.

use std::collections::{BTreeMap, HashMap};

use brisk_graph::Shape;

use super::super::StateDict;

/// The tensors of a module, or of a layer of a recurrent one: the end of the name, and the shape.
pub(super) type Tensors = BTreeMap<String, Shape>;

/// A module: what computes one thing.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// Its name: `layer1.0.conv1`; of a layer of a recurrent module that has several, with `.l0` or `.l0_reverse`.
    pub path: String,
    /// The ends of the names of its tensors, which are also their roles, and their shapes.
    pub tensors: Tensors,
    /// The full name of each of them, by its role.
    pub names: BTreeMap<String, String>,
}

/// All modules of a state dict in their order, without what is left aside.
pub(super) fn modules(weights: &StateDict<'_>) -> Vec<Module> {
    let packed = |front: &str| {
        let roles = ["in_proj_weight", "q_proj_weight"];
        roles.iter().any(|role| weights.shape(&format!("{front}{role}")).is_some())
    };
    let mut modules: Vec<Module> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for name in weights.names().filter(|name| why_ignored(name).is_none()) {
        let (mut path, mut role) = name.rsplit_once('.').unwrap_or(("", name));
        if let Some(outer) = path.strip_suffix("out_proj").filter(|outer| packed(outer)) {
            (path, role) = (outer.trim_end_matches('.'), name.get(outer.len()..).unwrap_or(role));
        }
        let (path, role) = match recurrent(role) {
            Some((role, layer)) if path.is_empty() || layer.is_empty() => (format!("{path}{layer}"), role),
            Some((role, layer)) => (format!("{path}.{layer}"), role),
            None => (path.to_string(), role),
        };
        let place = *places.entry(path.clone()).or_insert(modules.len());
        if place == modules.len() {
            modules.push(Module { path, ..Module::default() });
        }
        if let (Some(module), Some(shape)) = (modules.get_mut(place), weights.shape(name)) {
            module.tensors.insert(role.to_string(), shape.clone());
            module.names.insert(role.to_string(), name.to_string());
        }
    }
    for module in &mut modules {
        if only_layer(&module.path, &places) {
            module.path = module.path.trim_end_matches("l0").trim_end_matches('.').to_string();
        }
    }
    modules
}

/// Why a tensor is left aside, if it is.
pub(super) fn why_ignored(name: &str) -> Option<&'static str> {
    name.ends_with("num_batches_tracked").then_some("a count of batches, which has no use here")
}

/// The role of a tensor of a recurrent module without the layer, and the layer: `l0`, `l1_reverse`, nothing for a cell.
fn recurrent(role: &str) -> Option<(&str, &str)> {
    let ends = ["weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh"];
    let end = ends.into_iter().find(|end| role.starts_with(end))?;
    let (role, layer) = role.split_at_checked(end.len())?;
    match layer.strip_prefix('_') {
        Some(layer) => Some((role, layer)),
        None => layer.is_empty().then_some((role, "")),
    }
}

/// Whether this is the only layer, in the only direction, of a recurrent module.
fn only_layer(path: &str, places: &HashMap<String, usize>) -> bool {
    let Some(module) = path.strip_suffix("l0").filter(|m| m.is_empty() || m.ends_with('.')) else {
        return false;
    };
    ["l0_reverse", "l1"].iter().all(|other| !places.contains_key(&format!("{module}{other}")))
}
