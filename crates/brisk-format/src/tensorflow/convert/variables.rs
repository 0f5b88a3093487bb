//! Which variable of the checkpoint a node of the graph means.

use std::collections::{BTreeMap, HashMap, HashSet};

use brisk_graph::Tensor;

use super::super::{TfAttribute, TfCheckpoint, TfNode, TfSavedModel, TfVariable};

/// The variables of a checkpoint, and the nodes that mean them.
#[derive(Default)]
pub(super) struct Variables<'m> {
    checkpoint: Option<&'m TfCheckpoint>,
    by_key: HashMap<&'m str, usize>,
    by_name: HashMap<&'m str, usize>,
    /// What nodes of the outermost graph are bound to.
    by_node: HashMap<&'m str, usize>,
    /// Keys of those that training does not change.
    fixed: HashSet<&'m str>,
}

impl<'m> Variables<'m> {
    pub fn new(model: &'m TfSavedModel, checkpoint: Option<&'m TfCheckpoint>) -> Variables<'m> {
        let Some(checkpoint) = checkpoint else { return Variables::default() };
        let all = || checkpoint.variables().iter().enumerate();
        let by_key: HashMap<_, _> = all().map(|(i, v)| (v.key.as_str(), i)).collect();
        let by_name = all().map(|(i, v)| (v.name.as_str(), i)).collect();
        let keys = model.variable_keys(checkpoint);
        let by_node = bound(model, &keys).into_iter().filter_map(|(n, key)| Some((n, *by_key.get(key)?)));
        let by_node = by_node.collect();
        let variables = keys.iter().filter_map(|(object, key)| {
            let variable = model.objects.get(*object)?.variable.as_ref()?;
            (!variable.trainable).then_some(*key)
        });
        Variables { checkpoint: Some(checkpoint), fixed: variables.collect(), by_key, by_name, by_node }
    }

    /// The number of the variable that a node makes or refers to.
    pub fn number(&self, node: &TfNode) -> Result<usize, String> {
        let shared = node.text("shared_name").filter(|n| !n.is_empty()).unwrap_or(&node.name);
        let found = self.by_node.get(node.name.as_str());
        let found = found.or_else(|| self.by_key.get(shared)).or_else(|| self.by_name.get(shared));
        found.copied().ok_or_else(|| {
            format!("the checkpoint beside the graph has no variable {shared:?}; export the model again, with its variables")
        })
    }

    /// A variable by its number.
    pub fn get(&self, number: usize) -> Option<&'m TfVariable> {
        self.checkpoint?.variables().get(number)
    }

    /// Its elements.
    pub fn tensor(&self, variable: &TfVariable) -> Result<Tensor, String> {
        let checkpoint = self.checkpoint.ok_or("there are no variables beside the graph")?;
        checkpoint.tensor(&variable.key).map_err(|e| e.to_string())
    }

    /// Whether training changes it.
    pub fn is_trainable(&self, variable: &TfVariable) -> bool {
        !self.fixed.contains(variable.key.as_str())
    }
}

/// The nodes of the outermost graph that are handed to functions in the places of their variables, with the keys of those.
fn bound<'m>(model: &'m TfSavedModel, keys: &BTreeMap<usize, &'m str>) -> HashMap<&'m str, &'m str> {
    let mut found = HashMap::new();
    for node in &model.graph.nodes {
        let Some(TfAttribute::Function(name, _)) = node.attributes.get("f") else { continue };
        let Some(objects) = model.bound.get(name) else { continue };
        let Some(first) = node.inputs.len().checked_sub(objects.len()) else { continue };
        for (input, object) in node.inputs.iter().skip(first).zip(objects) {
            if let Some(key) = keys.get(object) {
                found.insert(input.node.as_str(), *key);
            }
        }
    }
    found
}
