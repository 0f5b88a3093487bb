//! How the variables of a checkpoint are called.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost::Message;

use super::bundle::Bundle;
use super::checkpoint::TfVariable;
use super::proto::TrackableObjectGraph;
use super::types::TfType;

/// What follows the path of a variable in its key.
const VALUE: &str = "/.ATTRIBUTES/VARIABLE_VALUE";

/// The objects that were saved, from the model or checkpoint (0) on.
#[derive(Debug, Default)]
pub(super) struct Objects(Vec<Object>);

/// An object that was saved.
#[derive(Debug, Default)]
pub(super) struct Object {
    /// What it holds: names in it, and objects.
    pub children: Vec<(String, usize)>,
    /// If it is a variable: its key, and what its maker called it.
    pub variable: Option<(String, String)>,
    slots: Vec<usize>,
}

impl Objects {
    pub fn read(bytes: &[u8]) -> Result<Objects, String> {
        let graph = TrackableObjectGraph::decode(bytes).map_err(|e| format!("its objects: {e}"))?;
        let count = graph.nodes.len();
        let number = |i: i32| {
            let known = usize::try_from(i).ok().filter(|&i| i < count);
            known.ok_or_else(|| format!("its objects: there is no object {i}, only {count}"))
        };
        let object = |node: super::proto::trackable_object_graph::TrackableObject| {
            let children = node.children.into_iter().map(|c| Ok((c.local_name, number(c.node_id)?)));
            let slots = node.slot_variables.iter().map(|s| number(s.slot_variable_node_id));
            let mut variables = node.attributes.into_iter().filter(|a| a.name == "VARIABLE_VALUE");
            Ok(Object {
                children: children.collect::<Result<_, String>>()?,
                slots: slots.collect::<Result<_, String>>()?,
                variable: variables.next().map(|a| (a.checkpoint_key, a.full_name)),
            })
        };
        Ok(Objects(graph.nodes.into_iter().map(object).collect::<Result<_, String>>()?))
    }

    pub fn get(&self, i: usize) -> Option<&Object> {
        self.0.get(i)
    }

    /// Which of them a model reaches without going through an optimizer.
    fn of_model(&self) -> HashSet<usize> {
        let (mut seen, mut found) = (HashSet::new(), HashSet::new());
        let mut next = vec![0];
        while let Some(i) = next.pop() {
            // Each is looked through once, however often it is held.
            if seen.insert(i)
                && let Some(object) = self.get(i).filter(|o| !o.is_optimizer())
            {
                found.insert(i);
                next.extend(object.children.iter().map(|(_, child)| *child));
            }
        }
        for slot in self.0.iter().flat_map(|o| &o.slots) {
            found.remove(slot);
        }
        found
    }
}

impl Object {
    /// Optimizers have slots, or count their steps under one of two names, beside a learning rate.
    fn is_optimizer(&self) -> bool {
        let has = |names: [&str; 2]| self.children.iter().any(|(name, _)| names.contains(&name.as_str()));
        !self.slots.is_empty() || has(["iter", "_iterations"]) && has(["learning_rate", "_learning_rate"])
    }
}

/// The variables of a checkpoint, in the order of their keys.
pub(super) fn variables(bundle: &Bundle, objects: &Objects) -> Vec<TfVariable> {
    let of_model = objects.of_model();
    // By key: what its maker called it, and whether it is the model's. The first object of a key speaks for it.
    let mut known: HashMap<&str, (&str, bool)> = HashMap::new();
    for (i, object) in objects.0.iter().enumerate() {
        if let Some((key, name)) = &object.variable {
            let model = of_model.contains(&i);
            known.entry(key).and_modify(|(_, m)| *m |= model).or_insert((name, model));
        }
    }
    let mut variables: Vec<TfVariable> = Vec::new();
    for key in &bundle.names {
        let Some(entry) = bundle.entry(key).filter(|e| e.dtype != TfType::STRING) else { continue };
        let (name, of_optimizer) = match known.get(key.as_str()) {
            Some((name, of_model)) => (name.to_string(), !of_model),
            None => (String::new(), is_slot(bundle, key)),
        };
        let (key, dtype, shape) = (key.clone(), entry.dtype, entry.shape.clone());
        variables.push(TfVariable { name, key, dtype, shape, of_optimizer });
    }
    settle_names(bundle, &mut variables);
    variables
}

/// In checkpoints without objects: optimizers put their slots under the name of a variable, and their own state beside them.
fn is_slot(bundle: &Bundle, key: &str) -> bool {
    const OWN: [&str; 3] = ["beta1_power", "beta2_power", "global_step"];
    let of_variable = |(variable, _): (&str, &str)| {
        let shape = |name| bundle.entry(name).map(|e| &e.shape);
        shape(variable).is_some() && shape(variable) == shape(key)
    };
    OWN.contains(&key) || key.rsplit_once('/').is_some_and(of_variable)
}

/// Gives each variable the name that its maker gave it, if that says which one is meant; otherwise its path.
fn settle_names(bundle: &Bundle, variables: &mut [TfVariable]) {
    let mut same: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (i, variable) in variables.iter_mut().enumerate() {
        let name = std::mem::take(&mut variable.name);
        if !name.is_empty() {
            same.entry(name).or_default().push(i);
        }
    }
    // A name that is another one's key would be taken for that.
    let keys: HashSet<String> = variables.iter().map(|v| v.key.clone()).collect();
    let mut taken: HashSet<String> = HashSet::new();
    for (name, group) in same {
        let what = |i: usize| {
            let entry = bundle.entry(&variables[i].key);
            entry.map(|e| (e.dtype, &e.shape, e.crc))
        };
        // Of copies, that with the shortest path is the one that is meant: `variables/0` and not `_all_variables/3`.
        let Some(&first) = group.iter().min_by_key(|&&i| (variables[i].key.len(), i)) else { continue };
        if !keys.contains(&name) && group.iter().all(|&i| what(i) == what(first)) {
            taken.insert(name.clone());
            variables[first].name = name;
        }
    }
    for variable in variables.iter_mut().filter(|v| v.name.is_empty()) {
        let path = path(&variable.key);
        let free = !keys.contains(&path) && taken.insert(path.clone());
        variable.name = if free { path } else { variable.key.clone() };
    }
}

/// The path in a key, as it was before `.` and `/` in the names of objects were written as `..` and `.S`.
fn path(key: &str) -> String {
    let Some(escaped) = key.strip_suffix(VALUE) else { return key.into() };
    let mut path = String::with_capacity(escaped.len());
    let mut left = escaped.chars();
    while let Some(c) = left.next() {
        path.push(match c {
            '.' if left.next() == Some('S') => '/',
            c => c,
        });
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However often an object is held, what it holds is gone through once.
    #[test]
    fn objects_are_looked_through_once() {
        const COUNT: usize = 200_000;
        let holding = |child: usize| {
            let children = (0..COUNT).map(|_| (String::new(), child)).collect();
            Object { children, ..Object::default() }
        };
        let objects = Objects(vec![holding(1), holding(0)]);
        assert_eq!(objects.of_model(), HashSet::from([0, 1]));
    }
}
