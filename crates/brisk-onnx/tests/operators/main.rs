//! Operators where ONNX's own suite does not reach: what is refused, and what only other implementations test.

use brisk_graph::{Shape, Tensor};
use brisk_onnx::{Attribute, Constant, Elem, Graph, Model, Node, Output, Port, Session, Type};
use brisk_runtime::{Cpu, State};

mod classical;
mod hostile;
mod whole;

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

    /// Whole numbers of a type.
    fn of(self, elem: Elem, shape: impl Into<Shape>, values: &[i64]) -> Case {
        self.input(Constant::ints(elem, shape, values.to_vec()).unwrap())
    }

    fn words(self, shape: impl Into<Shape>, values: &[&str]) -> Case {
        let list: Vec<String> = values.iter().map(|v| v.to_string()).collect();
        self.input(Constant::Texts(shape.into(), list.into()))
    }

    fn version(self, opset: i64) -> Case {
        Case { opset, ..self }
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
