//! What the compiler makes of whole models: regions and tiles, what is fused, memory, and what it costs at least. A change here is a
//! change in speed or memory; `UPDATE_EXPECT=1` accepts it. Plans are the same at every SIMD level.

use brisk_graph::{DType, Graph, Tensor};
use brisk_nn::zoo;
use brisk_nn::{
    Dense, LayerSpec, Loss, Model, ModelInput, Optimizer, SequencePooling, Shapes, Task, TextEncoder,
};
use brisk_runtime::{Cpu, Device, Machine, Options};
use expect_test::{ExpectFile, expect_file};

fn check(graph: &Graph, expected: ExpectFile) {
    let machine = Machine { gflops: Some(100.0), bandwidth_gbs: Some(20.0), ..Machine::default() };
    let options = Options { guard: Some("loss".into()), ..Options::default() };
    let program = Cpu::new(2).with_machine(machine).compile(graph, &options).expect("a sound graph");
    expected.assert_eq(&program.explain());
}

#[test]
fn a_step_of_cifar10_cnn() {
    let preset = zoo::preset("cifar10-cnn").expect("there");
    let model = (preset.build)(preset.input_shape.to_vec().into(), 10).expect("fits");
    let mut task = Task::new(model, Loss::sparse_categorical_crossentropy());
    task.outputs[0].metrics.clear();
    check(
        &task.train_graph(&Optimizer::adam(1e-3), 32).expect("fits"),
        expect_file!["plans/cifar10-cnn-train-b32.txt"],
    );
}

/// One layer over four texts of 64 tokens.
fn encoder() -> (Task, Shapes) {
    let encoder = TextEncoder {
        vocab_size: 1000,
        hidden_size: 128,
        num_layers: 1,
        num_heads: 2,
        intermediate_size: 256,
        max_positions: 64,
        type_vocab_size: 2,
        ..TextEncoder::default()
    };
    let layers = vec![
        LayerSpec::new(encoder).inputs(["text"]),
        LayerSpec::new(SequencePooling::default()).inputs(["encoder", "text.segments"]),
        Dense::new(2).into(),
    ];
    let model = Model::new(ModelInput::packed_text("text"), layers, &[]).expect("fits");
    let mut task = Task::new(model, Loss::sparse_categorical_crossentropy());
    task.outputs[0].metrics.clear();
    let tensor = |name: &str, shape: &[usize]| (name.to_string(), Tensor::zeros(DType::I32, shape.to_vec()));
    let batch = [
        tensor("text.ids", &[256]),
        tensor("text.positions", &[256]),
        tensor("text.types", &[256]),
        tensor("text.segments", &[4, 2]),
        tensor("y", &[4]),
    ];
    (task, Shapes::from(&batch[..]))
}

#[test]
fn a_step_of_an_encoder() {
    let (task, shapes) = encoder();
    check(
        &task.train_graph(&Optimizer::adam(1e-3), shapes).expect("fits"),
        expect_file!["plans/encoder-train-4x64.txt"],
    );
}

#[test]
fn answers_of_an_encoder() {
    let (task, shapes) = encoder();
    check(&task.predict_graph(shapes).expect("fits"), expect_file!["plans/encoder-infer-4x64.txt"]);
}
