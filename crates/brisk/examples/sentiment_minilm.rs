//! A pretrained encoder from a Hugging Face folder, fine-tuned to tell good from bad: a project as text, run in a folder.
//!
//! `cargo run --release -p brisk --example sentiment_minilm -- all-MiniLM-L6-v2`

use std::sync::atomic::AtomicBool;

use brisk::prelude::*;
use brisk::train::{Outcome, Progress, Project, Run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("give the folder of an encoder, such as all-MiniLM-L6-v2")?;
    let file = "examples/sentiment-minilm.yaml";
    let set = [format!("model.pretrained={folder}"), "train.epochs=1".into()];
    let project = Project::load(file.as_ref(), &set)?;
    let dir = std::env::temp_dir().join(format!("sentiment-minilm-{}", std::process::id()));

    let mut run = Run::create(project, &dir)?;
    println!("{}", run.prepared().task.model.summary()?);
    let outcome = run.train(&Cpu::all_threads(), Progress::stderr(1), &AtomicBool::new(false))?;
    if let Outcome::Finished { report: Some(report) } = outcome {
        println!("{report}");
    }
    println!("the model is in {}", dir.join("model").display());
    Ok(())
}
