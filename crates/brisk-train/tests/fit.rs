//! The loop over batches of differing shapes: it learns, and stopping and going on changes nothing.

use brisk_data::{Batch, BatchIter, Batches};
use brisk_graph::Tensor;
use brisk_nn::prelude::*;
use brisk_nn::{LayerSpec, ModelInput, Rows, Unfreeze};
use brisk_runtime::{Cpu, State};
use brisk_train::{Fit, Flow, Hooks, Position};

/// Tokens of two kinds, to be told apart: batches of 3, 4 and 5 of them, one fewer batch every other epoch.
struct Words;

impl Batches for Words {
    fn samples(&self) -> usize {
        12
    }

    fn steps(&self, epoch: u64) -> usize {
        if epoch.is_multiple_of(2) { 3 } else { 2 }
    }

    fn epoch_from(&self, epoch: u64, step: usize) -> BatchIter<'_> {
        Box::new((step..self.steps(epoch)).map(move |step| {
            let tokens = 3 + step;
            let value = |i: usize| ((i * 7 + step * 3 + epoch as usize) % 11) as f32 / 11.0 - 0.5;
            let x: Vec<f32> = (0..tokens * 2).map(value).collect();
            // The first token of each batch has no tag.
            let tag = |i: usize| if i == 0 { -1 } else { i32::from(x[2 * i] > x[2 * i + 1]) };
            let tags: Vec<i32> = (0..tokens).map(tag).collect();
            let tensors = vec![
                ("words".to_string(), Tensor::new([tokens, 2], x.clone())?),
                ("tag".to_string(), Tensor::new([tokens], tags)?),
            ];
            Ok(Batch { tensors, indices: (0..3).collect() })
        }))
    }
}

fn task(rules: ParamRules) -> Task {
    let layers = vec![
        LayerSpec::new(Dense::new(8).activation(Tanh)),
        LayerSpec::new(Dropout::new(0.1)),
        LayerSpec::new(Dense::new(2)).name("tag"),
    ];
    let inputs = vec![ModelInput::new("words", [2]).rows(Rows::Tokens)];
    let model = Model::new(inputs, layers, &[]).expect("fits");
    let task = Task::with_outputs(model, vec![TaskOutput::new("tag", Loss::tags())]).expect("fits");
    Task { rules, ..task }
}

/// Stops after so many steps in all, and remembers the values of each epoch.
struct Watch {
    stop: u64,
    epochs: Vec<Vec<(String, f64)>>,
}

impl Hooks for Watch {
    fn on_step(&mut self, at: &Position, _: &[(&str, f64)], _: &State) -> brisk_train::Result<Flow> {
        Ok(if at.total == self.stop { Flow::Stop } else { Flow::Continue })
    }

    fn on_epoch(
        &mut self,
        _: &mut Position,
        values: &[(String, f64)],
        _: &State,
    ) -> brisk_train::Result<Flow> {
        self.epochs.push(values.to_vec());
        Ok(Flow::Continue)
    }
}

/// Trains, in as many goes as there are stops; a position goes over JSON in between, as in a checkpoint.
fn train(rules: ParamRules, accumulate: usize, stops: &[u64]) -> (State, Vec<Vec<(String, f64)>>) {
    let task = task(rules);
    let (device, optimizer) = (Cpu::new(2), Optimizer::adamw(0.02));
    let schedule: Schedule =
        serde_json::from_str(r#"{"linear_warmup": {"ratio": 0.2, "then": "linear"}}"#).expect("known");
    let fit = Fit {
        device: &device,
        task: &task,
        optimizer: &optimizer,
        schedule: &schedule,
        epochs: 40,
        accumulate,
        seed: 7,
    };
    let mut state = task.init_state(&optimizer, 3).expect("fits");
    for spec in task.accumulator_specs().expect("sound") {
        state.insert(spec.name, Tensor::zeros(brisk_graph::DType::F32, spec.shape));
    }
    let (mut at, mut epochs) = (Position::default(), Vec::new());
    for &stop in stops.iter().chain([&u64::MAX]) {
        let mut watch = Watch { stop, epochs: Vec::new() };
        fit.run(&Words, Some(&Words), &mut state, &mut at, &mut watch).expect("trains");
        epochs.extend(watch.epochs);
        at = serde_json::from_str(&serde_json::to_string(&at).expect("JSON")).expect("the same");
    }
    (state, epochs)
}

#[test]
fn tokens_of_differing_numbers_are_learned() {
    let (_, epochs) = train(ParamRules::default(), 1, &[]);
    let of = |epoch: usize, name: &str| epochs[epoch].iter().find(|v| v.0 == name).expect(name).1;
    assert_eq!(epochs.len(), 40);
    assert!(of(39, "loss") < 0.5 * of(0, "loss"), "{epochs:?}");
    assert!(of(39, "val_accuracy") > 0.85, "{epochs:?}");
}

#[test]
fn stopping_and_going_on_ends_in_the_same_bits() {
    let rules = ParamRules {
        frozen: vec!["dense".into()],
        unfreeze: vec![Unfreeze { epoch: 3, parameters: vec!["dense.kernel".into()] }],
        ..ParamRules::fine_tuning()
    };
    for accumulate in [1, 2] {
        let whole = train(rules.clone(), accumulate, &[]);
        let parts = train(rules.clone(), accumulate, &[1, 4, 5, 6, 33]);
        assert_eq!(whole, parts, "accumulate {accumulate}");
    }
}

#[test]
fn what_is_frozen_stays_until_its_epoch_comes() {
    let rules = |epoch| ParamRules {
        frozen: vec!["dense".into()],
        unfreeze: vec![Unfreeze { epoch, parameters: vec!["dense.kernel".into()] }],
        ..ParamRules::default()
    };
    let start = task(rules(1)).init_state(&Optimizer::adamw(0.02), 3).expect("fits");
    for (epoch, moves) in [(40, true), (41, false)] {
        let (state, _) = train(rules(epoch), 1, &[]);
        let moved = |name: &str| state.get(name) != start.get(name);
        assert_eq!((moved("dense.kernel"), moved("dense.bias"), moved("tag.kernel")), (moves, false, true));
    }
}
