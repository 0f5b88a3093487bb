//! Models whose weights come from PyTorch compute what PyTorch computes, and learn what it learns.

use std::fs;
use std::path::PathBuf;

use brisk_format::{LoadReport, StateDict, TorchFile, TorchValue, WeightRule};
use brisk_graph::{Builder, DType, Role, Tensor, Value, grad};
use brisk_nn::{Context, Model};
use brisk_runtime::{Cpu, Device, Options, State};
use brisk_testkit::assert_close;

use super::golden;

/// A model that PyTorch made.
struct Case {
    name: String,
    file: TorchFile,
    model: Model,
    rules: Vec<WeightRule>,
}

impl Case {
    fn open(path: PathBuf) -> Case {
        let file = TorchFile::open(&path).unwrap();
        let text = |value: &TorchValue| match value {
            TorchValue::Text(text) => text.clone(),
            other => panic!("expected a text, found {other:?}"),
        };
        let model = serde_json::from_str(&text(file.value("model").unwrap())).unwrap();
        let rules = file.values().filter(|(name, _)| name.starts_with("rules."));
        let rules = rules.map(|(_, rule)| text(rule).parse().unwrap()).collect();
        Case { name: path.file_stem().unwrap().display().to_string(), file, model, rules }
    }

    fn part(&self, key: &str) -> StateDict<'_> {
        self.file.state_dict(Some(key)).unwrap()
    }

    /// Parameters from a part of the file that is like its state dict; all of them are there.
    fn state(&self, key: &str) -> (State, LoadReport) {
        let (state, report) = self.part(key).load_state(&self.model, &self.rules).unwrap();
        assert!(report.fresh.is_empty() && report.unexpected.is_empty(), "{}: {report}", self.name);
        (state, report)
    }

    /// The outputs in evaluation; or, in training, the loss and its gradients by Brisk's names.
    fn run(&self, state: &State, training: bool) -> Vec<(String, Tensor)> {
        let inputs = self.part("inputs");
        let mut given: Vec<(String, Tensor)> =
            inputs.names().map(|n| (n.to_string(), inputs.tensor(n).unwrap())).collect();
        let b = Builder::new();
        let key = b.input("random", Role::Scalar, [2], DType::I32);
        let mut cx = if training { Context::training(&b, key) } else { Context::new(&b) };
        let input = |(name, t): &(String, Tensor)| b.input(name, Role::Batch, t.shape(), t.dtype());
        let values: Vec<Value<'_>> = given.iter().map(input).collect();
        let results = self.model.forward_all(&mut cx, &values).unwrap();
        let targets = self.part("targets");
        let names: Vec<&str> = targets.names().collect();
        let graph = if training {
            let mut loss = b.fill(0.0, [0usize; 0]);
            for (&name, y) in names.iter().zip(results) {
                let target = targets.tensor(name).unwrap();
                let difference =
                    y - b.input(&format!("target/{name}"), Role::Batch, target.shape(), DType::F32);
                loss = loss + difference.square().sum_all() * (1.0 / target.elements() as f64);
                given.push((format!("target/{name}"), target));
            }
            let params: Vec<(String, Value<'_>)> = cx.trainable().map(|(n, v)| (n.to_string(), v)).collect();
            let gradients = grad(loss, &params.iter().map(|p| p.1).collect::<Vec<_>>()).unwrap();
            let mut outputs = vec![("loss", loss)];
            outputs.extend(params.iter().map(|p| p.0.as_str()).zip(gradients));
            b.finish(&outputs, cx.updates()).unwrap()
        } else {
            b.finish(&names.into_iter().zip(results).collect::<Vec<_>>(), &[]).unwrap()
        };
        given.push(("random".into(), Tensor::new([2], vec![1, 2]).unwrap()));
        let mut program = Cpu::new(2).compile(&graph, &Options::default()).unwrap();
        let given: Vec<(&str, &Tensor)> = given.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let results = program.run(&given, &mut state.clone()).unwrap();
        graph.outputs.iter().map(|o| o.0.clone()).zip(results).collect()
    }
}

fn cases() -> Vec<Case> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(golden("models")).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    assert_eq!(paths.len(), 18);
    paths.into_iter().map(Case::open).collect()
}

#[test]
fn models_say_what_they_say_in_pytorch() {
    for case in cases() {
        let (state, _) = case.state("state_dict");
        let outputs = case.part("outputs");
        for (name, found) in case.run(&state, false) {
            let wanted = outputs.tensor(&name).unwrap();
            assert_eq!(found.shape(), wanted.shape(), "{} {name}", case.name);
            let what = format!("{} {name}", case.name);
            assert_close(&what, &found.to_f64s(), &wanted.to_f64s(), 1e-5, 1e-5);
        }
    }
}

#[test]
fn models_learn_what_they_learn_in_pytorch() {
    for case in cases() {
        let (state, _) = case.state("state_dict");
        let (gradients, _) = case.state("gradients");
        for (name, found) in case.run(&state, true) {
            let what = format!("{} {name}", case.name);
            let wanted = match gradients.get(&name) {
                Some(gradient) => gradient.to_f64s(),
                None => match case.file.value("loss") {
                    Some(&TorchValue::Float(loss)) => vec![loss],
                    other => panic!("{what}: {other:?}"),
                },
            };
            assert_close(&what, &found.to_f64s(), &wanted, 1e-4, 1e-4);
        }
    }
}
