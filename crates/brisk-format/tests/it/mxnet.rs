//! MXNet's files. MXNet itself can no longer be installed: the bytes are written here by hand, as `NDArray::Save` in
//! `src/ndarray/ndarray.cc` of apache/mxnet 1.x writes them.

use std::fs;
use std::path::PathBuf;

use brisk_format::{Error, MxnetInput, MxnetParameters, read_mxnet_parameters, read_mxnet_symbol};
use brisk_graph::{Data, Tensor};
use brisk_runtime::State;
use proptest::prelude::*;

const V1: u32 = 0xF993_FAC8;
pub const V2: u32 = 0xF993_FAC9;
const V3: u32 = 0xF993_FACA;

/// One array, as a version of MXNet writes it.
pub fn array(version: u32, flag: i32, shape: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    if version != 0 {
        bytes.extend(version.to_le_bytes());
    }
    if version > V1 {
        bytes.extend(0i32.to_le_bytes()); // dense
    }
    bytes.extend((shape.len() as u32).to_le_bytes());
    for &size in shape {
        match version {
            0 => bytes.extend(size.to_le_bytes()),
            _ => bytes.extend(i64::from(size).to_le_bytes()),
        }
    }
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]); // device 0 of the kind "CPU"
    bytes.extend(flag.to_le_bytes());
    bytes.extend(values);
    bytes
}

pub fn list(arrays: &[Vec<u8>], names: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for head in [0x112, 0, arrays.len() as u64] {
        bytes.extend(head.to_le_bytes());
    }
    bytes.extend(arrays.concat());
    bytes.extend((names.len() as u64).to_le_bytes());
    for name in names {
        bytes.extend((name.len() as u64).to_le_bytes());
        bytes.extend(name.as_bytes());
    }
    bytes
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A file of each version and a few types.
fn good() -> Vec<u8> {
    let arrays = [
        array(V2, 0, &[2, 3], &floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        array(V1, 2, &[2], &[0x00, 0x3c, 0x00, 0xb8]), // 1.0 and -0.5 in f16
        array(0, 1, &[1], &0.25f64.to_le_bytes()),
        array(V3, 6, &[], &(-7i64).to_le_bytes()),
        array(V3, 3, &[0, 4], &[]),
    ];
    list(&arrays, &["arg:fc_weight", "arg:fc_bias", "aux:bn_moving_mean", "arg:steps", "arg:none"])
}

fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("net-0000.params");
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn read(bytes: &[u8]) -> Result<MxnetParameters, Error> {
    let (_dir, path) = file(bytes);
    read_mxnet_parameters(&path)
}

fn tensor(shape: &[usize], data: impl Into<Data>) -> Tensor {
    Tensor::new(shape, data).unwrap()
}

#[test]
fn every_version_is_read() {
    let MxnetParameters { arguments, auxiliary } = read(&good()).unwrap();
    let expected: State = [
        ("fc_weight", tensor(&[2, 3], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0])),
        ("fc_bias", tensor(&[2], vec![1.0f32, -0.5])),
        ("steps", tensor(&[], vec![-7i64])),
        ("none", tensor(&[0, 4], Vec::<u8>::new())),
    ]
    .into_iter()
    .collect();
    assert_eq!(arguments, expected);
    assert_eq!(auxiliary, [("bn_moving_mean", tensor(&[1], vec![0.25f32]))].into_iter().collect());
}

#[test]
fn every_type_is_read() {
    let cases: [(i32, &[u8], Data); 13] = [
        (0, &1.5f32.to_le_bytes(), vec![1.5f32].into()),
        (1, &1.5f64.to_le_bytes(), vec![1.5f32].into()),
        (2, &half::f16::from_f32(1.5).to_le_bytes(), vec![1.5f32].into()),
        (3, &[200], vec![200u8].into()),
        (4, &(-5i32).to_le_bytes(), vec![-5].into()),
        (5, &[0xfb], vec![-5].into()),
        (6, &(-5i64).to_le_bytes(), vec![-5i64].into()),
        (7, &[1], vec![1u8].into()),
        (8, &(-5i16).to_le_bytes(), vec![-5].into()),
        (9, &65535u16.to_le_bytes(), vec![65535].into()),
        (10, &u32::MAX.to_le_bytes(), vec![i64::from(u32::MAX)].into()),
        (11, &5u64.to_le_bytes(), vec![5i64].into()),
        (12, &half::bf16::from_f32(1.5).to_le_bytes(), vec![1.5f32].into()),
    ];
    for (flag, bytes, expected) in cases {
        // Without a name: its place is its name.
        let found = read(&list(&[array(V2, flag, &[1], bytes)], &[])).unwrap();
        assert_eq!(found.arguments, [("0", tensor(&[1], expected))].into_iter().collect(), "{flag}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let one = || array(V2, 0, &[1], &floats(&[1.0]));
    let with = |at: usize, bytes: &[u8]| {
        let mut array = one();
        array[at..at + bytes.len()].copy_from_slice(bytes);
        list(&[array], &["w"])
    };
    let huge = array(V2, 0, &[u32::MAX, u32::MAX, u32::MAX], &[]);
    let mut many_names = list(&[one()], &["w"]);
    let at = many_names.len() - 17;
    many_names[at] = 9;
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "the head at byte 0 takes 8 bytes, but only 0 follow"),
        (
            b"PK\x03\x04\0\0\0\0".to_vec(),
            "this is a ZIP file, as MXNet 2 writes its parameters; save them with",
        ),
        (7u64.to_le_bytes().to_vec(), "expected it to begin with 0x112, found 0x7"),
        (with(4, &1i32.to_le_bytes()), "array 0: its storage is row_sparse; expected a dense array"),
        (with(4, &2i32.to_le_bytes()), "array 0: its storage is csr"),
        (with(8, &33u32.to_le_bytes()), "array 0: it has 33 axes; the format allows 32"),
        (with(8, &0u32.to_le_bytes()), "array 0: it was saved without values, with the shape []"),
        (with(8, &u32::MAX.to_le_bytes()), "array 0: it was saved without values, with the shape [-1]"),
        (with(12, &(-1i64).to_le_bytes()), "array 0: it was saved without values, with the shape [-1]"),
        (
            with(12, &1_000_000_000i64.to_le_bytes()),
            "float32 [1000000000] at byte 56 takes 4000000000 bytes, but only",
        ),
        (with(28, &13i32.to_le_bytes()), "array 0: its elements are of type 13; expected 0 to 12"),
        (list(&[huge], &["w"]), "takes more bytes than any file has"),
        (list(&[one(), one()], &["w"]), "it has 2 arrays, but 1 names"),
        (list(&[one(), one()], &["arg:w", "aux:w"]), "two arrays are called \"w\""),
        (many_names, "it has 1 arrays, but 9 names"),
        ([good(), vec![0]].concat(), "1 bytes follow behind its last name"),
    ];
    for (bytes, expected) in cases {
        let error = read(&bytes).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("net-0000.params: ") && said.contains(expected),
            "{said}\ndoes not say {expected:?}"
        );
        assert!(!error.is_io());
    }
}

#[test]
fn a_file_cut_short_anywhere_is_an_error() {
    let good = good();
    for length in 0..good.len() {
        let error = read(&good[..length]).unwrap_err();
        assert!(!error.is_io() && error.to_string().contains("but only"), "{length}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_parameters_make_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        if let Err(error) = read(&crate::hostile::mutate(&good(), &changes, cut)) {
            prop_assert!(!error.is_io(), "{error}");
        }
    }
}

/// As MXNet 1.x writes it, and the older form of the same.
const SYMBOL: &str = r#"{
  "nodes": [
    {"op": "null", "name": "data", "attrs": {"__shape__": "(0, 3, 32, 32)"}, "inputs": []},
    {"op": "null", "name": "conv0_weight", "attrs": {"__dtype__": "0", "__shape__": "(8, 0, 3, 3)"}, "inputs": []},
    {"op": "Convolution", "name": "conv0", "attrs": {"kernel": "(3, 3)", "num_filter": "8", "no_bias": "True", "stride": "[2,]"},
     "inputs": [[0, 0, 0], [1, 0, 0]]},
    {"op": "SliceChannel", "name": "split", "attrs": {"num_outputs": "2"}, "inputs": [[2, 0, 0]]}
  ],
  "arg_nodes": [0, 1],
  "node_row_ptr": [0, 1, 2, 3, 5],
  "heads": [[3, 0, 0], [3, 1, 0]],
  "attrs": {"mxnet_version": ["int", 10900]}
}"#;

fn symbol(text: &str) -> Result<brisk_format::MxnetSymbol, Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("net-symbol.json");
    fs::write(&path, text).unwrap();
    read_mxnet_symbol(&path)
}

#[test]
fn a_symbol_is_read() {
    let found = symbol(SYMBOL).unwrap();
    assert_eq!(found.variables().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["data", "conv0_weight"]);
    assert_eq!(found.nodes[1].shape(), Some(vec![8, 0, 3, 3]));
    let conv = &found.nodes[2];
    assert_eq!((conv.op.as_str(), conv.name.as_str(), conv.shape()), ("Convolution", "conv0", None));
    assert_eq!(conv.integers("kernel"), Some(vec![3, 3]));
    assert_eq!(conv.integers("stride"), Some(vec![2]));
    assert_eq!(conv.integers("no_bias"), None);
    assert_eq!(conv.inputs, [MxnetInput { node: 0, output: 0 }, MxnetInput { node: 1, output: 0 }]);
    assert_eq!(found.heads, [MxnetInput { node: 3, output: 0 }, MxnetInput { node: 3, output: 1 }]);
}

#[test]
fn an_old_symbol_is_read() {
    let old = SYMBOL
        .replace(r#""num_filter": "8", "#, "")
        .replace(r#""attrs": {"kernel"#, r#""param": {"num_filter": "8"}, "attr": {"kernel"#)
        .replace(", 0]", "]");
    assert_ne!(old, SYMBOL);
    assert_eq!(symbol(&old).unwrap(), symbol(SYMBOL).unwrap());
}

#[test]
fn what_is_wrong_in_a_symbol_is_named() {
    let deep = format!("{{\"nodes\": {}", "[".repeat(100_000));
    let cases = [
        (
            SYMBOL.replace("[[2, 0, 0]]", "[[3, 0, 0]]"),
            "node 3, \"split\", reads node 3; expected one that stands before it",
        ),
        (SYMBOL.replace("[[2, 0, 0]]", "[[-2, 0, 0]]"), "did not match any variant"),
        (
            SYMBOL.replace("[[3, 0, 0], ", "[[4, 0, 0], "),
            "an output is that of node 4, but there are 4 nodes",
        ),
        (
            SYMBOL.replace("\"data\"", "\"conv0_weight\""),
            "two inputs or parameters are called \"conv0_weight\"",
        ),
        (
            SYMBOL.replace("\"name\": \"split\"", "\"name\": \"split\", \"subgraphs\": [{}]"),
            "\"split\" is a \"SliceChannel\" with graphs of its own",
        ),
        (SYMBOL.replace("\"heads\"", "\"tails\""), "missing field `heads`"),
        (deep, "line 1"),
    ];
    for (text, expected) in cases {
        let said = symbol(&text).unwrap_err().to_string();
        assert!(
            said.contains("net-symbol.json: ") && said.contains(expected),
            "{said}\ndoes not say {expected:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_symbol_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let bytes = crate::hostile::mutate(SYMBOL.as_bytes(), &changes, cut);
        if let Ok(symbol) = symbol(&String::from_utf8_lossy(&bytes)) {
            for node in &symbol.nodes {
                node.shape();
            }
        }
    }
}
