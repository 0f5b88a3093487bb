//! Rules over parameters and losses of text models against PyTorch.

use std::collections::HashMap;

use brisk_graph::{Builder, Role, Tensor, grad};
use brisk_nn::prelude::*;
use brisk_nn::{Accumulation, Lora, Rows, Shapes, TaskOutput, Unfreeze};
use brisk_nn::{LayerSpec, ModelInput};
use brisk_runtime::{Cpu, Device, Options};
use brisk_testkit::{assert_close, goldens};
use serde_json::json;

use crate::optimizers::{f32, part};
use crate::run::{RUNNERS, interpreted};

fn model() -> Model {
    Sequential::new([5])
        .add(Dense::new(8))
        .add(LayerNormalization::new())
        .add(Dense::new(3))
        .build()
        .expect("fits")
}

fn task(rules: ParamRules) -> Task {
    Task { rules, ..Task::new(model(), Loss::sparse_categorical_crossentropy()) }
}

#[test]
fn three_steps_with_rules_agree_with_pytorch() {
    let adamw = json!({"adamw": {"learning_rate": 0.02, "weight_decay": 0.1, "epsilon": 1e-10}});
    let optimizer: Optimizer = serde_json::from_value(adamw).expect("known");
    let schedule: Schedule =
        serde_json::from_value(json!({"linear_warmup": {"ratio": 0.25, "then": "linear"}})).expect("known");
    for case in goldens("fine_tuning") {
        let task = task(serde_json::from_value(case.about["rules"].clone()).expect("rules"));
        let graph = task.train_graph(&optimizer, 6).expect("fits");
        let specs = task.param_specs().expect("sound");
        let updated: Vec<_> = graph.updates.iter().map(|u| graph.inputs[u.0].name.as_str()).collect();
        let slots = optimizer.slot_specs(&specs).len();
        let trained = specs.iter().filter(|s| s.trainable).count();
        assert_eq!((updated.len(), slots), (3 * trained, 2 * trained), "{}: {updated:?}", case.name);
        for (runner, run, rtol, atol) in RUNNERS {
            let start = task.init_state(&optimizer, 0).expect("fits");
            let mut given: HashMap<String, Tensor> =
                start.iter().map(|(n, t)| (n.to_string(), t.clone())).collect();
            given.extend(["x", "y"].map(|n| (n.to_string(), case.tensor(n).clone())));
            given.insert("key".into(), Tensor::new([2], vec![0, 0]).expect("a key"));
            given.extend(specs.iter().map(|s| (s.name.clone(), case.tensor(&s.name).clone())));
            for step in 0..3 {
                // Six updates in all, of which two are warmup.
                let rate = schedule.rate(optimizer.learning_rate(), step as u64, 6);
                given.extend(task.rules.scalars(&optimizer, rate, step as u64, |_| 0));
                let results = run(&graph, &given);
                let name = |what: &str| format!("{} {what} of step {step} by {runner}", case.name);
                let loss = part(case.tensor("loss"), step).to_f64s();
                assert_close(&name("loss"), &results["loss"].to_f64s(), &loss, rtol, atol);
                for spec in &specs {
                    let want = part(case.tensor(&format!("{}_after", spec.name)), step).to_f64s();
                    let got = results.get(&spec.name).unwrap_or(&given[&spec.name]).to_f64s();
                    // Adam divides by the size of the gradient: where that is rounding, so is the step.
                    assert_close(&name(&spec.name), &got, &want, rtol.max(1e-5), atol.max(3e-5));
                }
                given.extend(results.iter().map(|(n, t)| (n.clone(), f32(t))));
            }
        }
    }
}

#[test]
fn text_losses_agree_with_pytorch() {
    for case in goldens("text_losses") {
        let loss: Loss = serde_json::from_value(json!({case.text("loss"): case.about["config"]}))
            .unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let b = Builder::new();
        let input = |role: &str| case.find(role).map(|t| b.input(role, Role::Batch, t.shape(), t.dtype()));
        let (p, y) = (input("y_pred").expect("predictions"), input("y_true"));
        assert_eq!(y.is_some(), loss.has_target(), "{}", case.name);
        let mean = loss.mean(p, y.unwrap_or(p)).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let gradient = grad(mean, &[p]).expect("a gradient")[0];
        let graph = b.finish(&[("loss", mean), ("grad_y_pred", gradient)], &[]).expect("a graph");
        let given: HashMap<_, _> = ["y_pred", "y_true"]
            .iter()
            .filter_map(|r| case.find(r).map(|t| (r.to_string(), t.clone())))
            .collect();
        for (runner, run, rtol, atol) in RUNNERS {
            let results = run(&graph, &given);
            for role in ["loss", "grad_y_pred"] {
                let name = format!("{} {role} by {runner}", case.name);
                let want = case.tensor(role).to_f64s();
                assert_close(&name, &results[role].to_f64s(), &want, rtol.max(1e-5), atol.max(2e-6));
            }
        }
    }
}

/// The parameters that a step changes.
fn trained(task: &Task, epoch: usize) -> Vec<String> {
    let graph = task.train_graph_at(&Optimizer::sgd(0.1), 2, Accumulation::Off, epoch).expect("fits");
    graph.updates.iter().map(|u| graph.inputs[u.0].name.clone()).collect()
}

#[test]
fn parameters_thaw_epoch_by_epoch() {
    let task = task(ParamRules {
        frozen: vec!["dense".into(), "layer_normalization".into()],
        unfreeze: vec![Unfreeze { epoch: 2, parameters: vec!["layer_normalization".into()] }],
        ..ParamRules::default()
    });
    let head = ["dense_1.kernel", "dense_1.bias"];
    let norm = ["layer_normalization.gamma", "layer_normalization.beta"];
    assert_eq!(trained(&task, 0), head);
    assert_eq!(trained(&task, 1), [norm, head].concat());
    assert_eq!(trained(&task, 9), [norm, head].concat());
    let slots = task.init_state(&Optimizer::adam(0.1), 1).expect("fits");
    assert!(slots.get("optimizer/dense.kernel/m").is_none(), "what is never trained needs no slots");
    assert!(slots.get("optimizer/layer_normalization.gamma/m").is_some());
    let all = ParamRules { frozen: vec!["*".into()], ..ParamRules::default() };
    let error = Task { rules: all, ..task }.train_graph(&Optimizer::sgd(0.1), 2).expect_err("nothing");
    assert!(error.to_string().contains("every parameter is frozen"), "{error}");
}

#[test]
fn a_model_with_its_additions_merged_says_the_same() {
    let lora = Lora { rank: 2, alpha: Some(3.0), parameters: vec!["kernel".into()], merge: true };
    let task = task(ParamRules { lora: Some(lora), ..ParamRules::default() });
    let mut state = task.init_state(&Optimizer::sgd(0.1), 3).expect("fits");
    for spec in task.param_specs().expect("sound") {
        let t = Initializer::HeUniform.tensor(5, &spec.name, spec.shape.clone()).expect("small");
        state.insert(spec.name, t);
    }
    let merged = task.rules.merge(&state).expect("fits");
    let plain = Task { rules: ParamRules::default(), ..task.clone() };
    assert_eq!(merged.len(), plain.param_specs().expect("sound").len());
    let x = Initializer::HeUniform.tensor(1, "x", [4, 5]).expect("small");
    let said = |task: &Task, state: &brisk_runtime::State| {
        let mut given: HashMap<_, _> = state.iter().map(|(n, t)| (n.to_string(), t.clone())).collect();
        given.insert("x".into(), x.clone());
        interpreted(&task.predict_graph(4).expect("fits"), &given)["probabilities"].to_f64s()
    };
    assert_close("merged", &said(&plain, &merged), &said(&task, &state), 1e-5, 1e-6);
}

/// A model over a number, a padded text and packed tokens, with an output a sample and one a token.
fn several() -> Task {
    let mut inputs = vec![ModelInput::new("size", [1])];
    inputs.push(ModelInput::new("tokens", [3]).rows(Rows::Tokens));
    let layers = vec![
        LayerSpec::new(Dense::new(4)).name("price").inputs(["size"]),
        LayerSpec::new(Dense::new(2)).name("tag").inputs(["tokens"]),
    ];
    let model = Model::new(inputs, layers, &["price".into(), "tag".into()]).expect("fits");
    let tag = TaskOutput { weight: 0.5, ..TaskOutput::new("tag", Loss::tags()) };
    Task::with_outputs(model, vec![TaskOutput::new("price", Loss::MeanSquaredError), tag]).expect("fits")
}

#[test]
fn outputs_of_samples_and_tokens_are_trained_together() {
    let task = several();
    let tensor = |shape: &[usize], start: f32| {
        let n = shape.iter().product::<usize>();
        Tensor::new(shape.to_vec(), (0..n).map(|i| start + i as f32 / 3.0).collect::<Vec<_>>()).expect("fits")
    };
    let batch = [
        ("size".to_string(), tensor(&[2, 1], 0.5)),
        ("tokens".into(), tensor(&[5, 3], -1.0)),
        ("price".into(), tensor(&[2, 4], 0.0)),
        ("tag".into(), Tensor::new([5], vec![1, -1, 0, -1, -1]).expect("five")),
    ];
    let shapes = Shapes::from(&batch[..]);
    assert_eq!(
        task.measures(),
        ["loss", "price_loss", "price_mean_absolute_error", "tag_loss", "tag_accuracy"]
    );
    task.train_graph(&Optimizer::adam(0.1), shapes.clone()).expect("fits").verify().expect("sound");
    let graph = task.eval_graph(shapes).expect("fits");
    let mut given: HashMap<_, _> = batch.into_iter().collect();
    let state = task.model.init_state(1).expect("fits");
    given.extend(state.iter().map(|(n, t)| (n.to_string(), t.clone())));
    for (runner, run, rtol, atol) in RUNNERS {
        let results = run(&graph, &given);
        let of = |name: &str| results[name].to_f64s()[0];
        assert_close(runner, &[of("loss")], &[of("price_loss") + 0.5 * of("tag_loss")], rtol, atol);
        // Two of five tags count.
        let said = results["tag"].to_f64s();
        let loss = -(said[1].ln() + said[4].ln()) / 2.0;
        assert_close(runner, &[of("tag_loss")], &[loss], rtol, 1e-5);
        let hits = f64::from(u8::from(said[1] > said[0]) + u8::from(said[4] > said[5])) / 2.0;
        assert_eq!(of("tag_accuracy"), hits);
        let values: Vec<f64> = graph.outputs[..task.scalars()].iter().map(|o| of(&o.0)).collect();
        assert_eq!(task.weights(&values, 2), [2.0, 2.0, 2.0, 2.0, 2.0]);
        assert_eq!(of("tag/count"), 2.0);
        assert_eq!(results["price"].shape().dims(), [2, 4]);
    }
    let error = task.train_graph(&Optimizer::adam(0.1), 3).expect_err("tokens").to_string();
    assert_eq!(error, "batch \"tokens\": its sizes differ from batch to batch; give the batch's tensors");
}

#[test]
fn gradient_checkpointing_takes_less_memory_and_changes_no_step() {
    let layer = || TransformerEncoder::new(96, 4).dropout(0.2);
    let model = Sequential::new([6, 8]).add(layer()).add(layer()).add(layer()).add(layer());
    let model = model.add(GlobalAveragePooling1D::default()).add(Dense::new(3)).build().expect("fits");
    let plain = Task::new(model, Loss::sparse_categorical_crossentropy());
    let saving = Task { gradient_checkpointing: true, ..plain.clone() };
    let optimizer = Optimizer::sgd(0.5);
    let [one, other] = [&plain, &saving].map(|t| t.train_graph(&optimizer, 4).expect("fits"));
    assert!(other.nodes.len() > one.nodes.len());
    let values = |n: usize| (0..n).map(|i| ((i * 7919) % 1009) as f32 / 500.0 - 1.0).collect::<Vec<_>>();
    let state = plain.init_state(&optimizer, 1).expect("fits");
    let mut given: HashMap<_, _> = state.iter().map(|(n, t)| (n.to_string(), t.clone())).collect();
    given.insert("x".into(), Tensor::new([4, 6, 8], values(4 * 6 * 8)).expect("fits"));
    given.insert("y".into(), Tensor::new([4], (0..4).map(|i| i % 3).collect::<Vec<i32>>()).expect("fits"));
    given.insert("key".into(), Tensor::new([2], vec![3, 4]).expect("a key"));
    given.extend(optimizer.scalars(0.5, 0).into_iter().map(|(n, t)| (n.to_string(), t)));
    for (runner, run, rtol, atol) in RUNNERS {
        let (want, got) = (run(&one, &given), run(&other, &given));
        assert_eq!(want.len(), got.len());
        for (name, want) in &want {
            assert_close(&format!("{name} by {runner}"), &got[name].to_f64s(), &want.to_f64s(), rtol, atol);
        }
    }
    let memory = |task: &Task| {
        let graph = task.train_graph(&optimizer, 500).expect("fits");
        Cpu::new(2).compile(&graph, &Options::default()).expect("fits").facts().arena_bytes
    };
    let (all, less) = (memory(&plain), memory(&saving));
    assert!(less < all * 2 / 3, "{less} bytes, not much less than {all}");
}
