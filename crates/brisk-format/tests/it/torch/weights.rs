//! Which module is which layer, and what is said of the others.

use std::fs;

use brisk_format::{Error, LoadReport, TorchFile, WeightRule};
use brisk_nn::prelude::*;
use brisk_nn::{LayerSpec, Model, ModelInput, zoo};
use brisk_runtime::State;

use super::write::{archive, tensor, text};

/// A state dict in which every number of the i-th tensor is i.
struct Weights(tempfile::TempDir);

impl Weights {
    fn new(tensors: &[(&str, &[usize])]) -> Weights {
        let count = tensors.len() as u64;
        let entry = |(i, (name, shape)): (usize, &(&str, &[usize]))| {
            let shape: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
            [text(name), tensor("0", count, i as u64, &shape, &vec![0; shape.len()]), b"s".to_vec()].concat()
        };
        let entries: Vec<u8> = tensors.iter().enumerate().flat_map(entry).collect();
        let pickle = [b"\x80\x02}".to_vec(), entries, b".".to_vec()].concat();
        let numbers: Vec<u8> = (0..count).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let dir = tempfile::tempdir().unwrap();
        let bytes = archive(&[("a/data.pkl", &pickle), ("a/data/0", &numbers)]);
        fs::write(dir.path().join("weights.pt"), bytes).unwrap();
        Weights(dir)
    }

    fn load(&self, model: &Model, rules: &[&str]) -> Result<(State, LoadReport), Error> {
        let file = TorchFile::open(&self.0.path().join("weights.pt")).unwrap();
        let rules: Vec<WeightRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        file.state_dict(None).unwrap().load_state(model, &rules)
    }

    /// What an error says.
    fn fault(&self, model: &Model, rules: &[&str]) -> String {
        self.load(model, rules).unwrap_err().to_string()
    }
}

/// Which tensor a parameter came from.
fn origin(state: &State, name: &str) -> Option<usize> {
    Some(state.get(name)?.to_f64s()[0] as usize)
}

fn dense(units: usize, name: &str) -> LayerSpec {
    LayerSpec::new(Dense::new(units)).name(name)
}

/// Three layers of the same shapes and one of others.
fn model() -> Model {
    let layers = vec![dense(4, "a"), dense(4, "b"), dense(4, "c"), dense(2, "head")];
    Model::from_layers([4], layers).unwrap()
}

const LAYERS: [(&str, &[usize]); 8] = [
    ("one.weight", &[4, 4]),
    ("one.bias", &[4]),
    ("two.weight", &[4, 4]),
    ("two.bias", &[4]),
    ("three.weight", &[4, 4]),
    ("three.bias", &[4]),
    ("last.weight", &[2, 4]),
    ("last.bias", &[2]),
];

#[test]
fn what_is_alike_is_matched_in_order() {
    let (state, report) = Weights::new(&LAYERS).load(&model(), &[]).unwrap();
    for (i, (_, theirs)) in report.loaded.iter().enumerate() {
        assert_eq!(*theirs, LAYERS[i].0);
        assert_eq!(origin(&state, &report.loaded[i].0), Some(i));
    }
    assert_eq!(report.loaded.len(), 8);
    assert_eq!(report.to_string(), "8 tensors loaded");
    assert_eq!(state.get("head.kernel").unwrap().shape().dims(), [4, 2]);
}

#[test]
fn rules_and_names_come_before_order() {
    let weights = Weights::new(&LAYERS);
    let (state, _) = weights.load(&model(), &["two -> c", "thr* -> b"]).unwrap();
    assert_eq!(["a.kernel", "b.kernel", "c.kernel"].map(|n| origin(&state, n)), [Some(0), Some(4), Some(2)]);
    // The same names in another order, after what stands before all of them, and with dots.
    let names = ["net.c.weight", "net.c.bias", "net.b.weight", "net.b.bias", "net.x.weight", "net.x.bias"];
    let mut tensors: Vec<(&str, &[usize])> = names.iter().zip(LAYERS).map(|(n, l)| (*n, l.1)).collect();
    tensors.extend([("net.y.weight", &[2, 4][..]), ("net.y.bias", &[2][..])]);
    let (state, _) = Weights::new(&tensors).load(&model(), &[]).unwrap();
    assert_eq!(["a.kernel", "b.kernel", "c.kernel"].map(|n| origin(&state, n)), [Some(4), Some(2), Some(0)]);
    let layers = ["f_1", "f_0"].map(|name| LayerSpec::new(Dense::new(2).use_bias(false)).name(name));
    let turned = Model::from_layers([2], layers.into()).unwrap();
    let weights = Weights::new(&[("f.0.weight", &[2, 2]), ("f.1.weight", &[2, 2])]);
    let (state, _) = weights.load(&turned, &[]).unwrap();
    assert_eq!(["f_0.kernel", "f_1.kernel"].map(|n| origin(&state, n)), [Some(0), Some(1)]);
}

#[test]
fn what_has_no_counterpart_is_said() {
    // Another head, one layer more, and a count.
    let mut tensors = LAYERS.to_vec();
    tensors[6].1 = &[3, 4];
    tensors[7].1 = &[3];
    tensors.push(("bn.num_batches_tracked", &[]));
    let (state, report) = Weights::new(&tensors).load(&model(), &[]).unwrap();
    assert_eq!(state.len(), 6);
    assert_eq!(
        report.to_string(),
        "6 tensors loaded\n\
         1 not needed: bn.num_batches_tracked (a count of batches, which has no use here)\n\
         2 unexpected, and not used: last.weight, last.bias\n\
         2 missing, and started fresh: head.kernel [4, 2], head.bias [2]"
    );
    // Of four that could be three, none is guessed.
    let mut tensors = LAYERS.to_vec();
    tensors.extend([("four.weight", &[4, 4][..]), ("four.bias", &[4][..])]);
    let (state, report) = Weights::new(&tensors).load(&model(), &[]).unwrap();
    assert_eq!((state.len(), report.unexpected.len(), report.fresh.len()), (2, 8, 6));
    let (state, report) = Weights::new(&tensors).load(&model(), &["one -> a"]).unwrap();
    assert_eq!((state.len(), report.unexpected.len(), report.fresh.len()), (4, 6, 4));
}

#[test]
fn rules_that_lead_nowhere_are_errors() {
    let weights = Weights::new(&LAYERS);
    for (rule, expected) in [
        ("one -> x", "rule one -> x: the model has no part \"x\"; there are: a, b, c, head"),
        ("five -> a", "rule five -> a fits nothing; there are: one, two, three, last"),
        ("one -> head", "rule one -> head: \"one\" is not \"head\": bias should be [2], found [4]"),
        ("one.bias -> head.bias", "\"head.bias\" should be [2], found \"one.bias\" of [4]"),
        ("t* -> a", "rule t* -> a: \"a\" is \"two\" already, by another rule or by this one"),
        ("one.bias -> head.x", "rule one.bias -> head.x: the model has no parameter \"head.x\""),
    ] {
        let error = weights.fault(&model(), &[rule]);
        assert!(error.contains(expected), "{error}");
    }
    // A rule for a single tensor comes before its module.
    let (state, _) = weights.load(&model(), &["one.bias -> c.bias"]).unwrap();
    assert_eq!(["a.bias", "c.bias", "c.kernel"].map(|n| origin(&state, n)), [Some(1), Some(1), Some(4)]);
}

/// The tensors of PyTorch's ResNet-18 for small pictures, in its order.
fn resnet18() -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let conv = |all: &mut Vec<_>, conv: String, norm: String, [out, into, size]: [usize; 3]| {
        all.push((format!("{conv}.weight"), vec![out, into, size, size]));
        for role in ["weight", "bias", "running_mean", "running_var"] {
            all.push((format!("{norm}.{role}"), vec![out]));
        }
        all.push((format!("{norm}.num_batches_tracked"), vec![]));
    };
    conv(&mut all, "conv1".into(), "bn1".into(), [64, 3, 3]);
    for (stage, out) in [64usize, 128, 256, 512].into_iter().enumerate() {
        for block in 0..2 {
            let name = format!("layer{}.{block}", stage + 1);
            let into = if block == 0 && stage > 0 { out / 2 } else { out };
            conv(&mut all, format!("{name}.conv1"), format!("{name}.bn1"), [out, into, 3]);
            conv(&mut all, format!("{name}.conv2"), format!("{name}.bn2"), [out, out, 3]);
            if into != out {
                let around = format!("{name}.downsample");
                conv(&mut all, format!("{around}.0"), format!("{around}.1"), [out, into, 1]);
            }
        }
    }
    all.extend([("fc.weight".into(), vec![10, 512]), ("fc.bias".into(), vec![10])]);
    all
}

#[test]
fn norms_that_stand_in_another_order_are_not_guessed() {
    // Brisk's own ResNet has the way around before the convolutions, PyTorch's behind: their norms are all alike.
    let model = zoo::resnet18_cifar([32, 32, 3], 10).unwrap();
    let tensors = resnet18();
    let tensors: Vec<(&str, &[usize])> = tensors.iter().map(|(n, s)| (n.as_str(), s.as_slice())).collect();
    let place = |name: &str| tensors.iter().position(|t| t.0 == name);
    let weights = Weights::new(&tensors);
    let (state, report) = weights.load(&model, &[]).unwrap();
    assert_eq!(origin(&state, "stage2_block1_around_conv.kernel"), place("layer2.0.downsample.0.weight"));
    assert_eq!(origin(&state, "stage1_block2_2_norm.beta"), place("layer1.1.bn2.bias"));
    assert_eq!(origin(&state, "stage2_block1_around_norm.gamma"), None);
    assert!(report.unexpected.contains(&"layer2.0.bn1.weight".to_string()));
    let rules = [
        "layer*.0.downsample.1 -> stage*_block1_around_norm",
        "layer*.0.bn* -> stage*_block1_*_norm",
        "layer*.1.bn* -> stage*_block2_*_norm",
        "layer*.0.conv* -> stage*_block1_*_conv",
        "layer*.1.conv* -> stage*_block2_*_conv",
    ];
    let (state, report) = weights.load(&model, &rules).unwrap();
    assert!(report.fresh.is_empty() && report.unexpected.is_empty(), "{report}");
    for (ours, theirs) in [
        ("stem_norm.gamma", "bn1.weight"),
        ("stage2_block1_around_norm.gamma", "layer2.0.downsample.1.weight"),
        ("stage2_block1_1_norm.moving_mean", "layer2.0.bn1.running_mean"),
        ("stage4_block2_2_norm.moving_variance", "layer4.1.bn2.running_var"),
        ("stage4_block2_2_conv.kernel", "layer4.1.conv2.weight"),
        ("head.bias", "fc.bias"),
    ] {
        assert_eq!(origin(&state, ours), place(theirs), "{ours}");
    }
}

#[test]
fn what_is_in_another_order_is_said() {
    let layers = vec![
        LayerSpec::new(Conv2D::new(2, 2)).name("conv"),
        LayerSpec::new(Flatten {}),
        LayerSpec::new(Dense::new(3)).name("fc"),
    ];
    let model = Model::from_layers([3, 3, 1], layers).unwrap();
    let tensors: [(&str, &[usize]); 4] =
        [("c.weight", &[2, 1, 2, 2]), ("c.bias", &[2]), ("fc.weight", &[3, 8]), ("fc.bias", &[3])];
    let (_, report) = Weights::new(&tensors).load(&model, &[]).unwrap();
    assert!(report.to_string().contains("1 in another order: fc.kernel (its inputs stand as"), "{report}");
}

#[test]
fn recurrent_layers_have_names_of_their_own() {
    let inputs = vec![ModelInput::new("x", [5, 3])];
    let layers = vec![
        LayerSpec::new(LSTM::new(2).return_sequences(true)).name("low"),
        LayerSpec::new(LSTM::new(2)).name("high"),
    ];
    let model = Model::new(inputs, layers, &[]).unwrap();
    let roles: [(&str, &[usize]); 8] = [
        ("rnn.weight_ih_l0", &[8, 3]),
        ("rnn.weight_hh_l0", &[8, 2]),
        ("rnn.bias_ih_l0", &[8]),
        ("rnn.bias_hh_l0", &[8]),
        ("rnn.weight_ih_l1", &[8, 2]),
        ("rnn.weight_hh_l1", &[8, 2]),
        ("rnn.bias_ih_l1", &[8]),
        ("rnn.bias_hh_l1", &[8]),
    ];
    let weights = Weights::new(&roles);
    let (state, _) = weights.load(&model, &["rnn.l1 -> high"]).unwrap();
    assert_eq!(origin(&state, "high.recurrent_kernel"), Some(5));
    assert_eq!(origin(&state, "high.bias"), Some(6 + 7));
    let error = weights.fault(&model, &["rnn.l1 -> low"]);
    assert!(error.contains("\"rnn.l1\" is not \"low\": weight_ih should be [8, 3], found [8, 2]"), "{error}");
    // Projections are not Brisk's.
    let mut roles = roles[..4].to_vec();
    roles.push(("rnn.weight_hr_l0", &[1, 2]));
    let (state, report) = Weights::new(&roles).load(&model, &[]).unwrap();
    assert!(state.is_empty() && report.unexpected.len() == 5, "{report}");
}
