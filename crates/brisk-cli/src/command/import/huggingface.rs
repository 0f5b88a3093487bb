//! `brisk import` of a Hugging Face folder.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use brisk_eval::Ready;
use brisk_format::{Head, HfFolder, LoadReport, save_model};
use brisk_nn::Activation;
use serde_json::json;

use crate::printer::{Printer, thousands};

/// Says what it is, and what becomes of each of its tensors; writes the model.
pub fn run(path: &Path, output: Option<&Path>, printer: &Printer, as_json: bool) -> Result<()> {
    let folder = HfFolder::open(path)?;
    let (state, report) = folder.load_state(folder.head())?;
    let parameters = state.iter().map(|(_, t)| t.elements()).sum();
    match as_json {
        true => printer.json(&data(&folder, parameters, &report))?,
        false => printer.line(text(&folder, parameters, &report)?)?,
    }
    if let Some(output) = output {
        let Ready { model, features, .. } = Ready::import(&folder)?;
        save_model(output, &model)?;
        let gives = features.targets.keys().next().map_or("embedding", String::as_str);
        eprintln!("The model is in {}: it reads `text`, and gives `{gives}`.", output.display());
    }
    Ok(())
}

fn head(head: &Head) -> String {
    match head {
        Head::None => "none: a vector for each token".into(),
        Head::Pooler => "pooler: a vector for each text".into(),
        Head::Classification { labels } => format!("classification, {labels} classes"),
        Head::MultiLabel { labels } => format!("any of {labels} labels"),
        Head::Regression { outputs } => format!("regression, {outputs} numbers"),
        Head::Tags { labels } => format!("a tag for each token, {labels} tags"),
        Head::MaskedLanguageModel => "masked language model".into(),
    }
}

fn activation(activation: Activation) -> String {
    match activation {
        Activation::Gelu { approximate: false } => "gelu".into(),
        Activation::Gelu { approximate: true } => "gelu by tanh".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// What was understood, for people.
fn text(folder: &HfFolder, parameters: usize, report: &LoadReport) -> Result<String> {
    let encoder = folder.encoder();
    let mut text = String::new();
    let mut row = |name: &str, value: String| writeln!(text, "{name:<11} {value}");
    row("family", folder.config().family.model_type().into())?;
    row(
        "encoder",
        format!(
            "{} layers of {} heads, {} wide ({} inside), {}",
            encoder.num_layers,
            encoder.num_heads,
            encoder.hidden_size,
            encoder.intermediate_size,
            activation(encoder.activation)
        ),
    )?;
    row("tokens", format!("{} known, {} a text", thousands(encoder.vocab_size), folder.max_length()))?;
    row("head", head(folder.head()))?;
    if !folder.labels().is_empty() {
        row("labels", folder.labels().join(", "))?;
    }
    if let Some(sentences) = folder.sentences() {
        let scaled = if sentences.normalize { ", scaled to length 1" } else { "" };
        row("sentences", format!("{}{scaled}", sentences.pooling))?;
    }
    let tokenizer = folder.tokenizer().and_then(|t| Some(t.file_name()?.display().to_string()));
    row("tokenizer", tokenizer.unwrap_or_else(|| "none found".into()))?;
    row("parameters", thousands(parameters))?;
    writeln!(text, "\n{report}")?;
    Ok(text)
}

fn data(folder: &HfFolder, parameters: usize, report: &LoadReport) -> serde_json::Value {
    json!({
        "family": folder.config().family,
        "encoder": folder.encoder(),
        "head": folder.head(),
        "labels": folder.labels(),
        "max_length": folder.max_length(),
        "sentences": folder.sentences().map(|s| json!({"pooling": s.pooling.to_string(), "normalize": s.normalize})),
        "tokenizer": folder.tokenizer(),
        "parameters": parameters,
        "loaded": report.loaded.iter().map(|(ours, theirs)| json!({"name": ours, "from": theirs})).collect::<Vec<_>>(),
        "ignored": report.ignored.iter().map(|(n, why)| json!({"name": n, "reason": why})).collect::<Vec<_>>(),
        "unexpected": report.unexpected,
        "fresh": report.fresh.iter().map(|(n, s)| json!({"name": n, "shape": s.dims()})).collect::<Vec<_>>(),
    })
}
