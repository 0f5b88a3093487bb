//! `model.weights.h5`.

use std::collections::BTreeMap;

use brisk_graph::Tensor;
use brisk_runtime::State;
use hdf5_pure::{FileBuilder, FinishedGroup, GroupBuilder};

/// A weight: Brisk's name, its path in the file, and its shape there, where that is another. Without a name it is a count of 0, which
/// only Keras has.
#[derive(Debug)]
pub(super) struct Place {
    pub name: Option<String>,
    pub path: String,
    pub shape: Option<Vec<usize>>,
}

#[derive(Default)]
struct Tree<'a> {
    groups: BTreeMap<&'a str, Tree<'a>>,
    tensors: Vec<(&'a str, &'a Tensor, Vec<u64>)>,
    counts: Vec<&'a str>,
}

/// The file's bytes.
pub(super) fn weights(places: &[Place], state: &State) -> Result<Vec<u8>, String> {
    let mut root = Tree::default();
    for place in places {
        let mut parts: Vec<&str> = place.path.split('/').collect();
        let last = parts.pop().unwrap_or_default();
        let group = parts.into_iter().fold(&mut root, |tree, part| tree.groups.entry(part).or_default());
        let Some(name) = &place.name else {
            group.counts.push(last);
            continue;
        };
        let tensor = state
            .get(name)
            .ok_or_else(|| format!("the model has no {name:?}; train it, or load all of its weights"))?;
        let shape = place.shape.as_deref().unwrap_or(tensor.shape());
        let shape: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
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
    for name in tree.counts {
        group.create_dataset(name).with_i32_data(&[0]).with_shape(&[]);
    }
    for (name, tree) in tree.groups {
        let inner = fill(group.create_group(name), tree)?;
        group.add_group(inner);
    }
    Ok(group.finish())
}
