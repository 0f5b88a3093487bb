//! The encoders compute what `transformers` computes, over packed tokens and from its weights.

use std::path::{Path, PathBuf};

use brisk_format::{Head, HfFolder, MappedTensors, SentencePooling};
use brisk_graph::{Builder, DType, Role, Tensor, Value};
use brisk_nn::{Activation, Context, Dense, LayerNormalization, Result};
use brisk_runtime::{Cpu, Device, Options};
use brisk_testkit::assert_close;

use super::golden;

/// Texts without their padding, one after another, and some rows that belong to none.
struct Packed {
    ids: Vec<i32>,
    positions: Vec<i32>,
    types: Vec<i32>,
    segments: Vec<i32>,
    /// The rows of the padded batch, in the order of the tokens.
    rows: Vec<usize>,
}

impl Packed {
    fn new(file: &MappedTensors) -> Packed {
        let tensor = |name: &str| file.tensor(name).unwrap();
        let (ids, mask, types) = (tensor("input_ids"), tensor("attention_mask"), tensor("token_type_ids"));
        let length = ids.shape().dims()[1];
        let mut packed =
            Packed { ids: vec![], positions: vec![], types: vec![], segments: vec![], rows: vec![] };
        for (text, mask) in mask.i32s().unwrap().chunks(length).enumerate() {
            packed.segments.push(packed.ids.len() as i32);
            packed.segments.push(mask.iter().sum());
            for place in (0..length).filter(|&p| mask[p] == 1) {
                let row = text * length + place;
                packed.ids.push(ids.i32s().unwrap()[row]);
                packed.types.push(types.i32s().unwrap()[row]);
                packed.positions.push(place as i32);
                packed.rows.push(row);
            }
        }
        let rounded = packed.ids.len().next_multiple_of(16);
        for rows in [&mut packed.ids, &mut packed.positions, &mut packed.types] {
            rows.resize(rounded, 0);
        }
        packed
    }

    fn starts(&self) -> Vec<i32> {
        self.segments.chunks(2).map(|s| s[0]).collect()
    }
}

/// What a folder computes of packed texts: hidden states, and what its head gives.
fn run(folder: &HfFolder, packed: &Packed, threads: usize) -> Vec<(&'static str, Tensor)> {
    let (mut state, report) = folder.load_state(folder.head()).unwrap();
    assert!(report.fresh.is_empty(), "{report}");
    let vector = |v: &[i32]| Tensor::new([v.len()], v.to_vec()).unwrap();
    let segments = Tensor::new([packed.segments.len() / 2, 2], packed.segments.clone()).unwrap();
    let given = [
        ("ids", vector(&packed.ids)),
        ("positions", vector(&packed.positions)),
        ("types", vector(&packed.types)),
        ("segments", segments),
        ("starts", vector(&packed.starts())),
    ];
    let b = Builder::new();
    let mut cx = Context::new(&b);
    let inputs: Vec<Value<'_>> =
        given.iter().map(|(name, t)| b.input(name, Role::Batch, t.shape(), DType::I32)).collect();
    let hidden = cx.layer("encoder", folder.encoder(), &inputs[..4]).unwrap();
    let mut outputs = vec![("last_hidden_state", hidden)];
    outputs.extend(head(&mut cx, folder, hidden, inputs[4]).unwrap());
    let graph = b.finish(&outputs, cx.updates()).unwrap();
    let mut program = Cpu::new(threads).compile(&graph, &Options::default()).unwrap();
    let given: Vec<(&str, &Tensor)> = given.iter().map(|(n, t)| (*n, t)).collect();
    let results = program.run(&given, &mut state).unwrap();
    outputs.iter().map(|o| o.0).zip(results).collect()
}

fn head<'g>(
    cx: &mut Context<'g>,
    folder: &HfFolder,
    hidden: Value<'g>,
    starts: Value<'g>,
) -> Result<Vec<(&'static str, Value<'g>)>> {
    let encoder = folder.encoder();
    let size = encoder.hidden_size;
    let activation = folder.config().head_activation(folder.head());
    let pooler = Dense::new(size).activation(activation);
    Ok(match folder.head() {
        Head::None => vec![],
        Head::Pooler => vec![("pooler_output", cx.layer("pooler", &pooler, &[hidden.take(starts)])?)],
        Head::Tags { labels } => vec![("logits", cx.layer("classifier", &Dense::new(*labels), &[hidden])?)],
        Head::MaskedLanguageModel => {
            let size = encoder.embedding_size.unwrap_or(size);
            let logits = cx.scope("mlm", |cx| {
                let x = cx.layer("dense", &Dense::new(size).activation(activation), &[hidden])?;
                let x = cx.layer("norm", &LayerNormalization::new().epsilon(encoder.epsilon), &[x])?;
                let words = cx.params().iter().find(|p| p.0.name == "encoder.embeddings.word").unwrap().1;
                let bias = cx.param("bias", [encoder.vocab_size], &brisk_nn::Initializer::Zeros)?;
                Ok::<_, brisk_nn::Error>(x.matmul(words.transpose(&[1, 0])) + bias)
            })?;
            vec![("logits", logits)]
        }
        head => {
            let pooled = cx.layer("pooler", &pooler, &[hidden.take(starts)])?;
            let logits = cx.layer("classifier", &Dense::new(head.outputs().unwrap()), &[pooled])?;
            match folder.config().family.pooler_activation() {
                Activation::Tanh => vec![("pooler_output", pooled), ("logits", logits)],
                _ => vec![("logits", logits)],
            }
        }
    })
}

/// Compares with a file of goldens: rows of tokens where the golden has a padded batch.
fn compare(path: &Path, file: &MappedTensors, tolerance: f64) {
    let folder = HfFolder::open(path).unwrap();
    let packed = Packed::new(file);
    for threads in [1, 2] {
        let results = run(&folder, &packed, threads);
        let wanted: Vec<&str> = file.names().filter(|n| !n.contains("_ids") && !n.contains("mask")).collect();
        for name in wanted {
            let want = file.tensor(name).unwrap();
            let Some((_, got)) = results.iter().find(|r| r.0 == name) else {
                // The head of this one does not use its pooler.
                assert!(
                    name == "pooler_output" && path.ends_with("bert-pretraining"),
                    "{}: no {name}",
                    path.display()
                );
                continue;
            };
            let width = want.shape().last();
            let want = want.f32s().unwrap();
            let rows = file.shape(name).unwrap().rank() == 3;
            let want: Vec<f32> = match rows {
                true => packed.rows.iter().flat_map(|&r| &want[r * width..][..width]).copied().collect(),
                false => want.to_vec(),
            };
            let got = &got.f32s().unwrap()[..want.len()];
            let name = format!("{} {name}, {threads} threads", path.display());
            assert_close(&name, got, &want, 0.0, tolerance);
        }
    }
}

#[test]
fn every_family_computes_what_transformers_computes() {
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(golden("")).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    assert_eq!(folders.len(), 14);
    for path in folders {
        compare(&path, &MappedTensors::open(&path.join("golden.safetensors")).unwrap(), 1e-5);
    }
}

/// Compares `BRISK_HF_FOLDER` with the file `BRISK_HF_GOLDEN` that `goldens/check_encoder.py` writes of it: tokens, hidden states, pooled
/// output and, if `sentence-transformers` made the folder, sentence embeddings.
#[test]
#[ignore = "needs BRISK_HF_FOLDER and BRISK_HF_GOLDEN"]
fn a_real_model_computes_what_transformers_computes() {
    let path =
        |name: &str| PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set")));
    let (path, golden) = (path("BRISK_HF_FOLDER"), path("BRISK_HF_GOLDEN"));
    let file = MappedTensors::open(&golden).unwrap();
    let folder = HfFolder::open(&path).unwrap();
    let packed = Packed::new(&file);
    let results = run(&folder, &packed, 2);
    let worst =
        |got: &[f32], want: &[f32]| got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    for (name, got) in &results {
        let want = file.tensor(name).unwrap();
        let (width, got) = (want.shape().last(), got.f32s().unwrap());
        let want = want.f32s().unwrap();
        let rows: Vec<usize> = match *name {
            "pooler_output" => (0..packed.segments.len() / 2).collect(),
            _ => packed.rows.clone(),
        };
        let want: Vec<f32> = rows.iter().flat_map(|&r| &want[r * width..][..width]).copied().collect();
        println!("{name}: largest difference {:.1e}", worst(got, &want));
        assert_close(name, &got[..want.len()], &want, 0.0, 1e-4);
    }
    let Some(sentences) = folder.sentences() else { return };
    assert_eq!(sentences.pooling, SentencePooling::Mean);
    let (hidden, size) = (results[0].1.f32s().unwrap(), folder.encoder().hidden_size);
    let mut embeddings: Vec<f32> = Vec::new();
    for segment in packed.segments.chunks(2) {
        let (start, length) = (segment[0] as usize, segment[1] as usize);
        let mean =
            |i: usize| (start..start + length).map(|r| hidden[r * size + i]).sum::<f32>() / length as f32;
        let mean: Vec<f32> = (0..size).map(mean).collect();
        let norm = if sentences.normalize { mean.iter().map(|x| x * x).sum::<f32>().sqrt() } else { 1.0 };
        embeddings.extend(mean.iter().map(|x| x / norm));
    }
    let want = file.tensor("sentence_embedding").unwrap();
    println!("sentence embeddings: largest difference {:.1e}", worst(&embeddings, want.f32s().unwrap()));
    assert_close("sentence embeddings", &embeddings, want.f32s().unwrap(), 0.0, 1e-4);
}
