//! From a list of layers as written to a list of layers in their place.

use std::collections::{HashMap, HashSet};

use super::{INPUT, ModelInput, ModelLayer, STATE, Source};
use crate::config::closest;
use crate::{Error, LayerConfig, LayerSpec, Result};

/// Gives every layer its name and finds where its inputs come from; finds the layers that are the model's outputs, the
/// last one if none are named.
pub(super) fn place(
    inputs: &[ModelInput],
    layers: Vec<LayerSpec>,
    outputs: &[String],
) -> Result<(Vec<ModelLayer>, Vec<usize>)> {
    if layers.is_empty() {
        return Err(Error::layer("model", "expected at least one layer, found none"));
    }
    check_inputs(inputs)?;
    let given = Given::new(inputs);
    let names = names(&given, &layers)?;
    let outputs = find_outputs(&names, outputs)?;
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut used = vec![false; layers.len()];
    let mut read = vec![false; inputs.len()];
    let mut placed = Vec::with_capacity(layers.len());
    for (i, spec) in layers.into_iter().enumerate() {
        let mut sources = Vec::new();
        if spec.inputs.is_empty() {
            sources = before(i, inputs.len());
        }
        for input in &spec.inputs {
            let parts = given.of(input);
            let state =
                input.strip_suffix(STATE).and_then(|name| numbers.get(name)).map(|&i| Source::State(i));
            match numbers.get(input.as_str()) {
                _ if !parts.is_empty() => sources.extend(parts.iter().map(|&i| Source::Input(i))),
                Some(&number) => sources.push(Source::Layer(number)),
                None if state.is_some() => sources.extend(state),
                None => return Err(Error::layer(&names[i], no_such_input(inputs, input, &names, i))),
            }
        }
        for &source in &sources {
            match source {
                Source::Layer(number) | Source::State(number) => used[number] = true,
                Source::Input(number) => read[number] = true,
            }
        }
        let shares = match &spec.shares {
            Some(name) => {
                Some(shared(name, &numbers, &placed, &spec.layer).map_err(|m| Error::layer(&names[i], m))?)
            }
            None => None,
        };
        numbers.insert(&names[i], i);
        placed.push(ModelLayer {
            name: names[i].clone(),
            layer: spec.layer,
            inputs: sources,
            shares,
            output: Default::default(),
        });
    }
    outputs.iter().for_each(|&o| used[o] = true);
    if let Some(i) = used.iter().position(|u| !u) {
        return Err(Error::layer(
            &names[i],
            "nothing uses its result; name it in the `inputs` of a later layer, or remove it",
        ));
    }
    match read.iter().position(|r| !r) {
        Some(i) if inputs.len() > 1 => Err(Error::layer(
            "model",
            format!(
                "nothing uses its input \"{}\"; name it in the `inputs` of a layer, or remove it",
                inputs[i].name
            ),
        )),
        _ => Ok((placed, outputs)),
    }
}

/// The number of the layer whose parameters another uses: of the first one, if it shares itself.
fn shared(
    name: &str,
    numbers: &HashMap<&str, usize>,
    placed: &[ModelLayer],
    own: &LayerConfig,
) -> Result<usize, String> {
    let Some(&number) = numbers.get(name) else {
        return Err(format!("there is no layer \"{name}\" before it to share parameters with"));
    };
    let other = &placed[number];
    match other.layer.kind() == own.kind() {
        true => Ok(other.shares.unwrap_or(number)),
        false => Err(format!(
            "it cannot share the parameters of \"{name}\", a {}; expected a {}",
            other.layer.kind(),
            own.kind()
        )),
    }
}

/// Where the inputs of a layer come from that names none: the layer before, for the first one all that comes in.
pub(super) fn before(layer: usize, inputs: usize) -> Vec<Source> {
    match layer.checked_sub(1) {
        Some(before) => vec![Source::Layer(before)],
        None => (0..inputs).map(Source::Input).collect(),
    }
}

/// The inputs by name, and the tensors `NAME.part` of a text by the name of the text.
struct Given<'i> {
    whole: HashMap<&'i str, [usize; 1]>,
    parts: HashMap<&'i str, Vec<usize>>,
}

impl<'i> Given<'i> {
    fn new(inputs: &'i [ModelInput]) -> Given<'i> {
        let whole = inputs.iter().enumerate().map(|(i, input)| (input.name.as_str(), [i])).collect();
        let mut parts: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, input) in inputs.iter().enumerate() {
            if let Some((text, _)) = input.name.rsplit_once('.') {
                parts.entry(text).or_default().push(i);
            }
        }
        Given { whole, parts }
    }

    /// The input of a name, or the tensors of a text; none if there is neither.
    fn of(&self, name: &str) -> &[usize] {
        let whole = self.whole.get(name).map(|one| &one[..]);
        whole.or(self.parts.get(name).map(Vec::as_slice)).unwrap_or_default()
    }
}

fn check_inputs(inputs: &[ModelInput]) -> Result<()> {
    let fail = |message: String| Err(Error::layer("model", message));
    if inputs.is_empty() {
        return fail("expected at least one input, found none".into());
    }
    let mut taken = HashSet::new();
    for input in inputs {
        let sound = |c: char| !c.is_control() && !c.is_whitespace();
        if input.name.is_empty() || !input.name.chars().all(sound) {
            return fail(format!("an input cannot be called \"{}\"; leave out spaces", input.name));
        }
        if !taken.insert(&input.name) {
            return fail(format!("two inputs are called \"{}\"; names must be unique", input.name));
        }
        let elements = input.shape.iter().flatten().fold(1usize, |n, &d| n.saturating_mul(d));
        if elements == 0 || elements > 1 << 32 {
            let message = format!(
                "expected sizes of at least 1 and fewer than 2^32 values a sample, found {}",
                input.describe()
            );
            return Err(Error::layer(&input.name, message));
        }
    }
    Ok(())
}

/// The numbers of the layers that are the model's outputs.
fn find_outputs(names: &[String], outputs: &[String]) -> Result<Vec<usize>> {
    if outputs.is_empty() {
        return Ok(vec![names.len() - 1]);
    }
    let numbers: HashMap<&str, usize> =
        names.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
    let (mut found, mut taken) = (Vec::new(), HashSet::new());
    for output in outputs {
        let Some(&number) = numbers.get(output.as_str()) else {
            let known = names.iter().map(String::as_str).collect::<Vec<_>>();
            return Err(Error::layer("model", crate::config::unknown("layer for an output", output, &known)));
        };
        if !taken.insert(number) {
            return Err(Error::layer("model", format!("\"{output}\" is named twice among the outputs")));
        }
        found.push(number);
    }
    Ok(found)
}

fn no_such_input(inputs: &[ModelInput], input: &str, names: &[String], own: usize) -> String {
    if names.iter().any(|n| n == input) {
        return format!("its input \"{input}\" stands after it; inputs must stand before");
    }
    let known = || names[..own].iter().map(String::as_str).chain(inputs.iter().map(|i| i.name.as_str()));
    match closest(input, known()) {
        Some(near) => format!("there is no layer \"{input}\" for its input; did you mean \"{near}\"?"),
        None => format!(
            "there is no layer \"{input}\" for its input; before it stand: {}",
            known().collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Given names, and Keras's for the others: `conv2d`, `conv2d_1`, ...
fn names(given: &Given<'_>, layers: &[LayerSpec]) -> Result<Vec<String>> {
    let mut taken: HashSet<&str> = HashSet::new();
    for name in layers.iter().filter_map(|l| l.name.as_deref()) {
        let sound = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(sound) || name == INPUT {
            let message = format!(
                "a layer cannot be called \"{name}\"; use letters, digits, _ and -, and not \"{INPUT}\""
            );
            return Err(Error::layer("model", message));
        }
        if given.whole.contains_key(name) {
            let message = format!("a layer and an input are both called \"{name}\"; names must be unique");
            return Err(Error::layer("model", message));
        }
        if !taken.insert(name) {
            return Err(Error::layer(
                "model",
                format!("two layers are called \"{name}\"; names must be unique"),
            ));
        }
    }
    taken.extend(given.whole.keys());
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
                if !taken.contains(name.as_str()) {
                    break name;
                }
            },
        });
    }
    Ok(names)
}
