//! How near sentences are: vectors from an encoder of a Hugging Face folder, without training.
//! `examples/sentence-similarity.yaml` trains it further.
//!
//! `cargo run --release -p brisk --example sentence_similarity -- all-MiniLM-L6-v2`

use brisk::data::{TextInput, Tokenizer, Truncation};
use brisk::format::HfFolder;
use brisk::nn::{ModelInput, Pooling, SequencePooling};
use brisk::prelude::*;

const TEXTS: [&str; 3] =
    ["A cat sits on the sofa.", "There is a kitten on the couch.", "The central bank raised its rates."];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("give the folder of an encoder, such as all-MiniLM-L6-v2")?;
    let folder = HfFolder::open(folder.as_ref())?;
    let tokenizer = Tokenizer::open(&folder.tokenizer().ok_or("the folder has no tokenizer")?)?;

    // All texts one after another, without padding.
    let (mut ids, mut positions, mut types, mut segments) = (vec![], vec![], vec![], vec![]);
    for text in TEXTS {
        let tokens = tokenizer.encode(TextInput::Plain(text), None, folder.max_length(), Truncation::End)?;
        segments.extend([ids.len() as i32, tokens.ids.len() as i32]);
        positions.extend(0..tokens.ids.len() as i32);
        types.extend(tokens.ids.iter().map(|_| 0));
        ids.extend(tokens.ids.iter().copied());
    }
    let n = ids.len();
    let inputs = [
        ("text.ids", Tensor::new([n], ids)?),
        ("text.positions", Tensor::new([n], positions)?),
        ("text.types", Tensor::new([n], types)?),
        ("text.segments", Tensor::new([TEXTS.len(), 2], segments)?),
    ];

    let layers = vec![
        LayerSpec::new(folder.encoder().clone()).name("encoder").inputs(["text"]),
        LayerSpec::new(SequencePooling { mode: Pooling::Mean, normalize: true })
            .inputs(["encoder", "text.segments"]),
    ];
    let model = Model::new(ModelInput::packed_text("text"), layers, &[])?;
    let task = Task::new(model, Loss::MultipleNegativesRanking { scale: 20.0 });
    let mut trainer = Trainer::of_task(task, Optimizer::adam(1e-5))?;
    let (weights, _) = folder.load_state(folder.head())?;
    for (name, tensor) in weights.iter().filter(|(name, _)| name.starts_with("encoder.")) {
        trainer.state.insert(name, tensor.clone());
    }
    let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let vectors = trainer.predict_batch(&inputs)?.swap_remove(0);
    let size = vectors.shape().last();
    let vectors: Vec<&[f32]> = vectors.f32s()?.chunks(size).collect();
    for (i, j) in [(0, 1), (0, 2), (1, 2)] {
        let cosine: f32 = vectors[i].iter().zip(vectors[j]).map(|(a, b)| a * b).sum();
        println!("{cosine:.3}  {} | {}", TEXTS[i], TEXTS[j]);
    }
    Ok(())
}
