//! Chinese reviews, good or bad: a table of texts, a tokenizer of characters, and an LSTM from nothing.
//!
//! `cargo run --release -p brisk --example sentiment_lstm`

use std::sync::Arc;

use brisk::data::{
    CategoryTargetSpec, Encoder, FeatureSpec, Features, FitOptions, Layouts, Rows, SplitSpec, TableLoader,
    TableLoaderOptions, TableSpec, TableSplit, TargetSpec, TextSpec, TokenizerSpec, open_tables,
};
use brisk::nn::{ModelInput, TaskOutput};
use brisk::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shares = SplitSpec { validation: Some(0.1), test: Some(0.2), seed: 42 };
    let split = TableSplit { shares, stratify: Some("label".into()), ..TableSplit::default() };
    let (set, _) = open_tables(&TableSpec::at("data/text-samples/chinese-reviews.csv"))?.split(&split)?;

    // What the columns are; the tokenizer and the classes are learned from the training rows.
    let text = TextSpec {
        tokenizer: Some(TokenizerSpec::Name("character".into())),
        max_length: Some(60),
        ..TextSpec::default()
    };
    let inputs = [("text".to_string(), FeatureSpec::Text(text))].into();
    let targets = [("label".to_string(), TargetSpec::Category(CategoryTargetSpec::default()))].into();
    let features = Arc::new(Features::fit(&inputs, &targets, &set.train, FitOptions::default())?);
    let tokens = features.texts().next().ok_or("no text")?.1.tokenizer()?.size();

    let layers = vec![
        LayerSpec::new(Embedding::new(tokens, 64).mask_zero(true)).inputs(["text"]),
        Dropout::new(0.3).into(),
        Bidirectional::new(LSTM::new(32)).into(),
        Dropout::new(0.3).into(),
        Dense::new(2).into(),
    ];
    let model = Model::new(vec![ModelInput::new("text", [None]).dtype(DType::I32)], layers, &[])?;
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
    trainer.fit_batches(&loader(&set.train, true)?, Some(&validation), 3)?;
    let test = loader(set.test.as_ref().ok_or("no test rows")?, false)?;
    for (name, value) in trainer.evaluate_batches(&test)?.0 {
        println!("test {name}: {value:.4}");
    }
    Ok(())
}
