//! Texts: packed in Brisk, padded in ONNX.

use brisk_format::SavedModel;
use brisk_graph::Tensor;
use brisk_nn::prelude::*;
use brisk_nn::{LayerSpec, ModelInput, Pooling, TextEncoder};

use super::{Batch, Case, Question, check, ours, random, saved};

/// Texts of these lengths, packed as Brisk has them, and padded to one length as others have them.
pub fn texts(name: &str, lengths: &[usize], vocabulary: i32, seed: u64) -> (Batch, [Tensor; 3]) {
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let all = random(seed, &[lengths.len() * longest]).to_f64s();
    let id = |v: f64| ((v + 1.0) / 2.0 * f64::from(vocabulary - 1)).floor();
    let (mut packed, mut segments): ([Vec<i32>; 3], _) = (Default::default(), Vec::new());
    let mut padded: [Vec<i64>; 3] = Default::default();
    for (row, &length) in lengths.iter().enumerate() {
        segments.extend([packed[0].len() as i32, length as i32]);
        for place in 0..longest {
            let there = place < length;
            let (token, kind) = (id(all[row * longest + place]) as i32, i32::from(place > length / 2));
            if there {
                [token, place as i32, kind].into_iter().zip(&mut packed).for_each(|(v, to)| to.push(v));
            }
            let values =
                [if there { token.into() } else { 0 }, i64::from(there), if there { kind.into() } else { 0 }];
            values.into_iter().zip(&mut padded).for_each(|(v, to)| to.push(v));
        }
    }
    let tokens = packed[0].len();
    let [ids, positions, types] = packed.map(|v| Tensor::new([tokens], v).unwrap());
    let segments = Tensor::new([lengths.len(), 2], segments).unwrap();
    let parts = [("ids", ids), ("positions", positions), ("types", types), ("segments", segments)];
    let batch = parts.into_iter().map(|(part, t)| (format!("{name}.{part}"), t)).collect();
    (batch, padded.map(|v| Tensor::new([lengths.len(), longest], v).unwrap()))
}

pub fn encoder() -> TextEncoder {
    TextEncoder {
        vocab_size: 40,
        hidden_size: 12,
        num_layers: 2,
        num_heads: 3,
        intermediate_size: 10,
        max_positions: 64,
        ..Default::default()
    }
}

const LENGTHS: [&[usize]; 3] = [&[5, 2, 7], &[4, 4], &[1, 9, 3, 6]];

/// A model of one text, asked about several batches; `types` says whether it reads them.
pub fn case(name: &str, saved: SavedModel, types: bool) -> Case {
    let question = |(i, lengths): (usize, &&[usize])| {
        let (packed, [ids, mask, kinds]) = texts("text", lengths, 40, i as u64);
        let outputs = ours(&saved, &packed).into_iter().map(|y| padded(y, lengths)).collect();
        let inputs = if types { vec![ids, mask, kinds] } else { vec![ids, mask] };
        Question { inputs, outputs }
    };
    let questions = LENGTHS.iter().enumerate().map(question).collect();
    Case { name: name.into(), saved, questions }
}

/// Rows of tokens as `[texts, length, ..]`; others stay.
fn padded(y: Tensor, lengths: &[usize]) -> Tensor {
    let (tokens, width) = (lengths.iter().sum::<usize>(), y.shape().last());
    if y.shape().dims() != [tokens, width] {
        return y;
    }
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let (all, mut rest) = (y.to_f64s(), Vec::new());
    let mut rows = all.chunks(width);
    for &length in lengths {
        rest.extend(rows.by_ref().take(length).flatten());
        rest.extend(vec![f64::NAN; (longest - length) * width]);
    }
    Tensor::from_f64s(y.dtype(), [lengths.len(), longest, width], &rest).unwrap()
}

fn model(inputs: &[ModelInput], layers: Vec<LayerSpec>) -> SavedModel {
    saved(Model::new(inputs.to_vec(), layers, &[]).unwrap(), Loss::MeanSquaredError)
}

/// What a text becomes: one vector in several ways, or scores for each token.
pub fn all() -> Vec<Case> {
    let mut all = Vec::new();
    let text = ModelInput::packed_text("text");
    for mode in [Pooling::Cls, Pooling::Mean, Pooling::Max] {
        for normalize in [false, true] {
            let layers = vec![
                LayerSpec::new(encoder()).inputs(["text"]),
                LayerSpec::new(SequencePooling { mode, normalize }).inputs(["encoder", "text.segments"]),
            ];
            all.push(case(&format!("{mode:?} {normalize}"), model(&text, layers), true));
        }
    }
    let layers = vec![
        LayerSpec::new(TextEncoder { type_vocab_size: 0, ..encoder() }).inputs(["text"]),
        LayerSpec::new(MaskedLanguageHead { encoder: "encoder".into(), ..Default::default() }),
    ];
    all.push(case("masked language head", model(&text, layers), false));
    all
}

#[test]
fn texts_are_padded() {
    for case in all() {
        let file = check(&case);
        let names: Vec<&str> = file.model.graph.inputs.iter().map(|p| p.name.as_str()).collect();
        let types = case.questions[0].inputs.len() == 3;
        assert_eq!(names, ["input_ids", "attention_mask", "token_type_ids"][..if types { 3 } else { 2 }]);
        if !types {
            assert_eq!(file.model.graph.outputs[0].ty.to_string(), "float [batch, length, 40]");
        }
    }
}

#[test]
fn two_texts_have_lengths_of_their_own() {
    let mut inputs = ModelInput::packed_text("question");
    inputs.extend(ModelInput::packed_text("answer"));
    let side = |name: &str| {
        [
            LayerSpec::new(encoder()).name(format!("{name}_encoder")).inputs([name]),
            LayerSpec::new(SequencePooling::default())
                .name(format!("{name}_pooling"))
                .inputs([format!("{name}_encoder"), format!("{name}.segments")]),
        ]
    };
    let mut layers: Vec<LayerSpec> = side("question").into_iter().chain(side("answer")).collect();
    layers.push(LayerSpec::new(Concatenate::new()).inputs(["question_pooling", "answer_pooling"]));
    layers.push(Dense::new(3).into());
    let saved = model(&inputs, layers);
    let ((mut packed, a), (more, b)) = (texts("question", &[3, 5], 40, 1), texts("answer", &[8, 2], 40, 2));
    packed.extend(more);
    let questions = vec![Question { inputs: [a, b].concat(), outputs: ours(&saved, &packed) }];
    let file = check(&Case { name: "two texts".into(), saved, questions });
    let shapes: Vec<String> =
        file.model.graph.inputs.iter().map(|p| format!("{} {}", p.name, p.ty)).collect();
    assert_eq!(shapes[0], "question.input_ids int64 [batch, question_length]");
    assert_eq!(shapes[4], "answer.attention_mask int64 [batch, answer_length]");
}
