//! What a model was compiled with: losses, metrics, the optimizer.

use brisk_nn::optimizer::{Adam, AdamW, RmsProp, Sgd};
use brisk_nn::{Activation, Loss, Metric, Optimizer};
use serde_json::{Map, Value as Json};

use super::args::{brief, snake};
use crate::error::quoted;

/// An output as Keras names it: the key of its own, or the layer.
pub(super) struct Named<'a> {
    pub key: Option<&'a str>,
    pub layer: &'a str,
}

/// The part of a setting that is for an output: settings may be one for all, a list, or by name.
pub(super) fn of_output<'a>(
    setting: Option<&'a Json>,
    outputs: &[Named<'_>],
    number: usize,
) -> Option<&'a Json> {
    match setting? {
        Json::Null => None,
        Json::Object(map) if !map.contains_key("class_name") => {
            let own = outputs.get(number)?;
            own.key.and_then(|k| map.get(k)).or_else(|| map.get(own.layer)).filter(|v| !v.is_null())
        }
        Json::Array(list) if outputs.len() > 1 => list.get(number).filter(|v| !v.is_null()),
        one => Some(one),
    }
}

/// The longest name of a loss, a metric or an optimizer.
const LONGEST: usize = 64;
/// How many metrics of an output are looked at: they may be the same for all outputs.
const MOST_METRICS: usize = 64;

/// The class or name of a serialized object in words, and its arguments.
fn object(json: &Json) -> Option<(String, Option<&Map<String, Json>>)> {
    let snake = |name: &str| Some(name).filter(|n| n.len() <= LONGEST).map(snake);
    match json {
        Json::String(name) => Some((snake(name)?, None)),
        Json::Object(map) => {
            // A function is written as its name in the place of its arguments.
            if let (Some("function"), Some(Json::String(name))) =
                (map.get("class_name").and_then(Json::as_str), map.get("config"))
            {
                return Some((snake(name)?, None));
            }
            Some((snake(map.get("class_name")?.as_str()?)?, map.get("config").and_then(Json::as_object)))
        }
        _ => None,
    }
}

/// A loss of Keras.
pub(super) struct Given {
    pub loss: Loss,
    /// Whether the model yields logits.
    pub logits: bool,
}

/// A loss as Brisk has it, or what is wrong.
pub(super) fn loss(json: &Json, ignored: &mut Vec<String>) -> Result<Given, String> {
    let unknown = || format!("loss {}: Brisk has none of this name", brief(json));
    let (name, config) = object(json).ok_or_else(unknown)?;
    let number =
        |key: &str, usual: f64| config.and_then(|c| c.get(key)).and_then(Json::as_f64).unwrap_or(usual);
    let text = |key: &str| config.and_then(|c| c.get(key)).and_then(Json::as_str);
    let flag = |key: &str| config.and_then(|c| c.get(key)) == Some(&Json::Bool(true));
    if let Some(other) = text("reduction").filter(|r| !matches!(*r, "auto" | "sum_over_batch_size" | "mean"))
    {
        ignored.push(format!("loss {name}: reduction {}; it is the mean over the batch", quoted(other)));
    }
    let smoothing = number("label_smoothing", 0.0);
    let loss = match name.as_str() {
        "sparse_categorical_crossentropy" => Loss::SparseCategoricalCrossentropy {
            label_smoothing: 0.0,
            class_weights: None,
            ignore_class: config
                .and_then(|c| c.get("ignore_class"))
                .and_then(Json::as_i64)
                .and_then(|c| c.try_into().ok()),
        },
        "categorical_crossentropy" => {
            Loss::CategoricalCrossentropy { label_smoothing: smoothing, class_weights: None }
        }
        "binary_crossentropy" => Loss::BinaryCrossentropy {
            label_smoothing: smoothing,
            class_weights: None,
            positive_weights: None,
        },
        "binary_focal_crossentropy" => Loss::BinaryFocalCrossentropy {
            gamma: number("gamma", 2.0),
            alpha: flag("apply_class_balancing").then(|| number("alpha", 0.25)),
        },
        "mean_squared_error" | "mse" => Loss::MeanSquaredError,
        "mean_absolute_error" | "mae" => Loss::MeanAbsoluteError,
        "huber" | "huber_loss" => Loss::Huber { delta: number("delta", 1.0) },
        _ => return Err(unknown()),
    };
    Ok(Given { loss, logits: flag("from_logits") })
}

/// The loss of an output whose last activation is known, and whether the loss has that activation in it.
pub(super) fn settle(given: Option<Given>, last: Option<Activation>) -> Result<(Loss, bool), String> {
    let Some(Given { loss, logits }) = given else {
        return Ok(match last {
            Some(Activation::Softmax) => (Loss::sparse_categorical_crossentropy(), true),
            Some(Activation::Sigmoid) => (Loss::binary_crossentropy(), true),
            _ => (Loss::MeanSquaredError, false),
        });
    };
    let own = match &loss {
        loss if loss.is_binary() => Activation::Sigmoid,
        loss if loss.is_classification() => Activation::Softmax,
        _ => return Ok((loss, false)),
    };
    match (logits, last == Some(own)) {
        (false, true) => Ok((loss, true)),
        (true, false) => Ok((loss, false)),
        _ => Err(format!(
            "loss {}: expected an output with the activation {}",
            loss.name(),
            snake(&format!("{own:?}"))
        )),
    }
}

/// Metrics as Brisk has them.
pub(super) fn metrics(json: Option<&Json>, loss: &Loss, ignored: &mut Vec<String>) -> Vec<Metric> {
    let mut found = Vec::new();
    let mut add = |json: &Json| {
        let known = object(json).and_then(|(name, config)| {
            let k = config
                .and_then(|c| c.get("k"))
                .and_then(Json::as_u64)
                .and_then(|k| k.try_into().ok())
                .unwrap_or(5);
            match name.as_str() {
                "accuracy"
                | "acc"
                | "sparse_categorical_accuracy"
                | "categorical_accuracy"
                | "binary_accuracy"
                    if loss.is_classification() =>
                {
                    Some(Metric::Accuracy)
                }
                "top_k_categorical_accuracy" | "sparse_top_k_categorical_accuracy"
                    if loss.is_classification() && !loss.is_binary() =>
                {
                    Some(Metric::TopKAccuracy { k })
                }
                "mean_absolute_error" | "mae" if !loss.is_classification() => Some(Metric::MeanAbsoluteError),
                _ => None,
            }
        });
        match known {
            Some(metric) if found.contains(&metric) => {}
            Some(metric) => found.push(metric),
            None => ignored.push(format!("metric {}", brief(json))),
        }
    };
    // Those of one output may stand in a list of their own.
    let entries = json.map_or(&[][..], entries).iter().take(MOST_METRICS).flat_map(entries);
    entries.take(MOST_METRICS).for_each(&mut add);
    found
}

/// What is in a list, or the one thing that is none.
fn entries(json: &Json) -> &[Json] {
    json.as_array().map_or(std::slice::from_ref(json), Vec::as_slice)
}

/// An optimizer as Brisk has it.
pub(super) fn optimizer(json: &Json, ignored: &mut Vec<String>) -> Result<Optimizer, String> {
    let (name, config) =
        object(json).ok_or_else(|| format!("optimizer {}: expected a class", brief(json)))?;
    let empty = Map::new();
    let config = config.unwrap_or(&empty);
    if name == "loss_scale_optimizer" {
        let inner =
            config.get("inner_optimizer").ok_or("optimizer: expected the inner_optimizer, found none")?;
        if inner.get("class_name").and_then(Json::as_str) == Some("LossScaleOptimizer") {
            return Err("optimizer: a LossScaleOptimizer around another".into());
        }
        return optimizer(inner, ignored);
    }
    let number = |key: &str, usual: f64| config.get(key).and_then(Json::as_f64).unwrap_or(usual);
    let maybe = |key: &str| config.get(key).and_then(Json::as_f64);
    let flag = |key: &str| config.get(key) == Some(&Json::Bool(true));
    for key in ["amsgrad", "use_ema"] {
        if flag(key) {
            ignored.push(format!("optimizer {name}: {key}"));
        }
    }
    if let Some(steps) = maybe("gradient_accumulation_steps") {
        ignored.push(format!("optimizer {name}: gradient_accumulation_steps {steps}"));
    }
    let learning_rate = match config.get("learning_rate") {
        Some(schedule @ Json::Object(_)) => {
            let start = schedule.pointer("/config/initial_learning_rate").and_then(Json::as_f64);
            ignored.push(format!(
                "optimizer {name}: learning rate {}; it stays as at the start",
                brief(schedule)
            ));
            start.ok_or_else(|| {
                format!("optimizer {name}: its learning rate {} has no start", brief(schedule))
            })?
        }
        other => other.and_then(Json::as_f64).unwrap_or(if name == "sgd" { 0.01 } else { 0.001 }),
    };
    let (weight_decay, clipnorm) = (maybe("weight_decay"), maybe("clipnorm"));
    let (global_clipnorm, clipvalue) = (maybe("global_clipnorm"), maybe("clipvalue"));
    let (beta_1, beta_2) = (number("beta_1", 0.9), number("beta_2", 0.999));
    let (epsilon, momentum) = (number("epsilon", 1e-7), number("momentum", 0.0));
    let optimizer = match name.as_str() {
        "sgd" => Optimizer::Sgd(Sgd {
            learning_rate,
            momentum,
            nesterov: flag("nesterov"),
            weight_decay,
            clipnorm,
            global_clipnorm,
            clipvalue,
        }),
        "adam" => Optimizer::Adam(Adam {
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            weight_decay,
            clipnorm,
            global_clipnorm,
            clipvalue,
        }),
        "adam_w" => Optimizer::AdamW(AdamW {
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            weight_decay: weight_decay.unwrap_or(0.0),
            clipnorm,
            global_clipnorm,
            clipvalue,
        }),
        "rm_sprop" | "rmsprop" => Optimizer::RmsProp(RmsProp {
            learning_rate,
            rho: number("rho", 0.9),
            momentum,
            epsilon,
            centered: flag("centered"),
            weight_decay,
            clipnorm,
            global_clipnorm,
            clipvalue,
        }),
        _ => return Err(format!("optimizer {name}: Brisk has none of this name")),
    };
    optimizer.check().map_err(|e| e.to_string())?;
    Ok(optimizer)
}

/// The order in which Keras keeps what an optimizer remembers: for each parameter all of it, or each of it for all parameters.
pub(super) fn slots(optimizer: &Optimizer) -> (bool, Vec<&'static str>) {
    match optimizer {
        Optimizer::Sgd(o) if o.momentum == 0.0 => (true, vec![]),
        Optimizer::Sgd(_) => (true, vec!["momentum"]),
        Optimizer::Adam(_) | Optimizer::AdamW(_) => (true, vec!["m", "v"]),
        Optimizer::RmsProp(o) => {
            let mut slots = vec!["v"];
            slots.extend((o.momentum > 0.0).then_some("momentum"));
            slots.extend(o.centered.then_some("mean"));
            (false, slots)
        }
    }
}
