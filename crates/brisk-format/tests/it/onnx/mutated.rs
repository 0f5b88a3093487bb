//! Models of the suite that were changed by chance: whatever is in them, they are refused or run, and soon.

use std::fs;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use brisk_format::{import_onnx, read_onnx};
use brisk_graph::{Data, Tensor};
use brisk_onnx::{Constant, Model, Output, Session};
use brisk_runtime::{Cpu, State};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::case::Case;
use super::suite::cases;
use crate::hostile::mutate;

/// The longest that a model may take to be refused or run, in a build without optimizations.
const PATIENCE: Duration = Duration::from_secs(60);

struct Good {
    name: String,
    bytes: Vec<u8>,
    json: Value,
    parameters: State,
    inputs: Vec<Option<Output>>,
}

static GOOD: LazyLock<Vec<Good>> = LazyLock::new(|| {
    let (_dir, paths) = cases();
    let good = |path: &std::path::PathBuf| {
        let case = Case::read(path).unwrap();
        let json = serde_json::to_value(&case.file.model).unwrap();
        assert!(serde_json::from_value::<Model>(json.clone()).is_ok(), "{}", path.display());
        Good {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            bytes: fs::read(path.join("model.onnx")).unwrap(),
            json,
            parameters: case.file.parameters,
            inputs: case.sets[0].inputs.clone(),
        }
    };
    paths.iter().map(good).collect()
});

static DEVICE: LazyLock<Cpu> = LazyLock::new(|| Cpu::new(1));

/// Says what was run if that panics: proptest only knows numbers.
struct Subject<'a>(&'a str, &'a Model);

impl Drop for Subject<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} as {}", self.0, serde_json::to_string(self.1).unwrap_or_default());
        }
    }
}

fn run(name: &str, model: &Model, parameters: State, inputs: Vec<Option<Output>>) {
    let _subject = Subject(name, model);
    let start = Instant::now();
    let error = Session::new(&*DEVICE, model, parameters).run(inputs).err();
    assert!(start.elapsed() < PATIENCE, "{name} took {:?}: {error:?}", start.elapsed());
}

/// What is done to a part of a model.
#[derive(Clone, Debug)]
enum Change {
    Number(i64),
    Float(&'static str),
    /// What stands elsewhere in the model.
    Copy(Index),
    Gone,
    Twice,
    /// Another input: with the same elements, as far as they go.
    Shape(Vec<usize>),
    NoInput,
}

fn change() -> impl Strategy<Value = Change> {
    let number = prop_oneof![
        -5i64..20,
        prop::sample::select(vec![i64::MIN, -(1 << 40), 1 << 31, 1 << 32, 1 << 40, 1 << 62, i64::MAX]),
    ];
    prop_oneof![
        5 => number.prop_map(Change::Number),
        1 => prop::sample::select(vec!["NaN", "inf", "-inf", "1e30", "-0.0"]).prop_map(Change::Float),
        3 => any::<Index>().prop_map(Change::Copy),
        2 => Just(Change::Gone),
        1 => Just(Change::Twice),
        3 => prop::collection::vec(0usize..5, 0..6).prop_map(Change::Shape),
        1 => Just(Change::NoInput),
    ]
}

/// The paths of everything in a value.
fn places(value: &Value, path: &str, to: &mut Vec<String>) {
    if !path.is_empty() {
        to.push(path.into());
    }
    match value {
        Value::Array(all) => {
            all.iter().enumerate().for_each(|(i, v)| places(v, &format!("{path}/{i}"), to));
        }
        Value::Object(all) => all.iter().for_each(|(key, v)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            places(v, &format!("{path}/{key}"), to);
        }),
        _ => {}
    }
}

/// Changes the part of a model at a place, or the input of its number.
fn apply(json: &mut Value, inputs: &mut [Option<Output>], at: Index, change: &Change) {
    let mut all = Vec::new();
    places(json, "", &mut all);
    let path = all[at.index(all.len())].clone();
    let (parent, key) = path.rsplit_once('/').unwrap();
    match change {
        Change::Number(n) => *json.pointer_mut(&path).unwrap() = (*n).into(),
        Change::Float(text) => *json.pointer_mut(&path).unwrap() = (*text).into(),
        Change::Copy(from) => {
            let other = json.pointer(&all[from.index(all.len())]).unwrap().clone();
            *json.pointer_mut(&path).unwrap() = other;
        }
        Change::Gone | Change::Twice => match json.pointer_mut(parent).unwrap() {
            Value::Array(list) => {
                let i: usize = key.parse().unwrap();
                match change {
                    Change::Twice => list.insert(i, list[i].clone()),
                    _ => drop(list.remove(i)),
                }
            }
            Value::Object(map) => drop(map.remove(&key.replace("~1", "/").replace("~0", "~"))),
            _ => {}
        },
        Change::Shape(_) | Change::NoInput if inputs.is_empty() => {}
        Change::Shape(dims) => {
            let i = at.index(inputs.len());
            if let Some(Output::Tensor(Constant::Numbers(elem, tensor))) = &inputs[i] {
                let n: usize = dims.iter().product();
                let values = tensor.to_f64s();
                let values: Vec<f64> = values.into_iter().chain(std::iter::repeat(1.0)).take(n).collect();
                let tensor = Tensor::from_f64s(tensor.dtype(), &dims[..], &values).unwrap();
                inputs[i] = Some(Output::Tensor(Constant::Numbers(*elem, tensor)));
            }
        }
        Change::NoInput => inputs[at.index(inputs.len())] = None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_changed_model_makes_it_panic(
        case in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), change()), 1..3),
    ) {
        let good = case.get(&GOOD);
        let (mut json, mut inputs) = (good.json.clone(), good.inputs.clone());
        for (at, change) in &changes {
            apply(&mut json, &mut inputs, *at, change);
        }
        if let Ok(model) = serde_json::from_value::<Model>(json) {
            run(&good.name, &model, good.parameters.clone(), inputs);
        }
    }

    /// Numbers that come in are not trusted either: they may be sizes, indices and scales.
    #[test]
    fn no_input_makes_it_panic(
        case in any::<Index>(),
        which in any::<Index>(),
        values in prop::collection::vec(prop_oneof![-3i64..5, Just(i64::MIN), Just(1 << 40), Just(i64::MAX)], 1..4),
    ) {
        let good = case.get(&GOOD);
        let mut inputs = good.inputs.clone();
        if !inputs.is_empty()
            && let Some(Output::Tensor(Constant::Numbers(elem, tensor))) = which.get(&inputs).clone()
        {
            let n = tensor.elements();
            let data: Data = match tensor.data() {
                Data::I64(_) => values.iter().copied().cycle().take(n).collect::<Vec<_>>().into(),
                _ => {
                    let floats = values.iter().map(|&v| v as f64).chain([f64::NAN]).cycle().take(n);
                    let floats: Vec<f64> = floats.collect();
                    Tensor::from_f64s(tensor.dtype(), [n], &floats).unwrap().data().clone()
                }
            };
            let tensor = Tensor::new(tensor.shape(), data).unwrap();
            *which.get_mut(&mut inputs) = Some(Output::Tensor(Constant::Numbers(elem, tensor)));
            let model = serde_json::from_value::<Model>(good.json.clone()).unwrap();
            run(&good.name, &model, good.parameters.clone(), inputs);
        }
    }

    #[test]
    fn no_changed_file_makes_it_panic(
        case in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.2, any::<Index>()),
    ) {
        let good = case.get(&GOOD);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.onnx");
        fs::write(&path, mutate(&good.bytes, &changes, cut)).unwrap();
        match read_onnx(&path) {
            Err(error) => prop_assert!(!error.is_io(), "{error}"),
            Ok(file) => {
                run(&good.name, &file.model, file.parameters.clone(), good.inputs.clone());
                drop(import_onnx(&path, file));
            }
        }
    }
}
