//! A tag for each word of Chinese sentences: an encoder of BERT's kind from nothing, over packed texts.
//!
//! `cargo run --release -p brisk --example part_of_speech`

use std::sync::Arc;

use brisk::data::{
    BatchSize, Encoder, FeatureSpec, Features, FitOptions, Layouts, Rows, SplitSpec, TableLoader,
    TableLoaderOptions, TableSpec, TableSplit, TagsSpec, TargetSpec, TextSpec, TokenizerSpec, open_tables,
};
use brisk::nn::{ModelInput, ParamRules, TaskOutput, zoo};
use brisk::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shares = SplitSpec { validation: Some(0.1), test: Some(0.2), seed: 42 };
    let split = TableSplit { shares, ..TableSplit::default() };
    let (set, _) = open_tables(&TableSpec::at("data/text-samples/chinese-tags.csv"))?.split(&split)?;

    // `word/tag word/tag`: the words are the text, the tags are to be found.
    let text = TextSpec {
        tokenizer: Some(TokenizerSpec::Name("character".into())),
        max_length: Some(80),
        tag_separator: Some("/".into()),
        ..TextSpec::default()
    };
    let inputs = [("text".to_string(), FeatureSpec::Text(text))].into();
    let targets = [("tags".to_string(), TargetSpec::Tags(TagsSpec::default()))].into();
    let features = Arc::new(Features::fit(&inputs, &targets, &set.train, FitOptions::default())?);
    let characters = features.texts().next().ok_or("no text")?.1.tokenizer()?.size();

    let encoder = zoo::text_encoder("transformer-encoder", characters)?;
    let layers =
        vec![LayerSpec::new(encoder).inputs(["text"]), Dense::new(features.targets["tags"].size()).into()];
    let model = Model::new(ModelInput::packed_text("text"), layers, &[])?;
    println!("{}", model.summary()?);
    let outputs = vec![TaskOutput::new("tags", Loss::tags())];
    let task = Task { model, outputs, rules: ParamRules::fine_tuning(), gradient_checkpointing: false };

    let loader = |rows: &Rows, shuffle| {
        let batch = BatchSize::Tokens(512);
        let options = TableLoaderOptions { batch, shuffle, layouts: Layouts::packed(), ..Default::default() };
        TableLoader::new(Encoder::new(features.clone(), rows.clone(), true)?, options)
    };
    let mut trainer = Trainer::of_task(task, Optimizer::adamw(1e-3))?;
    let validation = loader(set.validation.as_ref().ok_or("no validation rows")?, false)?;
    trainer.fit_batches(&loader(&set.train, true)?, Some(&validation), 2)?;
    let test = loader(set.test.as_ref().ok_or("no test rows")?, false)?;
    for (name, value) in trainer.evaluate_batches(&test)?.0 {
        println!("test {name}: {value:.4}");
    }
    Ok(())
}
