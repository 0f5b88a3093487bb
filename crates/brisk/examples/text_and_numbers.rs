//! A text, two numbers and a category together: each has an encoder of its own, and `Concatenate` joins them.
//!
//! `cargo run --release -p brisk --example text_and_numbers`

use std::sync::Arc;

use brisk::data::{
    CategorySpec, CategoryTargetSpec, Encoder, FeatureSpec, Features, FitOptions, Layouts, NumberSpec, Rows,
    SplitSpec, TableLoader, TableLoaderOptions, TableSpec, TableSplit, TargetSpec, TextSpec, open_tables,
};
use brisk::nn::{ModelInput, TaskOutput};
use brisk::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shares = SplitSpec { validation: Some(0.1), test: Some(0.2), seed: 42 };
    let split = TableSplit { shares, stratify: Some("label".into()), ..TableSplit::default() };
    let (set, _) = open_tables(&TableSpec::at("data/text-samples/english-sentiment.csv"))?.split(&split)?;

    let text = TextSpec { max_length: Some(40), ..TextSpec::default() };
    let inputs = [
        ("text".to_string(), FeatureSpec::Text(text)),
        ("capitals".to_string(), FeatureSpec::Number(NumberSpec::default())),
        ("exclamations".to_string(), FeatureSpec::Number(NumberSpec::default())),
        ("source".to_string(), FeatureSpec::Category(CategorySpec::default())),
    ];
    let targets = [("label".to_string(), TargetSpec::Category(CategoryTargetSpec::default()))];
    let features = Features::fit(&inputs.into(), &targets.into(), &set.train, FitOptions::default())?;
    let features = Arc::new(features);
    let words = features.texts().next().ok_or("no text")?.1.tokenizer()?.size();

    let inputs = vec![
        ModelInput::new("text", [None]).dtype(DType::I32),
        ModelInput::new("capitals", [1]),
        ModelInput::new("exclamations", [1]),
        ModelInput::new("source", [0; 0]).dtype(DType::I32),
    ];
    let parts = ["words", "capitals", "exclamations", "sources"];
    let layers = vec![
        LayerSpec::new(Embedding::new(words, 64).mask_zero(true)).inputs(["text"]),
        Dropout::new(0.3).into(),
        LayerSpec::new(GlobalAveragePooling1D {}).name("words"),
        LayerSpec::new(Embedding::new(3, 8)).name("sources").inputs(["source"]), // rare or never seen, and two
        LayerSpec::new(Concatenate::new()).inputs(parts),
        Dense::new(32).activation(Relu).into(),
        Dropout::new(0.3).into(),
        Dense::new(2).into(),
    ];
    let model = Model::new(inputs, layers, &[])?;
    println!("{}", model.summary()?);
    let output = TaskOutput::new("label", Loss::sparse_categorical_crossentropy());
    let task =
        Task { model, outputs: vec![output], rules: Default::default(), gradient_checkpointing: false };

    let loader = |rows: &Rows, shuffle| {
        let options = TableLoaderOptions { shuffle, layouts: Layouts::padded(), ..Default::default() };
        TableLoader::new(Encoder::new(features.clone(), rows.clone(), true)?, options)
    };
    let mut trainer = Trainer::of_task(task, Optimizer::adam(2e-3))?;
    let validation = loader(set.validation.as_ref().ok_or("no validation rows")?, false)?;
    trainer.fit_batches(&loader(&set.train, true)?, Some(&validation), 4)?;
    let test = loader(set.test.as_ref().ok_or("no test rows")?, false)?;
    for (name, value) in trainer.evaluate_batches(&test)?.0 {
        println!("test {name}: {value:.4}");
    }
    Ok(())
}
