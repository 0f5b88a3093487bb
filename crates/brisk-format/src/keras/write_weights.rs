//! `model.weights.h5`.

use std::collections::BTreeMap;

use brisk_graph::Tensor;
use brisk_runtime::State;
use hdf5_pure::{FileBuilder, FinishedGroup, GroupBuilder};

/// A weight: Brisk's name, its path in the file, and its shape there, where that is another.
#[derive(Debug)]
pub(super) struct Place {
    pub name: String,
    pub path: String,
    pub shape: Option<Vec<usize>>,
}

#[derive(Default)]
struct Tree<'a> {
    groups: BTreeMap<&'a str, Tree<'a>>,
    tensors: Vec<(&'a str, &'a Tensor, Vec<u64>)>,
}

/// The file's bytes.
pub(super) fn weights(places: &[Place], state: &State) -> Result<Vec<u8>, String> {
    let mut root = Tree::default();
    for place in places {
        let tensor = state.get(&place.name).ok_or_else(|| {
            format!("the model has no {:?}; train it, or load all of its weights", place.name)
        })?;
        let shape = place.shape.as_deref().unwrap_or(tensor.shape());
        let shape: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
        let mut parts: Vec<&str> = place.path.split('/').collect();
        let last = parts.pop().unwrap_or_default();
        let group = parts.into_iter().fold(&mut root, |tree, part| tree.groups.entry(part).or_default());
        group.tensors.push((last, tensor, shape));
    }
    let mut file = FileBuilder::new();
    for (name, tree) in root.groups {
        let group = fill(file.create_group(name), tree)?;
        file.add_group(group);
    }
    file.finish().map_err(|e| format!("the weights: {e}"))
}

/// Groups nest as deep as the paths that this crate makes.
fn fill(mut group: GroupBuilder, tree: Tree<'_>) -> Result<FinishedGroup, String> {
    for (name, tensor, shape) in tree.tensors {
        let values = tensor.f32s().map_err(|e| e.to_string())?;
        group.create_dataset(name).with_f32_data(values).with_shape(&shape);
    }
    for (name, tree) in tree.groups {
        let inner = fill(group.create_group(name), tree)?;
        group.add_group(inner);
    }
    Ok(group.finish())
}
