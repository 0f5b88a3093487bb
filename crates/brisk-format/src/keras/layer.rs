//! From a layer of Keras to layers of Brisk.

use brisk_nn::{LayerConfig, LayerSpec};
use serde_json::{Map, Value as Json, json};

use super::args::{Args, brief, dtype};
use super::classes::{CLASSES, Class, Placed, find};

/// What a layer of Keras becomes.
#[derive(Clone, Debug)]
pub(super) struct Converted {
    /// The layers that follow one another, and what is added to the first one's name.
    pub layers: Vec<(&'static str, LayerConfig)>,
    /// The weights, all of the first layer.
    pub weights: Vec<Placed>,
    /// What is not followed, as it changes no prediction.
    pub ignored: Vec<String>,
    /// The axis that has to be the last one.
    pub axis: Option<i64>,
}

/// Layers that change their inputs in training alone.
const PASSING: &[&str] = &[
    "ActivityRegularization",
    "AlphaDropout",
    "Identity",
    "RandomBrightness",
    "RandomContrast",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
];

/// Layers that run code.
const CODE: &[&str] =
    &["Lambda", "TFOpLambda", "SlicingOpLambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"];

/// Converts a layer.
pub(super) fn convert(
    class: &str,
    module: &str,
    config: &Map<String, Json>,
    second: bool,
) -> Result<Converted, String> {
    if CODE.contains(&class) {
        return Err(format!(
            "a {class} holds code of Python, which is never run; use layers of Keras in its place, such as Rescaling, Activation or Add"
        ));
    }
    config.get("dtype").map_or(Ok(None), dtype)?;
    let args = Args::new(config, second);
    let mut converted = match class {
        _ if !module.is_empty() && !is_keras(module) => return Err(unknown(class)),
        "Bidirectional" => bidirectional(&args, second)?,
        "TimeDistributed" => time_distributed(&args, second)?,
        "RNN" => return rnn(&args, second),
        "LeakyReLU" => {
            let slope = args.get("negative_slope").or(args.get("alpha")).cloned().unwrap_or(json!(0.3));
            plain("Activation", json!({"activation": {"leaky_relu": {"negative_slope": slope}}}))?
        }
        "ELU" => {
            let alpha = args.get("alpha").cloned().unwrap_or(json!(1.0));
            plain("Activation", json!({"activation": {"elu": {"alpha": alpha}}}))?
        }
        "Softmax" => {
            args.fixed("axis", &json!(-1))?;
            plain("Activation", json!({"activation": "softmax"}))?
        }
        passing if PASSING.contains(&passing) => {
            return Ok(Converted {
                ignored: if class == "Identity" {
                    vec![]
                } else {
                    vec![format!("{class}, which works in training alone")]
                },
                ..plain("Activation", json!({"activation": "linear"}))?
            });
        }
        other => table(find(other).ok_or_else(|| unknown(class))?, &args)?,
    };
    converted.ignored.extend(args.finish()?);
    Ok(converted)
}

fn is_keras(module: &str) -> bool {
    ["keras", "tf_keras", "tensorflow"].contains(&module.split('.').next().unwrap_or_default())
}

fn unknown(class: &str) -> String {
    let near = brisk_nn::config::closest(class, CLASSES.iter().map(|c| c.class));
    let near = near.filter(|n| *n != class).map_or(String::new(), |n| format!(" (the nearest is {n})"));
    format!("Brisk has no layer {class}{near}; replace it with layers that it has, and save the model again")
}

/// One layer without weights.
fn plain(kind: &str, arguments: Json) -> Result<Converted, String> {
    Ok(Converted { layers: vec![("", read(kind, arguments)?)], weights: vec![], ignored: vec![], axis: None })
}

fn read(kind: &str, arguments: Json) -> Result<LayerConfig, String> {
    serde_json::from_value::<LayerSpec>(json!({ kind: arguments }))
        .map(|s| s.layer)
        .map_err(|e| e.to_string())
}

/// A layer whose arguments both call the same.
fn table(class: &Class, args: &Args<'_>) -> Result<Converted, String> {
    let mut arguments = Map::new();
    for (key, form) in class.arguments {
        if let Some(value) = args.translated(key, *form)? {
            arguments.insert((*key).into(), value);
        }
    }
    for (key, expected) in class.fixed {
        args.fixed(key, &serde_json::from_str(expected).map_err(|e| e.to_string())?)?;
    }
    let (mut axis, mut more) = (None, None);
    match class.class {
        "BatchNormalization" | "LayerNormalization" | "GroupNormalization" | "RMSNormalization"
        | "UnitNormalization" => {
            axis = self::axis(args)?;
        }
        "Normalization" => {
            axis = self::axis(args)?;
            if let (Some(mean), Some(variance)) = (args.get("mean"), args.get("variance")) {
                return Ok(Converted { axis, ..fixed_normalization(mean, variance)? });
            }
        }
        "SimpleRNN" | "LSTM" | "GRU" => {
            if args.get("dropout").and_then(Json::as_f64).is_some_and(|d| d != 0.0) {
                args.ignore("dropout");
            }
            let starts_otherwise = arguments.get("bias_initializer").is_some_and(|i| i != "zeros");
            if class.class == "LSTM" && starts_otherwise && args.is_on("unit_forget_bias") {
                arguments.insert("unit_forget_bias".into(), json!(false));
            }
        }
        "GlobalAveragePooling2D" | "GlobalMaxPooling2D" | "GlobalAveragePooling1D" | "GlobalMaxPooling1D"
            if args.get("keepdims") == Some(&json!(true)) =>
        {
            let shape = if class.class.ends_with("2D") { json!([1, 1, -1]) } else { json!([1, -1]) };
            more = Some(("_keepdims", read("Reshape", json!({"target_shape": shape}))?));
        }
        "Rescaling" => {
            for key in ["scale", "offset"] {
                if let Some(value) = arguments.get_mut(key).filter(|v| !v.is_array()) {
                    *value = json!([value.take()]);
                }
            }
        }
        "Dot" => {
            let along = args.get("axes").cloned().unwrap_or(json!(-1));
            if ![json!(1), json!(-1), json!([1, 1]), json!([-1, -1])].contains(&along) {
                return Err(format!("axes: expected 1 or -1, of vectors, found {}", brief(&along)));
            }
        }
        _ => {}
    }
    let mut converted = plain(class.kind, Json::Object(arguments))?;
    converted.layers.extend(more);
    converted.weights = class.weights(|argument| args.is_on(argument));
    converted.axis = axis;
    Ok(converted)
}

/// The axis that a normalization works along, unless it says the last one.
fn axis(args: &Args<'_>) -> Result<Option<i64>, String> {
    let axis = match args.get("axis") {
        None => return Ok(None),
        Some(Json::Array(list)) if list.len() == 1 => list[0].as_i64(),
        Some(other) => other.as_i64(),
    };
    match axis {
        Some(-1) => Ok(None),
        Some(axis) => Ok(Some(axis)),
        None => Err("axis: expected the last one, -1; found others: transpose with Permute before it".into()),
    }
}

/// `(x - mean) / sqrt(variance)` with numbers of the configuration.
fn fixed_normalization(mean: &Json, variance: &Json) -> Result<Converted, String> {
    fn flat(json: &Json, numbers: &mut Vec<f64>) {
        match json {
            Json::Array(list) => list.iter().for_each(|v| flat(v, numbers)),
            other => numbers.extend(other.as_f64()),
        }
    }
    let (mut means, mut variances) = (Vec::new(), Vec::new());
    flat(mean, &mut means);
    flat(variance, &mut variances);
    if means.len() != variances.len() || means.is_empty() {
        return Err(format!(
            "expected as many means as variances, found {} and {}",
            means.len(),
            variances.len()
        ));
    }
    let scales: Vec<f64> = variances.iter().map(|v| 1.0 / v.sqrt().max(1e-7)).collect();
    let offsets: Vec<f64> = means.iter().zip(&scales).map(|(m, s)| -m * s).collect();
    plain("Rescaling", json!({"scale": scales, "offset": offsets}))
}

/// The layer inside of another.
fn inner(args: &Args<'_>, key: &str, second: bool) -> Result<Converted, String> {
    let layer = args.get(key).ok_or_else(|| format!("expected the {key} that it wraps, found none"))?;
    let text = |key: &str| layer.get(key).and_then(Json::as_str).unwrap_or_default();
    let class = text("class_name");
    let config = layer
        .get("config")
        .and_then(Json::as_object)
        .ok_or_else(|| format!("expected the config of its {key}"))?;
    if matches!(class, "Sequential" | "Functional" | "Model" | "Bidirectional" | "TimeDistributed") {
        return Err(format!("it wraps a {class}; expected a single layer"));
    }
    // Wrappers put zeros in the place of masked steps in both.
    let mut config = config.clone();
    config.remove("zero_output_for_mask");
    let converted = convert(class, text("module"), &config, second).map_err(|e| format!("{key}: {e}"))?;
    match (converted.layers.len(), converted.axis) {
        (1, None) => Ok(converted),
        _ => Err(format!("it wraps a {class} with arguments that need more than one layer; leave them out")),
    }
}

fn bidirectional(args: &Args<'_>, second: bool) -> Result<Converted, String> {
    let forward = inner(args, "layer", second)?;
    let Some((_, layer)) = forward.layers.into_iter().next() else { return Err("expected a layer".into()) };
    if args.get("backward_layer").is_some() {
        let backward = inner(args, "backward_layer", second)?;
        let turned = |layer: &LayerConfig| {
            let mut json = serde_json::to_value(LayerSpec::new(layer.clone())).unwrap_or_default();
            if let Some(own) = json.get_mut(layer.kind()).and_then(Json::as_object_mut) {
                own.retain(|key, _| !key.ends_with("_initializer") && key != "go_backwards");
            }
            json
        };
        if backward.layers.first().map(|l| turned(&l.1)) != Some(turned(&layer)) {
            return Err(
                "its backward_layer differs from its layer; expected the same arguments in both directions"
                    .into(),
            );
        }
    }
    let merge_mode =
        args.get("merge_mode").ok_or("merge_mode: expected concat, sum, mul or ave, found none")?;
    let prefix = layer.prefix();
    let layer = serde_json::to_value(LayerSpec::new(layer)).map_err(|e| e.to_string())?;
    let side = |side: &str| {
        let name = format!("{side}_{prefix}");
        let path = format!("{side}_layer");
        forward.weights.iter().map(move |w| w.clone().inside(&name, &path))
    };
    let weights = side("forward").chain(side("backward")).collect();
    let converted = plain("Bidirectional", json!({"layer": layer, "merge_mode": merge_mode}))?;
    Ok(Converted { weights, ignored: forward.ignored, ..converted })
}

fn time_distributed(args: &Args<'_>, second: bool) -> Result<Converted, String> {
    let inner = inner(args, "layer", second)?;
    let Some((_, layer)) = inner.layers.into_iter().next() else { return Err("expected a layer".into()) };
    let layer = serde_json::to_value(LayerSpec::new(layer)).map_err(|e| e.to_string())?;
    let weights = inner.weights.into_iter().map(|w| w.inside("", "layer")).collect();
    Ok(Converted { weights, ignored: inner.ignored, ..plain("TimeDistributed", json!({"layer": layer}))? })
}

/// `RNN` around one cell: the layer of that cell.
fn rnn(args: &Args<'_>, second: bool) -> Result<Converted, String> {
    let cell = args
        .get("cell")
        .filter(|c| !c.is_array())
        .ok_or("expected one cell; put one RNN for each cell instead")?;
    let class = match cell.get("class_name").and_then(Json::as_str) {
        Some("LSTMCell") => "LSTM",
        Some("GRUCell") => "GRU",
        Some("SimpleRNNCell") => "SimpleRNN",
        other => {
            let found = other.unwrap_or("nothing");
            return Err(format!(
                "expected a cell LSTMCell, GRUCell or SimpleRNNCell, found {found}; use one of these"
            ));
        }
    };
    let mut config = cell.get("config").and_then(Json::as_object).cloned().unwrap_or_default();
    let own = args.all().iter().filter(|(key, _)| *key != "cell");
    config.extend(own.map(|(key, value)| (key.clone(), value.clone())));
    convert(class, "", &config, second)
}
