//! Operators where ONNX's own suite does not reach: what is refused, and what only other implementations test.

use brisk_graph::{Shape, Tensor};
use brisk_onnx::{Attribute, Constant, Elem, Graph, Model, Node, Output, Port, Session, Type};
use brisk_runtime::{Cpu, State};

const ML: &str = "ai.onnx.ml";

/// A call of one operator.
struct Case {
    node: Node,
    inputs: Vec<Option<Constant>>,
    opset: i64,
}

fn call(domain: &str, op: &str) -> Case {
    let node = Node { op: op.into(), domain: domain.into(), ..Node::default() };
    Case { node, inputs: Vec::new(), opset: 25 }
}

impl Case {
    fn with(mut self, name: &str, attribute: Attribute) -> Case {
        self.node.attributes.insert(name.into(), attribute);
        self
    }

    fn int(self, name: &str, value: i64) -> Case {
        self.with(name, Attribute::Int(value))
    }

    fn ints(self, name: &str, values: &[i64]) -> Case {
        self.with(name, Attribute::Ints(values.to_vec()))
    }

    fn numbers(self, name: &str, values: &[f32]) -> Case {
        self.with(name, Attribute::Floats(values.to_vec()))
    }

    fn text(self, name: &str, value: &str) -> Case {
        self.with(name, Attribute::String(value.into()))
    }

    fn texts(self, name: &str, values: &[&str]) -> Case {
        self.with(name, Attribute::Strings(values.iter().map(|v| v.to_string()).collect()))
    }

    fn input(mut self, constant: Constant) -> Case {
        self.inputs.push(Some(constant));
        self
    }

    fn floats(self, shape: impl Into<Shape>, values: &[f32]) -> Case {
        self.input(Constant::Numbers(Elem::Float, Tensor::new(shape, values.to_vec()).unwrap()))
    }

    /// Floats from 0 to 1 in a fixed order.
    fn some(self, shape: impl Into<Shape>) -> Case {
        let shape = shape.into();
        let values: Vec<f32> = (0..shape.elements()).map(|i| (i * 7 % 11) as f32 / 11.0).collect();
        self.floats(shape, &values)
    }

    fn whole(self, shape: impl Into<Shape>, values: &[i64]) -> Case {
        self.input(Constant::ints(Elem::Int64, shape, values.to_vec()).unwrap())
    }

    fn words(self, shape: impl Into<Shape>, values: &[&str]) -> Case {
        let list: Vec<String> = values.iter().map(|v| v.to_string()).collect();
        self.input(Constant::Texts(shape.into(), list.into()))
    }

    fn skip(mut self) -> Case {
        self.inputs.push(None);
        self
    }

    fn run(mut self, outputs: usize) -> Result<Vec<Constant>, String> {
        let name = |prefix: &str, i: usize| format!("{prefix}{i}");
        let port = |name: String| Port { name, ty: Type::Unknown };
        let taken: Vec<usize> = (0..self.inputs.len()).filter(|&i| self.inputs[i].is_some()).collect();
        self.node.inputs = (0..self.inputs.len())
            .map(|i| if self.inputs[i].is_some() { name("x", i) } else { String::new() })
            .collect();
        self.node.outputs = (0..outputs).map(|i| name("y", i)).collect();
        let graph = Graph {
            inputs: taken.iter().map(|&i| port(name("x", i))).collect(),
            outputs: (0..outputs).map(|i| port(name("y", i))).collect(),
            nodes: vec![self.node],
            ..Graph::default()
        };
        let opsets = [("", self.opset), (ML, 5)].map(|(d, v)| (d.to_string(), v)).into();
        let model = Model { opsets, graph, ..Model::default() };
        let device = Cpu::new(1);
        let mut session = Session::new(&device, &model, State::new());
        let inputs = self.inputs.into_iter().flatten().map(|c| Some(Output::Tensor(c))).collect();
        let found = session.run(inputs).map_err(|e| e.to_string())?;
        found
            .into_iter()
            .map(|o| if let Output::Tensor(c) = o { Ok(c) } else { Err("no tensor".into()) })
            .collect()
    }

    /// One result of floats, within 1e-4.
    #[track_caller]
    fn is(self, shape: &[usize], expected: &[f64]) {
        self.nth(0, 1, shape, expected);
    }

    #[track_caller]
    fn nth(self, i: usize, outputs: usize, shape: &[usize], expected: &[f64]) {
        let found = self.run(outputs).unwrap();
        let Constant::Numbers(_, tensor) = &found[i] else {
            panic!("expected numbers, found {:?}", found[i])
        };
        assert_eq!(tensor.shape().dims(), shape);
        let close = |(f, e): (&f64, &f64)| (f - e).abs() < 1e-4;
        let values = tensor.to_f64s();
        assert!(values.len() == expected.len() && values.iter().zip(expected).all(close), "{values:?}");
    }

    #[track_caller]
    fn fails(self, message: &str) {
        match self.run(1) {
            Ok(_) => panic!("it should fail with {message:?}"),
            Err(found) => assert!(found.contains(message), "{found}"),
        }
    }
}

#[test]
fn attention_refuses_what_does_not_fit() {
    let heads = |q, k| call("", "Attention").int("q_num_heads", q).int("kv_num_heads", k);
    heads(3, 1).some([1, 2, 8]).some([1, 2, 8]).some([1, 2, 8]).fails("8 columns cannot be divided");
    heads(0, 0).some([1, 2, 8]).some([1, 2, 8]).some([1, 2, 8]).fails("8 columns cannot be divided");
    heads(i64::MAX, 1).some([1, 2, 8]).some([1, 2, 8]).some([1, 2, 8]).fails("8 columns cannot be divided");
    heads(2, 4).some([1, 2, 8]).some([1, 2, 8]).some([1, 2, 8]).fails("do not fit");
    let of_four = || call("", "Attention").some([1, 2, 3, 4]).some([1, 2, 5, 4]).some([1, 2, 5, 4]);
    of_four().some([3, 6]).fails("a mask [3, 6] does not fit");
    of_four().some([1, 1, 1, 3, 5]).fails("does not fit scores");
    of_four().skip().some([1, 2, 1, 4]).fails("past keys and past values");
    of_four().int("left_window_size", -2).fails("attribute left_window_size");
    of_four().int("qk_matmul_output_mode", 4).fails("attribute qk_matmul_output_mode");
    of_four().int("softmax_precision", 7).fails("expected a float type");
    let wide = of_four().int("left_window_size", i64::MAX).int("right_window_size", i64::MAX).run(1).unwrap();
    assert_eq!(wide, of_four().run(1).unwrap());
}

#[test]
fn states_and_tables_must_fit() {
    let linear = || {
        call("", "LinearAttention").int("q_num_heads", 2).int("kv_num_heads", 1).text("update_rule", "linear")
    };
    linear().some([1, 2, 4]).some([1, 2, 3]).some([1, 2, 2]).fails("do not fit");
    linear().some([1, 2, 4]).some([1, 2, 2]).some([1, 2, 2]).some([1, 1, 2, 3]).fails("expected a state");
    linear().some([1, 2, 4]).some([1, 2, 2]).some([1, 2, 2]).skip().some([1, 2, 1]).fails("update rule");
    call("", "CausalConvWithState").some([1, 2, 4]).some([3, 1, 2]).fails("does not fit");
    call("", "CausalConvWithState").some([1, 2, 4]).some([2, 1, 0]).fails("does not fit");
    let rotary = || call("", "RotaryEmbedding").some([1, 2, 3, 4]);
    rotary().some([1, 3, 1]).some([1, 3, 1]).fails("expected angles");
    rotary().int("rotary_embedding_dim", 6).some([1, 3, 3]).some([1, 3, 3]).fails("cannot turn 6 of 4");
    rotary().int("rotary_embedding_dim", 3).some([1, 3, 1]).some([1, 3, 1]).fails("even number");
}

#[test]
fn transforms_of_any_length_agree_with_their_definition() {
    // 60 is taken apart, 7 is not; a shift by one place turns frequency k by k / n.
    for n in [7usize, 60] {
        let mut values = vec![0.0; n];
        values[1] = 1.0;
        let angles = (0..n).map(|k| std::f64::consts::TAU * k as f64 / n as f64);
        let expected: Vec<f64> = angles.flat_map(|a| [a.cos(), -a.sin()]).collect();
        call("", "DFT").floats([1, n, 1], &values).is(&[1, n, 2], &expected);
    }
}

#[test]
fn signals_have_limits() {
    call("", "DFT").some([1, 8, 3]).fails("along the last axis, found 3");
    call("", "DFT").int("onesided", 1).some([1, 8, 2]).fails("two sides");
    call("", "DFT").some([1, 8, 1]).whole([0; 0], &[1 << 40]).fails("operand 1: expected a number between");
    call("", "DFT").some([1, 8, 1]).whole([0; 0], &[4_001]).fails("prime length");
    call("", "DFT").some([1, 8, 1]).skip().whole([0; 0], &[2]).fails("cannot transform axis 2");
    call("", "HannWindow").whole([0; 0], &[i64::MAX]).fails("expected a number between");
    call("", "HannWindow").int("periodic", 0).whole([0; 0], &[1]).is(&[1], &[0.0]);
    call("", "STFT").some([1, 8, 1]).whole([0; 0], &[0]).fails("operand 1: expected a number between 1");
    call("", "STFT")
        .some([1, 8, 1])
        .whole([0; 0], &[1])
        .skip()
        .whole([0; 0], &[9])
        .fails("pieces of 9 do not fit");
    let mel = |bands, hertz| {
        let sizes = [bands, 16, 8000].into_iter();
        let case = sizes.fold(call("", "MelWeightMatrix"), |c, v| c.whole([0; 0], &[v]));
        case.floats([0; 0], &[0.0]).floats([0; 0], &[hertz])
    };
    mel(1 << 22, 4000.0).fails("are too many");
    mel(4, f32::NAN).fails("expected a frequency");
}

#[test]
fn pictures_and_their_places_must_fit() {
    call("", "GridSample").some([1, 2, 3, 3]).some([1, 2, 2, 3]).fails("does not fit pictures");
    call("", "GridSample")
        .some([1, 2, 3, 3])
        .some([1, 2, 2, 2])
        .text("mode", "quintic")
        .fails("attribute mode");
    call("", "GridSample").some([1, 2, 0, 3]).some([1, 2, 2, 2]).fails("expected pictures");
    call("", "AffineGrid").some([1, 2, 3]).whole([4], &[1, 1, -1, 2]).fails("-1 is no size");
    call("", "AffineGrid").some([1, 2, 3]).whole([4], &[1, 1, 1 << 40, 1 << 40]).fails("too large");
    let columns = |image: [i64; 2]| call("", "Col2Im").some([1, 4, 4]).whole([2], &image).whole([2], &[2, 2]);
    columns([4, 4]).fails("is not windows of [2, 2]");
    columns([i64::MAX, 3]).fails("is not windows of [2, 2]");
    columns([i64::MAX, i64::MAX]).fails("are too many");
    columns([3, 3]).ints("pads", &[i64::MAX, i64::MAX, i64::MAX, i64::MAX]).fails("do not fit");
    columns([0, 3]).fails("sizes of at least 1");
    let deformed =
        |groups| call("", "DeformConv").int("offset_group", groups).some([1, 2, 3, 3]).some([1, 2, 2, 2]);
    deformed(1).some([1, 8, 3, 3]).fails("expected offsets [1, 8, 2, 2]");
    deformed(i64::MAX).some([1, 8, 2, 2]).fails("groups of offsets does not fit");
    deformed(0).some([1, 8, 2, 2]).fails("attribute offset_group");
}

#[test]
fn regions_are_pooled_over_whole_cells() {
    let values: Vec<f32> = (0..16).map(|v| v as f32).collect();
    let pool = |regions: &[f32]| {
        let case = call("", "MaxRoiPool").ints("pooled_shape", &[2, 2]).floats([1, 1, 4, 4], &values);
        case.floats([regions.len() / 5, 5], regions)
    };
    pool(&[0.0, 0.0, 0.0, 3.0, 3.0, 0.0, 2.0, 1.0, 9.0, 1.0]).is(
        &[2, 1, 2, 2],
        // The second reaches out of the picture: what is empty is 0.
        &[5.0, 7.0, 13.0, 15.0, 7.0, 0.0, 7.0, 0.0],
    );
    pool(&[1.0, 0.0, 0.0, 3.0, 3.0]).fails("a region is of picture 1");
    let align = |ratio| call("", "RoiAlign").int("sampling_ratio", ratio).some([1, 1, 4, 4]);
    align(1 << 40).some([1, 4]).whole([1], &[0]).fails("are too many");
    align(0).floats([1, 4], &[0.0, 0.0, 1e30, 1e30]).whole([1], &[0]).fails("are too many");
    align(0).some([1, 3]).whole([1], &[0]).fails("[regions, 4]");
}

#[test]
fn texts_are_bounded_and_patterns_stay_in_their_group() {
    let matched =
        |pattern: &str| call("", "RegexFullMatch").text("pattern", pattern).words([3], &["ab", "abc", "b"]);
    matched("a|b").is(&[3], &[0.0, 0.0, 1.0]);
    matched("a.").is(&[3], &[1.0, 0.0, 0.0]);
    matched("a)|(?:b").fails("attribute pattern");
    matched("(x{1000}){1000}").fails("attribute pattern");
    call("", "StringConcat").words([2], &["a", "b"]).words([3], &["c", "d", "e"]).fails("do not fit");
    let long = "a ".repeat(1 << 15);
    let many: Vec<&str> = std::iter::once(long.as_str()).chain(std::iter::repeat_n("", 1 << 13)).collect();
    call("", "StringSplit").words([many.len()], &many).fails("texts may have");
    let split = call("", "StringSplit").int("maxsplit", 1).words([2], &[" a  b c ", ""]).run(2).unwrap();
    let parts = ["a", "b c", "", ""].map(String::from).to_vec();
    assert_eq!(split[0], Constant::Texts([2, 2].into(), parts.into()));
    assert_eq!(split[1], Constant::ints(Elem::Int64, [2], vec![2, 0]).unwrap());
    call("", "StringNormalizer").words([2, 2], &["a", "b", "c", "d"]).fails("expected texts [n] or [1, n]");
}

#[test]
fn ngrams_are_weighted_by_their_place_in_the_pool() {
    let counts = |mode: &str| {
        let case = call("", "TfIdfVectorizer")
            .text("mode", mode)
            .int("min_gram_length", 1)
            .int("max_gram_length", 2);
        let case = case
            .int("max_skip_count", i64::MAX)
            .ints("ngram_counts", &[0, 2])
            .numbers("weights", &[2.0, 3.0, 5.0]);
        case.texts("pool_strings", &["a", "b", "a", "b"])
    };
    let words = ["a", "a", "c", "b"];
    // Columns: "a b" with any distance, "a", "b".
    counts("TF").ints("ngram_indexes", &[1, 2, 0]).words([4], &words).is(&[3], &[2.0, 2.0, 1.0]);
    counts("IDF").ints("ngram_indexes", &[1, 2, 0]).words([4], &words).is(&[3], &[5.0, 2.0, 3.0]);
    counts("TFIDF").ints("ngram_indexes", &[1, 2, 0]).words([4], &words).is(&[3], &[10.0, 4.0, 3.0]);
    counts("TF").ints("ngram_indexes", &[1, 2]).words([4], &words).fails("too few numbers");
    counts("TF").ints("ngram_indexes", &[1, 2, i64::MAX]).words([4], &words).fails("are too many");
}

/// Two trees of one test each: `x0 <= 1` and `x1 > 0`.
fn trees(op: &str, prefix: &str, ids: &[i64], weights: &[f32]) -> Case {
    let of = |name: &str| format!("{prefix}_{name}");
    call(ML, op)
        .ints("nodes_treeids", &[0, 0, 0, 1, 1, 1])
        .ints("nodes_nodeids", &[0, 1, 2, 0, 1, 2])
        .ints("nodes_featureids", &[0, 0, 0, 1, 0, 0])
        .texts("nodes_modes", &["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_GT", "LEAF", "LEAF"])
        .numbers("nodes_values", &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
        .ints("nodes_truenodeids", &[1, 0, 0, 1, 0, 0])
        .ints("nodes_falsenodeids", &[2, 0, 0, 2, 0, 0])
        .ints("nodes_missing_value_tracks_true", &[1, 0, 0, 0, 0, 0])
        .ints(&of("treeids"), &[0, 0, 1, 1])
        .ints(&of("nodeids"), &[1, 2, 1, 2])
        .ints(&of("ids"), ids)
        .numbers(&of("weights"), weights)
}

const ROWS: [f32; 6] = [0.0, 1.0, 2.0, -1.0, f32::NAN, f32::NAN];

#[test]
fn trees_vote_together() {
    let of = |how: &str| {
        trees("TreeEnsembleRegressor", "target", &[0; 4], &[1.0, 2.0, 10.0, 20.0])
            .text("aggregate_function", how)
            .floats([3, 2], &ROWS)
    };
    of("SUM").is(&[3, 1], &[11.0, 22.0, 21.0]);
    of("AVERAGE").is(&[3, 1], &[5.5, 11.0, 10.5]);
    of("MIN").is(&[3, 1], &[1.0, 2.0, 1.0]);
    of("MAX").numbers("base_values", &[0.5]).is(&[3, 1], &[10.5, 20.5, 20.5]);
    let of = |ids: &[i64]| {
        trees("TreeEnsembleClassifier", "class", ids, &[1.0, 0.25, -3.0, 0.5])
            .ints("classlabels_int64s", &[7, 9])
            .floats([3, 2], &ROWS)
    };
    of(&[0, 1, 0, 1]).nth(0, 2, &[3], &[9.0, 9.0, 7.0]);
    of(&[0, 1, 0, 1]).nth(1, 2, &[3, 2], &[-2.0, 0.0, 0.0, 0.75, 1.0, 0.5]);
    // One class alone is voted for: the other has the rest.
    of(&[1; 4]).nth(1, 2, &[3, 2], &[3.0, -2.0, 0.25, 0.75, -0.5, 1.5]);
}

#[test]
fn trees_lead_somewhere() {
    let of = || trees("TreeEnsembleRegressor", "target", &[0; 4], &[1.0, 2.0, 10.0, 20.0]);
    of().ints("nodes_truenodeids", &[0, 0, 0, 1, 0, 0]).floats([3, 2], &ROWS).fails("circle");
    of().ints("nodes_truenodeids", &[5, 0, 0, 1, 0, 0]).floats([3, 2], &ROWS).fails("tree 0 has no node 5");
    of().floats([6, 1], &ROWS).fails("tests feature 1 of 1");
    of().ints("target_ids", &[0, 1, 0, 0]).floats([3, 2], &ROWS).fails("a leaf is for target 1 of 1");
    of().int("n_targets", i64::MAX).floats([3, 2], &ROWS).fails("are too many");
    of().ints("nodes_treeids", &[0, 0]).floats([3, 2], &ROWS).fails("different lengths");
}

#[test]
fn classical_models() {
    let linear =
        || call(ML, "LinearClassifier").numbers("coefficients", &[1.0, -1.0]).numbers("intercepts", &[0.5]);
    let linear =
        || linear().texts("classlabels_strings", &["no", "yes"]).floats([2, 2], &[1.0, 0.0, 0.0, 2.0]);
    linear().nth(1, 2, &[2, 2], &[-1.5, 1.5, 1.5, -1.5]);
    let names = ["yes", "no"].map(String::from).to_vec();
    assert_eq!(linear().run(2).unwrap()[0], Constant::Texts([2].into(), names.into()));
    linear().text("post_transform", "ROOT").fails("attribute post_transform");
    call(ML, "LinearRegressor")
        .numbers("coefficients", &[1.0, 2.0, 3.0])
        .some([2, 2])
        .fails("3 numbers for 2 columns");
    call(ML, "LinearRegressor")
        .int("targets", 2)
        .numbers("coefficients", &[1.0; 2])
        .some([2, 2])
        .fails("for 2 targets");
    call(ML, "LinearRegressor")
        .numbers("coefficients", &[1.0])
        .text("post_transform", "PROBIT")
        .floats([3, 1], &[0.5, 0.975, 0.0])
        .is(&[3, 1], &[0.0, 1.95905, 0.0]);
    call(ML, "Scaler").numbers("offset", &[1.0, 2.0, 3.0]).some([2, 2]).fails("expected 1 or 2 numbers");
    call(ML, "Scaler")
        .numbers("offset", &[1.0])
        .numbers("scale", &[2.0, 3.0])
        .floats([2], &[2.0, 3.0])
        .is(&[2], &[2.0, 6.0]);
    call(ML, "Normalizer").floats([2, 2], &[-4.0, 2.0, 0.0, 0.0]).is(&[2, 2], &[-2.0, 1.0, 0.0, 0.0]);
    call(ML, "Normalizer").text("norm", "L1").floats([1, 2], &[-4.0, 1.0]).is(&[1, 2], &[-0.8, 0.2]);
    call(ML, "Imputer")
        .numbers("imputed_value_floats", &[7.0])
        .with("replaced_value_float", Attribute::Float(f32::NAN))
        .floats([2], &[1.0, f32::NAN])
        .is(&[2], &[1.0, 7.0]);
    call(ML, "OneHotEncoder")
        .ints("cats_int64s", &[3, 5])
        .whole([2], &[5, 4])
        .is(&[2, 2], &[0.0, 1.0, 0.0, 0.0]);
    call(ML, "OneHotEncoder")
        .int("zeros", 0)
        .ints("cats_int64s", &[3, 5])
        .whole([2], &[5, 4])
        .fails("attribute zeros");
    call(ML, "FeatureVectorizer")
        .ints("inputdimensions", &[1, 3])
        .floats([1, 2], &[1.0, 2.0])
        .floats([1, 2], &[3.0, 4.0])
        .is(&[1, 4], &[1.0, 3.0, 4.0, 0.0]);
    call(ML, "FeatureVectorizer")
        .ints("inputdimensions", &[1, i64::MAX])
        .some([1, 2])
        .some([1, 2])
        .fails("too large");
    call(ML, "ArrayFeatureExtractor").some([2, 2]).whole([1], &[2]).fails("out of range");
}

#[test]
fn labels_of_any_kind() {
    let encode = || call(ML, "LabelEncoder");
    encode()
        .numbers("keys_floats", &[1.5, f32::NAN, 1.5])
        .ints("values_int64s", &[1, 2, 3])
        .floats([3], &[1.5, f32::NAN, 0.0])
        .is(&[3], &[3.0, 2.0, -1.0]);
    let names = encode()
        .ints("keys_int64s", &[i64::MAX, 0])
        .texts("values_strings", &["last", "first"])
        .whole([2], &[i64::MAX - 1, i64::MAX]);
    let expected = ["_Unused", "last"].map(String::from).to_vec();
    assert_eq!(names.run(1).unwrap()[0], Constant::Texts([2].into(), expected.into()));
    encode()
        .ints("keys_int64s", &[1, 2])
        .ints("values_int64s", &[1])
        .whole([1], &[1])
        .fails("2 keys have 1 values");
    encode().ints("keys_int64s", &[]).ints("values_int64s", &[]).whole([1], &[1]).is(&[1], &[-1.0]);
    encode()
        .texts("keys_strings", &["a"])
        .ints("values_int64s", &[1])
        .whole([1], &[1])
        .fails("of another type");
}

#[test]
fn losses_and_steps_must_fit() {
    call("", "SoftmaxCrossEntropyLoss").some([2, 3]).whole([3], &[0, 1, 2]).fails("labels [3] do not fit");
    call("", "NegativeLogLikelihoodLoss")
        .some([2, 3])
        .whole([2], &[0, 1])
        .some([2])
        .fails("expected 3 weights");
    call("", "NegativeLogLikelihoodLoss").some([2]).whole([2], &[0, 1]).fails("expected [n, classes, ...]");
    let adam = || call("ai.onnx.preview.training", "Adam").some([0; 0]).whole([0; 0], &[0]);
    adam().some([2]).some([2]).some([2]).fails("expected 4 operands for each tensor, found 3");
    adam().some([2]).some([2]).some([2]).some([3]).fails("different shapes");
}
