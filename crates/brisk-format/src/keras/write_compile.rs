//! Losses, metrics and the optimizer as Keras writes them.

use brisk_nn::{Loss, Metric, Optimizer, TaskOutput};
use serde_json::{Map, Value as Json, json};

use crate::SavedModel;

/// `compile_config`; null if Keras has no words for it.
pub(super) fn settings(
    saved: &SavedModel,
    optimizer: Option<&Optimizer>,
    left_out: &mut Vec<String>,
) -> Json {
    let Some(optimizer) = optimizer else { return Json::Null };
    let mut losses = Vec::new();
    for output in &saved.outputs {
        match loss(&output.loss) {
            Some(loss) => losses.push(loss),
            None => {
                left_out.push(format!(
                    "loss {} of output {:?}: compile the model anew in Keras",
                    output.loss.name(),
                    output.name
                ));
                return Json::Null;
            }
        }
    }
    let mut metrics = Vec::new();
    for output in &saved.outputs {
        let known: Vec<Json> =
            output.metrics.iter().filter_map(|m| metric(m, &output.loss, left_out)).collect();
        metrics.push(Json::Array(known));
    }
    let named = |values: Vec<Json>| match (&saved.outputs[..], values.len()) {
        ([_], 1) => values.into_iter().next().unwrap_or_default(),
        (outputs, _) => Json::Object(outputs.iter().map(|o| o.name.clone()).zip(values).collect()),
    };
    let weights = |outputs: &[TaskOutput]| match outputs.iter().any(|o| o.weight != 1.0) {
        true => named(outputs.iter().map(|o| json!(o.weight)).collect()),
        false => Json::Null,
    };
    json!({
        "optimizer": object("keras.optimizers", class(optimizer), arguments(optimizer)),
        "loss": named(losses),
        "loss_weights": weights(&saved.outputs),
        "metrics": named(metrics),
        "weighted_metrics": null,
        "run_eagerly": false,
        "steps_per_execution": 1,
        "jit_compile": false,
    })
}

/// A serialized object of Keras.
pub(super) fn object(module: &str, class: &str, config: Json) -> Json {
    json!({"module": module, "class_name": class, "config": config, "registered_name": null})
}

fn class(optimizer: &Optimizer) -> &'static str {
    match optimizer {
        Optimizer::Sgd(_) => "SGD",
        Optimizer::Adam(_) => "Adam",
        Optimizer::AdamW(_) => "AdamW",
        Optimizer::RmsProp(_) => "RMSprop",
    }
}

/// An optimizer's arguments have Keras's names.
fn arguments(optimizer: &Optimizer) -> Json {
    let json = serde_json::to_value(optimizer).unwrap_or_default();
    let own = json.as_object().and_then(|m| m.values().next()).cloned();
    let mut own = own.and_then(|v| v.as_object().cloned()).unwrap_or_else(Map::new);
    own.insert("name".into(), json!(optimizer.name()));
    Json::Object(own)
}

fn loss(loss: &Loss) -> Option<Json> {
    let of = |class: &str, config: Json| Some(object("keras.losses", class, config));
    match loss {
        Loss::SparseCategoricalCrossentropy { label_smoothing: 0.0, class_weights: None, ignore_class } => {
            of("SparseCategoricalCrossentropy", json!({"from_logits": false, "ignore_class": ignore_class}))
        }
        Loss::CategoricalCrossentropy { label_smoothing, class_weights: None } => {
            of("CategoricalCrossentropy", json!({"from_logits": false, "label_smoothing": label_smoothing}))
        }
        Loss::BinaryCrossentropy { label_smoothing, class_weights: None, positive_weights: None } => {
            of("BinaryCrossentropy", json!({"from_logits": false, "label_smoothing": label_smoothing}))
        }
        Loss::BinaryFocalCrossentropy { gamma, alpha } => of(
            "BinaryFocalCrossentropy",
            json!({"gamma": gamma, "alpha": alpha.unwrap_or(0.25), "apply_class_balancing": alpha.is_some()}),
        ),
        Loss::MeanSquaredError => of("MeanSquaredError", json!({})),
        Loss::MeanAbsoluteError => of("MeanAbsoluteError", json!({})),
        Loss::Huber { delta } => of("Huber", json!({"delta": delta})),
        _ => None,
    }
}

fn metric(metric: &Metric, loss: &Loss, left_out: &mut Vec<String>) -> Option<Json> {
    let sparse = matches!(loss, Loss::SparseCategoricalCrossentropy { .. });
    match metric {
        Metric::Accuracy => Some(json!("accuracy")),
        Metric::TopKAccuracy { k } => {
            let class = if sparse { "SparseTopKCategoricalAccuracy" } else { "TopKCategoricalAccuracy" };
            Some(object("keras.metrics", class, json!({"k": k, "name": metric.name()})))
        }
        Metric::MeanAbsoluteError => Some(json!("mean_absolute_error")),
        Metric::ExactMatch => {
            left_out.push("metric exact_match".into());
            None
        }
    }
}
