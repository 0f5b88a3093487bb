//! Where the weights of a model are in a file.

use std::collections::HashMap;

use super::flatten::Leaf;
use super::hdf5::Hdf5;

/// The outermost group of a whole-model `.h5` file's weights.
const LEGACY: &str = "model_weights";
/// What other versions call the group `layers`.
const OTHER: &str = "_layer_checkpoint_dependencies";

/// For each weight of each leaf the path of its tensor; an error if one cannot be found.
pub(super) fn paths(file: &Hdf5, leaves: &[Leaf]) -> Result<Vec<Vec<String>>, String> {
    match file.has_group(LEGACY) {
        true => legacy(file, leaves),
        false => Ok(leaves.iter().map(|leaf| of_leaf(file, leaf)).collect()),
    }
}

fn of_leaf(file: &Hdf5, leaf: &Leaf) -> Vec<String> {
    let path = match file.has_group("layers") || !file.has_group(OTHER) {
        true => leaf.path.clone(),
        false => {
            leaf.path.split('/').map(|p| if p == "layers" { OTHER } else { p }).collect::<Vec<_>>().join("/")
        }
    };
    leaf.weights.iter().map(|w| format!("{path}/{}", w.path)).collect()
}

/// A whole-model `.h5` file lists the weights of each layer of the outermost model: those that training changes, then the others.
fn legacy(file: &Hdf5, leaves: &[Leaf]) -> Result<Vec<Vec<String>>, String> {
    let mut lists: HashMap<&str, std::vec::IntoIter<String>> = HashMap::new();
    for leaf in leaves {
        if !lists.contains_key(leaf.top.as_str()) {
            let group = format!("{LEGACY}/{}", leaf.top);
            let names = named(file, &group, "weight_names")?;
            let count: usize = leaves.iter().filter(|l| l.top == leaf.top).map(|l| l.weights.len()).sum();
            // What Keras keeps beside the weights of a Normalization.
            let names: Vec<String> =
                names.into_iter().filter(|n| !n.trim_end_matches(":0").ends_with("/count")).collect();
            if names.len() != count {
                return Err(format!(
                    "group {group:?}: expected {count} weights of the layer {:?} ({}), found {}; save the model again",
                    leaf.top,
                    leaf.class,
                    names.len()
                ));
            }
            let names: Vec<String> = names.into_iter().map(|n| format!("{group}/{n}")).collect();
            lists.insert(&leaf.top, names.into_iter());
        }
    }
    let mut found: Vec<Vec<String>> = leaves.iter().map(|l| vec![String::new(); l.weights.len()]).collect();
    for trained in [true, false] {
        for (leaf, paths) in leaves.iter().zip(&mut found) {
            let own = leaf.weights.iter().zip(paths).filter(|(w, _)| (w.trained && !leaf.frozen) == trained);
            for (_, path) in own {
                *path = lists.get_mut(leaf.top.as_str()).and_then(Iterator::next).unwrap_or_default();
            }
        }
    }
    Ok(found)
}

/// Names in an attribute; long lists are cut into `NAME0`, `NAME1`, ...
pub(super) fn named(file: &Hdf5, group: &str, attribute: &str) -> Result<Vec<String>, String> {
    if let Some(names) = file.texts(group, attribute)? {
        return Ok(names);
    }
    let mut all = Vec::new();
    for part in 0.. {
        match file.texts(group, &format!("{attribute}{part}"))? {
            Some(names) => all.extend(names),
            None => break,
        }
    }
    Ok(all)
}
