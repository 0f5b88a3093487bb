//! From a layer of Brisk to a layer of Keras.

use brisk_nn::{Activation, LayerConfig, LayerSpec, MergeMode};
use serde_json::{Map, Value as Json, json};

use super::classes::{CLASSES, Class, Form, Placed};
use super::write_compile::object;

/// A layer as Keras has it.
pub(super) struct Layer {
    pub class: &'static str,
    pub config: Map<String, Json>,
    pub weights: Vec<Placed>,
    /// A layer that stands behind it, for an activation that Keras has as a layer alone.
    pub then: Option<Bare>,
}

/// The class and the arguments of a layer without weights.
pub(super) type Bare = (&'static str, Map<String, Json>);

/// A layer of Brisk as Keras has it, or why it has none.
pub(super) fn layer(layer: &LayerConfig) -> Result<Layer, String> {
    match layer {
        LayerConfig::Bidirectional(l) => {
            let inner = alone(&l.layer.layer)?;
            let mode = match l.merge_mode {
                MergeMode::Concat => "concat",
                MergeMode::Sum => "sum",
                MergeMode::Mul => "mul",
                MergeMode::Ave => "ave",
            };
            let prefix = l.layer.layer.prefix();
            let side = |side: &str| {
                let (name, path) = (format!("{side}_{prefix}"), format!("{side}_layer"));
                inner.weights.iter().map(move |w| w.clone().inside(&name, &path))
            };
            let weights = side("forward").chain(side("backward")).collect();
            let config = map(json!({"layer": wrapped(&inner), "merge_mode": mode}));
            Ok(Layer { class: "Bidirectional", config, weights, then: None })
        }
        LayerConfig::TimeDistributed(l) => {
            let inner = alone(&l.layer.layer)?;
            let config = map(json!({"layer": wrapped(&inner)}));
            let weights = inner.weights.into_iter().map(|w| w.inside("", "layer")).collect();
            Ok(Layer { class: "TimeDistributed", config, weights, then: None })
        }
        LayerConfig::ActivationLayer(l) => {
            let (name, then) = activation(&l.activation)?;
            let plain = Layer {
                class: "Activation",
                config: map(json!({"activation": name})),
                weights: vec![],
                then: None,
            };
            Ok(match then {
                Some((class, config)) => Layer { class, config, ..plain },
                None => plain,
            })
        }
        other => table(other),
    }
}

fn map(json: Json) -> Map<String, Json> {
    json.as_object().cloned().unwrap_or_default()
}

/// A layer that is wrapped by another.
fn alone(inner: &LayerConfig) -> Result<Layer, String> {
    let inner = layer(inner)?;
    match inner.then {
        Some((class, _)) => Err(format!(
            "the layer inside has an activation that Keras has as a layer ({class}) alone; use another"
        )),
        None => Ok(inner),
    }
}

fn wrapped(layer: &Layer) -> Json {
    object("keras.layers", layer.class, Json::Object(layer.config.clone()))
}

fn table(layer: &LayerConfig) -> Result<Layer, String> {
    let kind = layer.kind();
    let Some(class) = CLASSES.iter().find(|c| c.kind == kind) else {
        return Err(format!("Keras has no layer {kind}; export a model without it, or keep Brisk's folder"));
    };
    let written = serde_json::to_value(LayerSpec::new(layer.clone())).map_err(|e| e.to_string())?;
    let own = written.get(kind).and_then(Json::as_object).cloned().unwrap_or_default();
    let (mut config, mut then) = (Map::new(), None);
    for (key, value) in &own {
        let form = class.arguments.iter().find(|(k, _)| k == key).map(|(_, form)| *form);
        let value = match form {
            None => {
                foreign(class, key, value)?;
                continue;
            }
            Some(Form::Activation) => {
                let read = serde_json::from_value(value.clone()).map_err(|e| e.to_string())?;
                let (name, layer) = activation(&read)?;
                then = layer;
                json!(name)
            }
            Some(Form::Initializer) => initializer(value),
            Some(Form::Plain | Form::First | Form::Ends) => value.clone(),
        };
        config.insert(key.clone(), value);
    }
    match layer {
        LayerConfig::Dot(_) => drop(config.insert("axes".into(), json!(1))),
        LayerConfig::Rescaling(_) => {
            // One number is no list, so that Keras stretches it over any shape.
            for (_, value) in config.iter_mut() {
                if let Json::Array(list) = value
                    && let [one] = &list[..]
                {
                    *value = one.clone();
                }
            }
        }
        _ => {}
    }
    let is_on = |key: &str| own.get(key) != Some(&Json::Bool(false));
    Ok(Layer { class: class.class, weights: class.weights(is_on), config, then })
}

/// An error for an argument that Keras does not have, unless it is as if it were not there.
fn foreign(class: &Class, key: &str, value: &Json) -> Result<(), String> {
    let nothing = value.is_null()
        || *value == json!(false)
        || key == "use_causal_mask"
        || key.ends_with("_initializer");
    match nothing {
        true => Ok(()),
        false => Err(format!(
            "{} of Keras has no argument {key} ({value}); export a model without it",
            class.class
        )),
    }
}

/// The name of an activation, or the layer that has it with its number.
fn activation(activation: &Activation) -> Result<(&'static str, Option<Bare>), String> {
    Ok(match *activation {
        Activation::Linear => ("linear", None),
        Activation::Relu => ("relu", None),
        Activation::LeakyRelu { negative_slope } => {
            ("linear", Some(("LeakyReLU", map(json!({"negative_slope": negative_slope})))))
        }
        Activation::Elu { alpha } => ("linear", Some(("ELU", map(json!({"alpha": alpha}))))),
        Activation::Gelu { approximate: false } => ("gelu", None),
        Activation::Gelu { approximate: true } => {
            return Err("Keras has gelu by tanh in code alone, which no file holds; use gelu".into());
        }
        Activation::Silu => ("silu", None),
        Activation::Tanh => ("tanh", None),
        Activation::Sigmoid => ("sigmoid", None),
        Activation::Softplus => ("softplus", None),
        Activation::Softmax => ("softmax", None),
        Activation::LogSoftmax => ("log_softmax", None),
        Activation::Relu6 => ("relu6", None),
        Activation::Selu => ("selu", None),
        Activation::Exponential => ("exponential", None),
        Activation::Softsign => ("softsign", None),
        Activation::HardSigmoid => ("hard_sigmoid", None),
        Activation::HardSilu => ("hard_silu", None),
        Activation::Mish => ("mish", None),
    })
}

/// `{"random_normal": {"stddev": 0.02}}` as an object of Keras.
fn initializer(value: &Json) -> Json {
    match value.as_object().and_then(|m| m.iter().next()) {
        None => value.clone(),
        Some((name, arguments)) => {
            let capital = |word: &str| {
                let mut chars = word.chars();
                chars.next().map_or(String::new(), |c| c.to_ascii_uppercase().to_string() + chars.as_str())
            };
            let class: String = name.split('_').map(capital).collect();
            object("keras.initializers", &class, arguments.clone())
        }
    }
}
