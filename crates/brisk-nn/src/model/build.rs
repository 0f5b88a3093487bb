//! From a list of layers as written to a list of layers in their place.

use std::collections::HashMap;

use super::{INPUT, ModelLayer, Source};
use crate::config::closest;
use crate::{Error, LayerSpec, Result};

/// Gives every layer its name and finds where its inputs come from.
pub(super) fn place(layers: Vec<LayerSpec>) -> Result<Vec<ModelLayer>> {
    if layers.is_empty() {
        return Err(Error::layer("model", "expected at least one layer, found none"));
    }
    let names = names(&layers)?;
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut used = vec![false; layers.len()];
    let mut placed = Vec::with_capacity(layers.len());
    for (i, spec) in layers.into_iter().enumerate() {
        let before = i.checked_sub(1).map_or(Source::Input, Source::Layer);
        let inputs = match spec.inputs.is_empty() {
            true => vec![before],
            false => {
                let find = |input: &String| match numbers.get(input.as_str()) {
                    _ if input == INPUT => Ok(Source::Input),
                    Some(&number) => Ok(Source::Layer(number)),
                    None => Err(Error::layer(&names[i], no_such_input(input, &names, i))),
                };
                spec.inputs.iter().map(find).collect::<Result<_>>()?
            }
        };
        for &source in &inputs {
            if let Source::Layer(number) = source {
                used[number] = true;
            }
        }
        numbers.insert(&names[i], i);
        placed.push(ModelLayer {
            name: names[i].clone(),
            layer: spec.layer,
            inputs,
            output: Default::default(),
        });
    }
    used.pop(); // the last one's result is the model's
    match used.iter().position(|u| !u) {
        Some(i) => Err(Error::layer(
            &names[i],
            "nothing uses its result; name it in the `inputs` of a later layer, or remove it",
        )),
        None => Ok(placed),
    }
}

fn no_such_input(input: &str, names: &[String], own: usize) -> String {
    if names.iter().any(|n| n == input) {
        return format!("its input \"{input}\" stands after it; inputs must stand before");
    }
    let known = || names[..own].iter().map(String::as_str).chain([INPUT]);
    match closest(input, known()) {
        Some(near) => format!("there is no layer \"{input}\" for its input; did you mean \"{near}\"?"),
        None => format!(
            "there is no layer \"{input}\" for its input; before it stand: {}",
            known().collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Given names, and Keras's for the others: `conv2d`, `conv2d_1`, ...
fn names(layers: &[LayerSpec]) -> Result<Vec<String>> {
    let mut taken: Vec<&str> = Vec::new();
    for name in layers.iter().filter_map(|l| l.name.as_deref()) {
        let sound = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(sound) || name == INPUT {
            let message = format!(
                "a layer cannot be called \"{name}\"; use letters, digits, _ and -, and not \"{INPUT}\""
            );
            return Err(Error::layer("model", message));
        }
        if taken.contains(&name) {
            return Err(Error::layer(
                "model",
                format!("two layers are called \"{name}\"; names must be unique"),
            ));
        }
        taken.push(name);
    }
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut names = Vec::with_capacity(layers.len());
    for spec in layers {
        names.push(match &spec.name {
            Some(name) => name.clone(),
            None => loop {
                let prefix = spec.layer.prefix();
                let count = counts.entry(prefix).or_default();
                let name = if *count == 0 { prefix.to_string() } else { format!("{prefix}_{count}") };
                *count += 1;
                if !taken.contains(&name.as_str()) {
                    break name;
                }
            },
        });
    }
    Ok(names)
}
