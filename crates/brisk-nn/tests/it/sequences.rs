//! Masks: they flow as in Keras, and padding never changes a result.

use std::collections::HashMap;

use brisk_graph::{Builder, DType, Role, Tensor, Value, grad};
use brisk_nn::{Context, LayerConfig, LayerSpec, Result};
use brisk_testkit::{Random, assert_close};
use proptest::prelude::*;

use crate::run::RUNNERS;

/// Models over tokens that keep padding out, as lists of layers; one with inputs gets what the embedding yields as the second.
const MODELS: &[&str] = &[
    "[{LSTM: {units: 5}}]",
    "[{GRU: {units: 5, go_backwards: true}}]",
    "[{SimpleRNN: {units: 5}}]",
    "[{LSTM: {units: 4, return_sequences: true}}, {Dropout: {rate: 0.5}}, {GRU: {units: 3}}]",
    "[{LSTM: {units: 4, return_sequences: true, go_backwards: true}}, {LSTM: {units: 3}}]",
    "[{Bidirectional: {layer: {GRU: {units: 4, return_sequences: true}}}}, GlobalAveragePooling1D]",
    "[{Dense: {units: 4, activation: relu}}, LayerNormalization, {Bidirectional: {layer: {LSTM: {units: 3}}, merge_mode: sum}}]",
    "[{TimeDistributed: {layer: {Dense: {units: 4}}}}, {Activation: {activation: tanh}}, RMSNormalization, GlobalAveragePooling1D]",
    "[{MultiHeadAttention: {num_heads: 2, key_dim: 4}}, GlobalAveragePooling1D]",
    "[{MultiHeadAttention: {num_heads: 4, key_dim: 2, value_dim: 3, num_kv_heads: 2, use_causal_mask: true, rope_max_wavelength: 100}}, {LSTM: {units: 3}}]",
    "[{TransformerEncoder: {num_heads: 2, intermediate_dim: 7, dropout: 0.5}}, GlobalAveragePooling1D]",
    "[{TransformerEncoder: {num_heads: 3, intermediate_dim: 5, normalize_first: true}}, {TransformerDecoder: {num_heads: 2, intermediate_dim: 4}}, GlobalAveragePooling1D]",
    "[{PositionEmbedding: {sequence_length: 16}}, {TransformerEncoder: {num_heads: 2, intermediate_dim: 4}}, GlobalAveragePooling1D]",
    "[{RotaryEmbedding: {num_heads: 3}}, {TransformerDecoder: {num_heads: 3, intermediate_dim: 4, rope_max_wavelength: 50}}, GlobalAveragePooling1D]",
    "[{LSTM: {units: 4, return_sequences: true}}, {TransformerDecoder: {inputs: [memory], num_heads: 2, intermediate_dim: 4}}, GlobalAveragePooling1D]",
    "[{GRU: {units: 4, return_sequences: true}}, {MultiHeadAttention: {inputs: [memory], num_heads: 2, key_dim: 3}}, GlobalAveragePooling1D]",
    "[SinePositionEncoding, {GRU: {units: 3}}]",
];

fn specs(text: &str) -> Vec<LayerSpec> {
    serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn layers(text: &str) -> Vec<LayerConfig> {
    specs(text).into_iter().map(|s| s.layer).collect()
}

/// Embeds tokens and applies layers.
fn apply<'g>(cx: &mut Context<'g>, layers: &[LayerSpec], tokens: Value<'g>) -> Result<Value<'g>> {
    let embedding: LayerConfig = brisk_nn::Embedding::new(9, 6).mask_zero(true).into();
    let embedded = cx.layer("embedding", embedding.as_layer(), &[tokens])?;
    let mut x = embedded;
    for (i, spec) in layers.iter().enumerate() {
        let inputs = if spec.inputs.is_empty() { vec![x] } else { vec![x, embedded] };
        x = cx.layer(&i.to_string(), spec.layer.as_layer(), &inputs)?;
    }
    Ok(x)
}

/// The result for some texts, padded to a length, and the gradients by all parameters.
fn results(layers: &[LayerSpec], texts: &[Vec<i32>], length: usize) -> Vec<HashMap<String, Tensor>> {
    let b = Builder::new();
    let tokens = b.input("tokens", Role::Batch, [texts.len(), length], DType::I32);
    let mut cx = Context::new(&b);
    let y = apply(&mut cx, layers, tokens).expect("fits");
    let cotangent = b.input("cotangent", Role::Batch, y.shape(), DType::F32);
    let params: Vec<_> = cx.params().to_vec();
    let by: Vec<_> = params.iter().map(|p| p.1).collect();
    let gradients = grad((y * cotangent).sum_all(), &by).expect("gradients");
    let names: Vec<String> = params.iter().map(|p| format!("gradient of {}", p.0.name)).collect();
    let mut outputs = vec![("y", y)];
    outputs.extend(names.iter().map(String::as_str).zip(gradients));
    let graph = b.finish(&outputs, &[]).expect("a graph");
    let padded = texts.iter().flat_map(|t| t.iter().copied().chain(vec![0; length - t.len()]));
    let mut given = HashMap::from([(
        "tokens".to_string(),
        Tensor::new([texts.len(), length], padded.collect::<Vec<i32>>()).expect("tokens"),
    )]);
    let mut random = Random::new(11);
    let shapes = params.iter().map(|p| (p.0.name.clone(), p.0.shape.clone()));
    for (name, shape) in shapes.chain([("cotangent".to_string(), y.shape())]) {
        let values = random.floats(&shape, -0.8, 0.8).to_f64s();
        given.insert(name, Tensor::from_f64s(DType::F32, shape, &values).expect("a parameter"));
    }
    RUNNERS.iter().map(|(_, run, ..)| run(&graph, &given)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn padding_changes_no_result_and_no_gradient(
        texts in proptest::collection::vec(proptest::collection::vec(1i32..9, 1..7), 1..6),
        more in 1usize..5,
    ) {
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        for model in MODELS {
            let layers = specs(model);
            let (short, long) = (results(&layers, &texts, longest), results(&layers, &texts, longest + more));
            for (short, long) in short.iter().zip(&long) {
                for (name, want) in short {
                    assert_close(&format!("{model}: {name}"), &long[name].to_f64s(), &want.to_f64s(), 1e-5, 1e-5);
                }
            }
        }
    }
}

#[test]
fn masking_leaves_out_steps_of_one_value() {
    let b = Builder::new();
    let short = b.input("short", Role::Batch, [2, 3, 4], DType::F32);
    let long = b.concat(&[short, b.fill(7.0, [2, 2, 4])], 1);
    let layers = layers("[{Masking: {mask_value: 7}}, {LSTM: {units: 3}}]");
    let mut cx = Context::new(&b);
    let want = cx.layer("lstm", layers[1].as_layer(), &[short]).expect("fits");
    let masked = cx.layer("masking", layers[0].as_layer(), &[long]).expect("fits");
    let got = cx.layer("lstm", layers[1].as_layer(), &[masked]).expect("fits");
    let graph = b.finish(&[("want", want), ("got", got)], &[]).expect("a graph");
    let mut random = Random::new(3);
    let given = graph.inputs.iter().map(|input| {
        let shape = &graph.node(input.id).shape;
        let values = random.floats(shape, -0.9, 0.9).to_f64s();
        (input.name.clone(), Tensor::from_f64s(DType::F32, shape, &values).expect("values"))
    });
    let given: HashMap<_, _> = given.collect();
    for (runner, run, ..) in RUNNERS {
        let results = run(&graph, &given);
        assert_eq!(results["got"], results["want"], "by {runner}");
    }
}

#[test]
fn layers_that_change_the_steps_drop_the_mask() {
    let b = Builder::new();
    let tokens = b.input("tokens", Role::Batch, [2, 6], DType::I32);
    let mut kept = Vec::new();
    for text in [
        "[{Dense: {units: 3}}]",
        "[{LSTM: {units: 3, return_sequences: true}}]",
        "[{LSTM: {units: 3}}]",
        "[{Conv1D: {filters: 3, kernel_size: 3, padding: same}}]",
        "[{MaxPooling1D: {pool_size: 2}}]",
        "[GlobalAveragePooling1D]",
        "[Flatten]",
        "[{MultiHeadAttention: {num_heads: 2, key_dim: 3}}]",
        "[SinePositionEncoding, RotaryEmbedding, {PositionEmbedding: {sequence_length: 6}}]",
        "[{TransformerEncoder: {num_heads: 2, intermediate_dim: 3}}]",
        "[{TransformerDecoder: {num_heads: 2, intermediate_dim: 3, normalize_first: true}}]",
    ] {
        let mut cx = Context::new(&b);
        let y = cx.scope(text, |cx| apply(cx, &specs(text), tokens)).expect("fits");
        kept.push(cx.mask(y).is_some());
    }
    assert_eq!(kept, [true, true, false, false, false, false, false, true, true, true, true]);
}

#[test]
fn the_state_that_is_left_starts_another_layer() {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [2, 6, 3], DType::F32);
    let mut cx = Context::new(&b);
    let layer = |more: &str| layers(&format!("[{{LSTM: {{units: 4{more}}}}}]")).remove(0);
    let whole = cx.layer("lstm", layer("").as_layer(), &[x]).expect("fits");
    let first =
        cx.layer("lstm", layer(", return_state: true").as_layer(), &[x.slice(1, 0, 4)]).expect("fits");
    let state = cx.state_of(first).expect("asked for");
    let second = cx.layer("lstm", layer("").as_layer(), &[x.slice(1, 4, 6), state]).expect("fits");
    let loss = (second * second).sum_all();
    let by: Vec<_> = cx.trainable().map(|p| p.1).chain([x]).collect();
    let own = grad((whole * whole).sum_all(), &by).expect("gradients");
    let apart = grad(loss, &by).expect("gradients");
    let mut outputs = vec![("whole".to_string(), whole), ("halves".to_string(), second)];
    for (i, (a, b)) in own.into_iter().zip(apart).enumerate() {
        outputs.extend([(format!("whole {i}"), a), (format!("halves {i}"), b)]);
    }
    let outputs: Vec<_> = outputs.iter().map(|(n, v)| (n.as_str(), *v)).collect();
    let graph = b.finish(&outputs, &[]).expect("a graph");
    let mut random = Random::new(3);
    let given = graph.inputs.iter().map(|input| {
        let shape = &graph.node(input.id).shape;
        let values = random.floats(shape, -0.9, 0.9).to_f64s();
        (input.name.clone(), Tensor::from_f64s(DType::F32, shape, &values).expect("values"))
    });
    let given: HashMap<_, _> = given.collect();
    for (runner, run, ..) in RUNNERS {
        let results = run(&graph, &given);
        for (name, want) in results.iter().filter(|r| r.0.starts_with("whole")) {
            let got = &results[&name.replace("whole", "halves")];
            assert_close(&format!("{name} by {runner}"), &got.to_f64s(), &want.to_f64s(), 1e-5, 1e-5);
        }
    }
}

#[test]
fn mistakes_say_what_to_do() {
    let b = Builder::new();
    let mut cx = Context::new(&b);
    let x = b.input("x", Role::Batch, [2, 6], DType::F32);
    let s = b.input("s", Role::Batch, [2, 6, 3], DType::F32);
    let mut error = |name: &str, text: &str, inputs: &[Value<'_>]| {
        let inputs: Vec<_> = inputs.iter().map(|v| if v.id() == x.id() { x } else { s }).collect();
        cx.layer(name, layers(text)[0].as_layer(), &inputs).expect_err("a mistake").to_string()
    };
    let e = error("a", "[{LSTM: {units: 4}}]", &[x]);
    assert!(e.contains("expected sequences [length, features], found [6]; put Embedding"), "{e}");
    let e = error("b", "[{GRU: {units: 0}}]", &[s]);
    assert!(e.contains("expected units of 1 to"), "{e}");
    let e = error("c", "[{LSTM: {units: 4}}]", &[s, x]);
    assert!(e.contains("expected an initial state of 8 numbers a sample, found [6]"), "{e}");
    let e = error("d", "[{Embedding: {input_dim: 4, output_dim: 2}}]", &[s]);
    assert!(e.contains("expected numbers of tokens [length], found [6, 3]"), "{e}");
    let e = error("e", "[{Bidirectional: {layer: {Dense: {units: 4}}}}]", &[s]);
    assert!(e.contains("expected a recurrent layer"), "{e}");
    let e = error("f", "[{LSTM: {units: 4, bias_initializer: ones}}]", &[s]);
    assert!(e.contains("unit_forget_bias needs bias_initializer: zeros"), "{e}");
    let e = error("g", "[{Conv1D: {filters: 4, kernel_size: 9}}]", &[s]);
    assert!(e.contains("does not fit"), "{e}");
    let e = error("h", "[{MultiHeadAttention: {num_heads: 4, key_dim: 2, num_kv_heads: 3}}]", &[s]);
    assert!(e.contains("expected num_kv_heads that divides the 4 heads, found 3"), "{e}");
    let e = error("i", "[{MultiHeadAttention: {num_heads: 4, key_dim: 3, rope_max_wavelength: 10}}]", &[s]);
    assert!(e.contains("expected 4 heads of an even size, found 12 numbers a step"), "{e}");
    let e = error("j", "[{MultiHeadAttention: {num_heads: 4294967296, key_dim: 4294967296}}]", &[s]);
    assert!(e.contains("expected num_heads of 1 to"), "{e}");
    let e = error("k", "[{MultiHeadAttention: {num_heads: 2, key_dim: 2}}]", &[s, s, s, s]);
    assert!(e.contains("takes a query, and maybe a value and a key; found 4 inputs"), "{e}");
    let e = error("l", "[{TransformerEncoder: {num_heads: 2, intermediate_dim: 4}}]", &[s]);
    assert!(e.contains("expected features that 2 heads can share, found [6, 3]"), "{e}");
    let e = error("m", "[{TransformerDecoder: {num_heads: 3, intermediate_dim: 4, dropout: 1}}]", &[s]);
    assert!(e.contains("expected dropout from 0 to below 1, found 1"), "{e}");
    let e = error("n", "[{PositionEmbedding: {sequence_length: 5}}]", &[s]);
    assert!(e.contains("expected sequences of at most 5 steps, found 6"), "{e}");
    let e = error("o", "[{SinePositionEncoding: {max_wavelength: 0}}]", &[s]);
    assert!(e.contains("expected a max_wavelength above 0, found 0"), "{e}");
}

#[test]
fn models_name_the_state_that_a_layer_leaves() {
    let model = |encoder: &str| {
        let text = format!(
            "input_shape: [6, 3]\nlayers:\n- LSTM: {{name: encoder, units: 4{encoder}}}\n\
             - GRU: {{name: half, units: 8, inputs: [input, encoder.state], return_sequences: true}}\n\
             - GlobalAveragePooling1D\n- Dense: {{units: 2}}\n"
        );
        serde_saphyr::from_str::<brisk_nn::Model>(&text).map_err(|e| e.to_string())
    };
    let kept = model(", return_state: true").expect("a model");
    assert_eq!(kept.layers()[1].inputs, [brisk_nn::Source::Input(0), brisk_nn::Source::State(0)]);
    let text = serde_json::to_string(&kept).expect("text");
    assert!(text.contains("encoder.state"), "{text}");
    assert_eq!(serde_json::from_str::<brisk_nn::Model>(&text).expect("the same"), kept);
    let error = model("").expect_err("no state");
    assert!(
        error.contains("it leaves no state for \"half\"; use a recurrent layer with return_state: true"),
        "{error}"
    );
}
