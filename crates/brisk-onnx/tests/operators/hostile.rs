//! Calls that no exporter writes: each is refused, with an error that says what does not fit.

use brisk_onnx::Constant;

use super::{Case, ML, call};

#[test]
fn windows_fit_into_their_pictures() {
    let up = || call("", "ConvTranspose").some([1, 1, 4, 4]).some([1, 1, 3, 3]);
    up().ints("output_shape", &[5]).fails("attribute output_shape: expected 2 sizes");
    up().ints("output_shape", &[]).fails("attribute output_shape: expected 2 sizes");
    up().ints("output_shape", &[1, 1, 6, 6]).run(1).unwrap();
    up().ints("output_shape", &[i64::MAX, 6]).fails("are too many");
    up().ints("pads", &[i64::MAX, 0, 0, 0]).fails("are too many");
    up().ints("strides", &[i64::MAX, 1]).fails("expected sizes of at least 1");
    up().ints("dilations", &[i64::MAX, 1]).fails("expected sizes of at least 1");
    up().ints("output_padding", &[i64::MAX, 1]).fails("expected sizes of at least 1");
    up().text("auto_pad", "SAME").fails("attribute auto_pad");
    call("", "ConvTranspose").some([1, 1, 4, 4]).some([1, 1, 0, 3]).fails("expected sizes of at least 1");
    let pool = |op| call("", op).some([1, 1, 4, 4]);
    for same in ["SAME_UPPER", "SAME_LOWER"] {
        let wide = pool("MaxPool").ints("kernel_shape", &[1 << 62, 1 << 62]).ints("dilations", &[4, 4]);
        wide.text("auto_pad", same).fails("do not fit");
    }
    let empty = call("", "MaxPool").ints("kernel_shape", &[1]).ints("pads", &[0, 1]).int("ceil_mode", 1);
    drop(empty.floats([1, 1, 0], &[]).run(1));
    let unpool = call("", "MaxUnpool").ints("kernel_shape", &[1 << 62, 1 << 62, 1]);
    unpool.floats([1, 1, 1, 1, 0], &[]).whole([1, 1, 1, 1, 0], &[]).fails("more than");
    let blocks = |op| call("", op).int("blocksize", 1 << 19);
    drop(blocks("SpaceToDepth").floats([1, 1 << 28, 0, 0], &[]).run(1));
    drop(blocks("DepthToSpace").floats([1, 0, 1 << 20, 1 << 8], &[]).run(1));
    let scaled = call("", "DequantizeLinear").int("block_size", 1 << 62).whole([2, 2], &[1, 2, 3, 4]);
    scaled.some([1, 2]).fails("too large");
}

#[test]
fn a_bias_is_a_number_for_each_channel() {
    let with = |op: &str, bias: &[usize]| call("", op).some([1, 2, 3, 3]).some([2, 2, 1, 1]).some(bias);
    for op in ["Conv", "ConvTranspose"] {
        for bias in [&[1][..], &[3, 1, 1], &[1, 1, 1, 1, 4], &[3, 3]] {
            with(op, bias).fails("expected a bias for each of 2 channels");
        }
        for bias in [&[2][..], &[1, 1, 1, 1, 2]] {
            let Constant::Numbers(_, y) = &with(op, bias).run(1).unwrap()[0] else { panic!("numbers") };
            assert_eq!(y.shape().dims(), [1, 2, 3, 3]);
        }
    }
}

#[test]
fn recurrent_layers_take_three_axes() {
    for op in ["LSTM", "GRU", "RNN"] {
        let gates = match op {
            "LSTM" => 4,
            "GRU" => 3,
            _ => 1,
        };
        let of = |x: Case| x.some([1, gates, 2]).some([1, gates, 1]);
        let call = || call("", op).int("layout", 1);
        of(call().some([2, 2])).fails("expected three axes, found [2, 2]");
        of(call().some([2, 3, 2])).skip().skip().some([1, 1]).fails("expected three axes, found [1, 1]");
        of(call().some([2, 3, 2])).run(1).unwrap();
        of(call().text("direction", "backward").some([2, 3, 2])).fails("attribute direction");
    }
}

#[test]
fn texts_of_any_shape_are_joined_or_refused() {
    let of = |at: i64| call("", "Concat").int("axis", at);
    of(1).words([1, 1], &["a"]).words([0; 0], &["b"]).fails("cannot join texts");
    of(0).words([1, 2], &["a", "b"]).words([1, 3], &["c", "d", "e"]).fails("cannot join texts");
    let joined = of(1).words([1, 1], &["a"]).words([1, 2], &["b", "c"]).run(1).unwrap();
    let expected = ["a", "b", "c"].map(String::from).to_vec();
    assert_eq!(joined[0], Constant::Texts([1, 3].into(), expected.into()));
    // So many rows without a text.
    let rows = (0..100).fold(of(1), |case, _| case.words([1 << 28, 0], &[]));
    assert_eq!(rows.run(1).unwrap()[0].shape().dims(), [1 << 28, 0]);
    let text = r#"["string",[5],[]]"#;
    assert!(serde_json::from_str::<Constant>(text).is_err());
    assert!(serde_json::from_str::<Constant>(r#"["string",[5,0],[]]"#).is_ok());
}

/// A text of a million letters, and many places for it.
#[test]
fn texts_are_not_multiplied() {
    let long = "a".repeat(1 << 20);
    let many = vec![0i64; 300];
    call("", "Gather").words([1], &[&long]).whole([300], &many).fails("texts may have");
    let parts = (0..300).fold(call("", "Concat").int("axis", 0), |case, _| case.words([1], &[&long]));
    parts.fails("texts may have");
    call(ML, "ArrayFeatureExtractor").words([1, 1], &[&long]).whole([300], &many).fails("texts may have");
    let encoder = call(ML, "LabelEncoder").texts("keys_strings", &["k"]).texts("values_strings", &["v"]);
    encoder.text("default_string", &long).words([300], &["x"; 300]).fails("texts may have");
    let mapper = call(ML, "CategoryMapper").texts("cats_strings", &["k"]).ints("cats_int64s", &[7]);
    mapper.text("default_string", &long).whole([300], &many).fails("texts may have");
    let classes = call(ML, "LinearClassifier").numbers("coefficients", &[1.0, 1.0]);
    let classes = classes.texts("classlabels_strings", &[&long, &long]);
    classes.some([300, 1]).fails("texts may have");
}

#[test]
fn parts_are_as_many_as_there_are() {
    let split = || call("", "Split").some([4]);
    split().int("num_outputs", 1 << 62).fails("attribute num_outputs: expected 1");
    split().int("num_outputs", 10_000_000_000).fails("attribute num_outputs: expected 1");
    split().int("num_outputs", -1).fails("attribute num_outputs: expected 1");
    call("", "Unsqueeze").some([4]).whole([17], &(0..17).collect::<Vec<_>>()).fails("17 axes are more than");
    call("", "Reshape").some([4]).whole([17], &[1; 17]).fails("17 axes are more than");
    call("", "Col2Im")
        .some([1, 4, 4])
        .whole([9], &[1; 9])
        .whole([9], &[1; 9])
        .fails("at most 8 axes, found 9");
}

#[test]
fn words_that_are_not_known_are_refused() {
    call("", "Gelu").text("approximate", "tan").some([2]).fails("attribute approximate");
    for op in ["DepthToSpace", "SpaceToDepth"] {
        call("", op).int("blocksize", 2).text("mode", "RDC").some([1, 4, 2, 2]).fails("attribute mode");
    }
    let resize = || call("", "Resize").some([1, 1, 2, 2]).skip();
    resize().text("nearest_mode", "up").floats([4], &[1.0, 1.0, 2.0, 2.0]).fails("attribute nearest_mode");
    let sized = resize().text("keep_aspect_ratio_policy", "keep").skip().whole([4], &[1, 1, 4, 4]);
    sized.fails("attribute keep_aspect_ratio_policy");
    let cache = call("", "TensorScatter").text("mode", "ring").some([1, 4, 2]).some([1, 1, 2]);
    cache.fails("attribute mode");
    call("", "Cast").int("to", 24).text("round_mode", "off").some([2]).fails("attribute round_mode");
    let norm = (0..4).fold(call("", "BatchNormalization").some([1, 2, 3]), |case, _| case.some([2]));
    norm.int("spatial", 0).version(7).fails("attribute spatial");
}

#[test]
fn an_index_outside_of_its_axis_reads_nothing_else() {
    let x = |op: &str| call("", op).some([3, 4]);
    for bad in [4i64, -5, 1 << 32, i64::MAX, i64::MIN] {
        x("GatherElements").int("axis", 1).whole([1, 1], &[bad]).fails("out of range");
        x("Gather").int("axis", 1).whole([2], &[0, bad]).fails("out of range");
        x("GatherND").whole([1, 2], &[0, bad]).fails("out of range");
        x("GatherND").int("batch_dims", 1).whole([3, 1], &[0, bad, 1]).fails("out of range");
        x("ScatterElements").int("axis", 1).whole([1, 1], &[bad]).some([1, 1]).fails("out of range");
        x("ScatterND").whole([1, 2], &[0, bad]).some([1]).fails("out of range");
    }
    let cache = call("", "TensorScatter").some([1, 4, 2]).some([1, 2, 2]);
    cache.whole([1], &[3]).fails("out of range");
    x("GatherElements").int("axis", 1).whole([1, 2], &[-1, 0]).is(&[1, 2], &[10.0 / 11.0, 0.0]);
}

/// As many places of an axis as elements, each of which stands for itself.
#[test]
fn unique_rows_are_found_by_their_places() {
    let n = 1 << 20;
    let values: Vec<i64> = (0..n).map(|i| i % 2).collect();
    let found = call("", "Unique").int("axis", 0).whole([n as usize, 1], &values).run(4).unwrap();
    assert_eq!(found[0], Constant::ints(brisk_onnx::Elem::Int64, [2, 1], vec![0, 1]).unwrap());
    let columns = call("", "Unique").int("axis", 1).whole([2, 3], &[2, 1, 2, 5, 4, 5]);
    columns.is(&[2, 2], &[1.0, 2.0, 4.0, 5.0]);
}

#[test]
fn windows_of_an_average_count_the_cells_inside() {
    // From three before the first on, every second cell: 2; 1 and 3; 2 and 4; 1 and 3; 2 and 4; 3.
    let pool = || call("", "AveragePool").ints("kernel_shape", &[3]).ints("dilations", &[2]);
    let x = |case: Case| case.floats([1, 1, 4], &[1.0, 2.0, 3.0, 4.0]);
    x(pool().ints("pads", &[3, 3])).is(&[1, 1, 6], &[2.0, 2.0, 3.0, 2.0, 3.0, 3.0]);
    x(pool().ints("pads", &[3, 3]).int("count_include_pad", 1))
        .is(&[1, 1, 6], &[2.0 / 3.0, 4.0 / 3.0, 2.0, 4.0 / 3.0, 2.0, 1.0]);
}
