//! ONNX files that no exporter wrote: each is refused with an error that says what is wrong.

use std::fs;
use std::path::Path;

use brisk_format::{OnnxFile, Result, import_onnx, read_onnx};
use brisk_onnx::{Constant, Elem, check};

use super::wire::Field::{self, Bytes, Int, Lying};
use super::wire::{floats, graph, message, model, node};

/// What is read from bytes in a file.
fn read(bytes: &[u8]) -> Result<OnnxFile> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    fs::write(&path, bytes).unwrap();
    read_onnx(&path)
}

/// The error that reading, or else importing, ends with.
fn refused(bytes: &[u8]) -> String {
    let file = match read(bytes) {
        Ok(file) => file,
        Err(error) => {
            assert!(!error.is_io(), "{error}");
            return error.to_string();
        }
    };
    import_onnx(Path::new("m.onnx"), file).map(|_| ()).unwrap_err().to_string()
}

#[track_caller]
fn assert_refused(bytes: &[u8], says: &[&str]) {
    let error = refused(bytes);
    for part in says {
        assert!(error.contains(part), "expected {part:?} in: {error}");
    }
}

fn relu() -> Vec<u8> {
    node("Relu", &["x"], &["y"], &[])
}

/// A model with a bit of everything: an initializer, an attribute, two nodes.
fn good() -> Vec<u8> {
    let w = floats("w", &[2], &[(9, Bytes(&[0; 8]))]);
    let alpha = message(&[(1, Bytes(b"axis")), (3, Int(0)), (20, Int(2))]);
    model(
        &graph(&[node("Add", &["x", "w"], &["h"], &[]), node("Softmax", &["h"], &["y"], &[alpha])], &[w]),
        13,
    )
}

#[test]
fn a_good_model_is_read() {
    import_onnx(Path::new("m.onnx"), read(&good()).unwrap()).unwrap();
}

/// `torch.nn.Upsample(scale_factor=...)` has its factors in an initializer: they are no weights.
#[test]
fn what_shapes_follow_from_is_not_learned() {
    let scales: Vec<u8> = [1f32, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let scales = floats("scales", &[2], &[(9, Bytes(&scales))]);
    let axes = message(&[(1, Bytes(b"axes")), (8, Int(1)), (20, Int(7))]);
    let nodes = [
        node("Unsqueeze", &["x"], &["h"], &[axes]),
        node("Resize", &["h", "", "scales"], &["y"], &[]),
        node("Resize", &["h", "", "scales"], &["z"], &[]),
    ];
    let model =
        import_onnx(Path::new("m.onnx"), read(&model(&graph(&nodes, &[scales]), 11)).unwrap()).unwrap();
    assert_eq!(model.model.output_sizes(), [&[Some(3)][..]]);
    assert!(model.model.param_specs().unwrap().is_empty());
}

#[test]
fn files_that_were_cut_are_refused() {
    let good = good();
    let mut whole = 0;
    for end in 0..good.len() {
        match read(&good[..end]) {
            Err(error) => assert!(!error.is_io(), "{error}"),
            // Between two fields of the model.
            Ok(file) => {
                whole += 1;
                assert!(import_onnx(Path::new("m.onnx"), file).is_err() || end + 6 > good.len(), "{end}");
            }
        }
    }
    assert!(whole <= 3, "{whole} of {} prefixes can be read", good.len());
}

#[test]
fn lengths_that_lie_take_no_memory() {
    for length in [5, 1 << 32, 1 << 62, u64::MAX] {
        assert_refused(&message(&[(7, Lying(length, b"abc"))]), &["m.onnx", "not a sound ONNX file"]);
        assert_refused(&message(&[(25, Lying(length, b"abc"))]), &["not a sound ONNX file"]);
        let inner = message(&[(5, Lying(length, b"abc"))]);
        assert_refused(&model(&inner, 13), &["not a sound ONNX file", "export the model again"]);
        let inner = message(&[(1, Lying(length, b"abc"))]);
        assert_refused(&model(&inner, 13), &["not a sound ONNX file"]);
    }
}

#[test]
fn graphs_that_stand_in_one_another_without_end_are_refused() {
    for depth in [30, 1000] {
        let mut inner = graph(&[relu()], &[]);
        for _ in 0..depth {
            let branch = message(&[(1, Bytes(b"then_branch")), (6, Bytes(&inner)), (20, Int(5))]);
            inner = graph(&[node("If", &["x"], &["y"], &[branch])], &[]);
        }
        let error = refused(&model(&inner, 13));
        assert!(error.contains("deep") || error.contains("recursion limit"), "{error}");
    }
    let mut ty = message(&[(1, Bytes(&message(&[(1, Int(1))])))]);
    for _ in 0..1000 {
        ty = message(&[(4, Bytes(&message(&[(1, Bytes(&ty))])))]);
    }
    let port = message(&[(1, Bytes(b"x")), (2, Bytes(&ty))]);
    let error = refused(&model(&message(&[(11, Bytes(&port))]), 13));
    assert!(error.contains("deep") || error.contains("recursion limit"), "{error}");
}

#[test]
fn functions_that_call_themselves_are_refused() {
    let call = |name: &str, to: &str, input: &str| {
        message(&[
            (1, Bytes(input.as_bytes())),
            (2, Bytes(to.as_bytes())),
            (4, Bytes(name.as_bytes())),
            (7, Bytes(b"own")),
        ])
    };
    let function = |name: &str, calls: &[&str]| {
        let nodes: Vec<Vec<u8>> =
            calls.iter().zip(["b", "c"]).map(|(name, to)| call(name, to, "a")).collect();
        let mut fields = vec![
            (1, Bytes(name.as_bytes())),
            (4, Bytes(b"a".as_slice())),
            (5, Bytes(b"b")),
            (10, Bytes(b"own")),
        ];
        fields.extend(nodes.iter().map(|n| (7, Bytes(n.as_slice()))));
        message(&fields)
    };
    let with = |functions: &[Vec<u8>]| {
        let mut bytes = model(&graph(&[call("f", "y", "x")], &[]), 13);
        functions.iter().for_each(|f| bytes.extend(message(&[(25, Bytes(f))])));
        bytes
    };
    assert_refused(&with(&[function("f", &["f"])]), &["node \"y\" (f)", "more than 24 deep"]);
    assert_refused(&with(&[function("f", &["g"]), function("g", &["f"])]), &["more than 24 deep"]);
    // 2^24 calls, were they all made.
    let names: Vec<String> = (0..24).map(|i| if i == 0 { "f".into() } else { format!("f{i}") }).collect();
    let mut chain: Vec<Vec<u8>> = names.windows(2).map(|w| function(&w[0], &[&w[1], &w[1]])).collect();
    let relu = node("Relu", &["a"], &["b"], &[]);
    chain.push(message(&[
        (1, Bytes(b"f23")),
        (4, Bytes(b"a")),
        (5, Bytes(b"b")),
        (7, Bytes(&relu)),
        (10, Bytes(b"own")),
    ]));
    assert_refused(&with(&chain), &["more than", "operations"]);
}

#[test]
fn operands_must_be_made_before() {
    let a = node("Add", &["x", "b"], &["a"], &[]);
    let b = node("Relu", &["a"], &["b"], &[]);
    let y = node("Relu", &["b"], &["y"], &[]);
    let says = ["node \"a\" (Add)", "its operand \"b\" is made nowhere before it"];
    // A cycle, one's own result, and the wrong order.
    assert_refused(&model(&graph(&[a, b.clone(), y.clone()], &[]), 13), &says);
    assert_refused(&model(&graph(&[node("Relu", &["y"], &["y"], &[])], &[]), 13), &["made nowhere"]);
    assert_refused(
        &model(&graph(&[y, node("Relu", &["x"], &["b"], &[])], &[]), 13),
        &["node \"y\"", "\"b\""],
    );
    assert_refused(&model(&graph(&[b], &[]), 13), &["its operand \"a\""]);
    assert_refused(
        &model(&graph(&[node("Relu", &["x"], &["z"], &[])], &[]), 13),
        &["nothing makes its output \"y\""],
    );
}

#[test]
fn names_are_given_once() {
    let w = || floats("w", &[2], &[(9, Bytes(&[0; 8]))]);
    let add = || node("Add", &["x", "w"], &["y"], &[]);
    assert_refused(&model(&graph(&[add()], &[w(), w()]), 13), &["\"w\"", "twice"]);
    assert_refused(&model(&graph(&[relu(), relu()], &[]), 13), &["\"y\"", "twice"]);
    assert_refused(
        &model(&graph(&[node("Relu", &["x"], &["x"], &[]), relu()], &[]), 13),
        &["\"x\"", "twice"],
    );
    assert_refused(
        &model(&graph(&[node("Relu", &["x"], &["w"], &[]), add()], &[w()]), 13),
        &["\"w\"", "twice"],
    );
}

#[test]
fn operators_that_are_missing_are_all_named() {
    let nodes = [
        node("Frobnicate", &["x"], &["a"], &[]),
        node("Relu", &["a"], &["b"], &[]),
        node("Twist\u{1b}[31m\n", &["b"], &["c"], &[]),
        node("Frobnicate", &["c"], &["y"], &[]),
    ];
    let error = refused(&model(&graph(&nodes, &[]), 13));
    for part in ["Frobnicate (nodes a, y)", "Twist", "docs/onnx.md"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains('\u{1b}') && !error.contains('\n'), "{error:?}");
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let name = "a\u{1b}[2J\r\nb\u{7}";
    for nodes in [
        vec![node("Relu", &[name], &["y"], &[])],
        vec![node("MatMul", &["x"], &[name], &[]), relu()],
        vec![node("Pad", &["x"], &["y"], &[message(&[(1, Bytes(name.as_bytes())), (20, Int(99))])])],
    ] {
        let error = refused(&model(&graph(&nodes, &[]), 13));
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
    let w = floats(name, &[3], &[(9, Bytes(&[0; 8]))]);
    let error = refused(&model(&graph(&[relu()], &[w]), 13));
    assert!(!error.chars().any(char::is_control), "{error:?}");
}

#[test]
fn versions_that_brisk_does_not_know_are_refused() {
    for version in [0, -1, 29, 1000, i64::MAX, i64::MIN] {
        let says = [&format!("version {version} ") as &str, "to 28"];
        assert_refused(&model(&graph(&[relu()], &[]), version), &says);
    }
    for version in [1, 6, 7, 23, 28] {
        check(&read(&model(&graph(&[relu()], &[]), version)).unwrap().model).unwrap();
    }
}

#[test]
fn attributes_of_another_type_are_refused() {
    let attribute = |name: &str, kind: i64, value: (u64, Field<'_>)| {
        message(&[(1, Bytes(name.as_bytes())), value, (20, Int(kind))])
    };
    let concat = |a| model(&graph(&[node("Concat", &["x", "x"], &["y"], &[a])], &[]), 13);
    assert_refused(
        &concat(attribute("axis", 3, (4, Bytes(b"0")))),
        &["node \"y\" (Concat)", "attribute axis"],
    );
    assert_refused(&concat(attribute("axis", 99, (3, Int(0)))), &["\"axis\"", "type 99"]);
    assert_refused(&concat(attribute("axis", 4, (3, Int(0)))), &["a tensor that is not there"]);
    assert_refused(&concat(attribute("axis", 2, (3, Int(i64::MIN)))), &["is outside of 1 axes"]);
    assert_refused(&model(&graph(&[node("If", &["x"], &["y"], &[])], &[]), 13), &["expected a graph"]);
}

#[test]
fn tensors_that_cannot_be_are_refused() {
    let with = |w: Vec<u8>| model(&graph(&[node("Add", &["x", "w"], &["y"], &[])], &[w]), 13);
    let raw = || (9, Bytes(&[0; 8]));
    assert_refused(&with(floats("w", &[-2], &[raw()])), &["tensor \"w\"", "-2 is no size"]);
    assert_refused(&with(floats("w", &[3], &[raw()])), &["tensor \"w\"", "takes 12 bytes, found 8"]);
    assert_refused(&with(floats("w", &[i64::MAX, i64::MAX], &[raw()])), &["too large"]);
    assert_refused(&with(floats("w", &[1 << 35], &[raw()])), &["takes 137438953472 bytes, found 8"]);
    assert_refused(&with(floats("w", &[1 << 35], &[])), &["found 0"]);
    assert_refused(&with(floats("w", &[0, i64::MAX], &[(9, Bytes(&[]))])), &["too large"]);
    let sparse = |dims: i64| {
        let values = floats("w", &[1], &[(9, Bytes(&[0; 4]))]);
        let mut index = message(&[(2, Int(7)), (1, Int(1)), (9, Bytes(&[9, 0, 0, 0, 0, 0, 0, 0]))]);
        index.extend(message(&[(8, Bytes(b"i"))]));
        let whole = message(&[(1, Bytes(&values)), (2, Bytes(&index)), (3, Int(dims))]);
        let mut inner = graph(&[node("Add", &["x", "w"], &["y"], &[])], &[]);
        inner.extend(message(&[(15, Bytes(&whole))]));
        model(&inner, 13)
    };
    assert_refused(&sparse(2), &["indices of a sparse tensor do not fit"]);
    assert_refused(&sparse(1 << 33), &["too large"]);
}

#[test]
fn tensors_elsewhere_stay_in_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    fs::create_dir(&folder).unwrap();
    fs::write(dir.path().join("secret.bin"), [0; 8]).unwrap();
    fs::write(folder.join("w.bin"), [0; 8]).unwrap();
    fs::create_dir(folder.join("sub")).unwrap();
    let path = folder.join("m.onnx");
    let read = |location: &str, offset: &str, length: &str| {
        let entry =
            |key: &str, value: &str| message(&[(1, Bytes(key.as_bytes())), (2, Bytes(value.as_bytes()))]);
        let entries = [entry("location", location), entry("offset", offset), entry("length", length)];
        let mut more: Vec<_> = entries.iter().map(|e| (13, Bytes(e.as_slice()))).collect();
        more.push((14, Int(1)));
        let w = floats("w", &[2], &more);
        fs::write(&path, model(&graph(&[node("Add", &["x", "w"], &["y"], &[])], &[w]), 13)).unwrap();
        read_onnx(&path)
    };
    assert_eq!(read("w.bin", "0", "8").unwrap().parameters.len(), 1);
    let absolute = dir.path().join("secret.bin");
    for location in ["../secret.bin", "sub/../../secret.bin", absolute.to_str().unwrap(), ""] {
        let error = read(location, "0", "8").unwrap_err().to_string();
        assert!(error.contains("outside the model's folder"), "{location}: {error}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&absolute, folder.join("link.bin")).unwrap();
        let error = read("link.bin", "0", "8").unwrap_err().to_string();
        assert!(error.contains("outside the model's folder"), "{error}");
    }
    for (location, offset, length, says) in [
        ("gone.bin", "0", "8", "copy it beside the model"),
        ("sub", "0", "8", "sub"),
        ("w.bin", "4", "8", "takes 8 bytes"),
        ("w.bin", "0", "4", "takes 8 bytes"),
        ("w.bin", "18446744073709551615", "8", "takes 8 bytes"),
        ("w.bin", "-1", "8", "offset"),
        ("w.bin", "0", "many", "length"),
    ] {
        let error = read(location, offset, length).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("\"w\"") | error.contains(location), "{error}");
    }
}

/// Whole numbers, in the order of their fields: dimensions, and elements as raw bytes.
fn longs(name: &str, dims: &[i64], values: &[i64]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut bytes = message(&[(2, Int(7)), (8, Bytes(name.as_bytes())), (9, Bytes(&raw))]);
    dims.iter().for_each(|&d| bytes.extend(message(&[(1, Int(d))])));
    bytes
}

fn with_sparse(all: &[Vec<u8>]) -> Vec<u8> {
    let mut inner = graph(&[node("Add", &["x", "w"], &["y"], &[])], &[]);
    all.iter().for_each(|s| inner.extend(message(&[(15, Bytes(s))])));
    model(&inner, 13)
}

#[test]
fn sparse_tensors_are_exact_and_bounded_together() {
    let sparse = |name: &str, values: &[i64], index: Vec<u8>, dims: &[i64]| {
        let values = longs(name, &[values.len() as i64], values);
        let mut whole = message(&[(1, Bytes(&values)), (2, Bytes(&index))]);
        dims.iter().for_each(|&d| whole.extend(message(&[(3, Int(d))])));
        whole
    };
    let large = (1i64 << 53) + 1;
    let pairs = longs("i", &[2, 2], &[0, 1, 1, 0]);
    let file = read(&with_sparse(&[sparse("w", &[large, -large], pairs, &[2, 2])])).unwrap();
    let expected = Constant::ints(Elem::Int64, [2, 2], vec![0, large, -large, 0]).unwrap();
    assert_eq!(file.model.graph.constants["w"], expected);
    for bad in [[0, 2], [-1, 0], [0, 1_000_000_000_000_000_000], [1 << 62, 1]] {
        let index = longs("i", &[1, 2], &bad);
        assert_refused(
            &with_sparse(&[sparse("w", &[1], index, &[2, 2])]),
            &["indices of a sparse tensor do not fit"],
        );
    }
    // Zeros by the hundred million, each tensor of a few bytes.
    let empty = |name: &str| sparse(name, &[], longs("i", &[0], &[]), &[1 << 26, 0]);
    read(&with_sparse(&(0..4).map(|i| empty(&format!("w{i}"))).collect::<Vec<_>>())).unwrap();
    let zeros = |name: &str| sparse(name, &[], longs("i", &[0], &[]), &[1 << 26]);
    let error = refused(&with_sparse(&(0..5).map(|i| zeros(&format!("w{i}"))).collect::<Vec<_>>()));
    assert!(error.contains("a sparse tensor of [67108864] is too large: all together"), "{error}");
}

/// Two bytes each in the file.
#[test]
fn messages_are_not_empty() {
    let many = |number: u64| message(&(0..1000).map(|_| (number, Bytes(b""))).collect::<Vec<_>>());
    let mut with_attributes = relu();
    with_attributes.extend(many(5));
    assert_refused(&model(&graph(&[with_attributes], &[]), 13), &["a message is empty"]);
    for number in [1, 5, 11, 12, 15] {
        let mut inner = graph(&[relu()], &[]);
        inner.extend(many(number));
        assert_refused(&model(&inner, 13), &["a message is empty"]);
    }
    assert_refused(&model(&graph(&[node("", &["x"], &["y"], &[])], &[]), 13), &["has no operator"]);
    let mut functions = model(&graph(&[relu()], &[]), 13);
    functions.extend(many(25));
    assert_refused(&functions, &["a message is empty"]);
}

#[test]
fn small_numbers_are_packed_as_the_format_says() {
    // Three numbers of four bits lie in two bytes.
    let of = |bytes: &[u8]| {
        let mut w = message(&[(2, Int(22)), (1, Int(3)), (8, Bytes(b"w"))]);
        bytes.iter().for_each(|&b| w.extend(message(&[(5, Int(b.into()))])));
        model(&graph(&[node("Add", &["x", "w"], &["y"], &[])], &[w]), 21)
    };
    let file = read(&of(&[0x21, 0x0f])).unwrap();
    assert_eq!(file.model.graph.constants["w"], Constant::ints(Elem::Int4, [3], vec![1, 2, -1]).unwrap());
    assert_refused(&of(&[1, 2, 15]), &["tensor \"w\"", "takes 2 numbers, found 3"]);
}

#[test]
fn tensors_elsewhere_are_no_more_than_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    fs::write(dir.path().join("w.bin"), [0; 8000]).unwrap();
    let entry = |key: &str, value: &str| message(&[(1, Bytes(key.as_bytes())), (2, Bytes(value.as_bytes()))]);
    let read = |count: usize| {
        let tensor = |i: usize| {
            // However the file is named.
            let location = entry("location", &format!("{}w.bin", "./".repeat(i)));
            floats(&format!("w{i}"), &[2000], &[(13, Bytes(&location)), (14, Int(1))])
        };
        let all: Vec<Vec<u8>> = (0..count).map(tensor).collect();
        fs::write(&path, model(&graph(&[relu()], &all), 13)).unwrap();
        read_onnx(&path)
    };
    // Weights that are tied.
    assert_eq!(read(2).unwrap().parameters.len(), 2);
    let error = read(3).unwrap_err().to_string();
    assert!(error.contains("tensor \"w2\"") && error.contains("they overlap"), "{error}");
}
