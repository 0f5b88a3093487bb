//! Flax's files: what it wrote is understood, and nothing that can be read makes it panic.

use std::fs;
use std::path::{Path, PathBuf};

use brisk_format::{Error, FlaxCheckpoint, load_tensors, read_flax};
use proptest::prelude::*;

/// A file that Flax made; see `flax_files.py` there.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../brisk-testkit/goldens/flax").join(name)
}

fn read(bytes: &[u8]) -> Result<FlaxCheckpoint, Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.msgpack");
    fs::write(&path, bytes).unwrap();
    read_flax(&path)
}

/// Each array and number against what Flax wrote.
fn check(name: &str) -> FlaxCheckpoint {
    let found = read_flax(&golden(&format!("{name}.msgpack"))).unwrap();
    let expected = load_tensors(&golden(&format!("{name}.safetensors"))).unwrap();
    assert_eq!(found.tensors.len(), expected.len());
    for (name, tensor) in expected.iter() {
        assert_eq!(found.tensors.get(name), Some(tensor), "{name}");
    }
    found
}

#[test]
fn all_types_are_read() {
    let found = check("types");
    assert_eq!(found.texts, ["text"]);
    let get = |name: &str| found.tensors.get(name).unwrap();
    assert_eq!(get("types.bfloat16").f32s().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(get("numbers.big").i64s().unwrap(), [1 << 40]);
    assert_eq!(get("empty").shape().dims(), [0, 4]);
    assert!(found.tensors.get("numbers.nothing").is_none());
}

#[test]
fn a_training_state_is_read() {
    let found = check("training");
    let get = |name: &str| found.tensors.get(name).unwrap().shape().to_vec();
    assert_eq!(get("state.params.Dense_0.kernel"), [5, 3]);
    assert_eq!(get("state.opt_state.0.mu.Dense_1.bias"), [2]);
    assert_eq!(get("batch_stats.BatchNorm_0.mean"), [3]);
}

#[test]
fn arrays_in_chunks_are_put_together() {
    let found = check("chunks");
    assert_eq!(found.tensors.get("embed.table").unwrap().shape().dims(), [12, 5]);
}

/// An array as Flax writes it: shape, type and bytes.
fn array(shape: &[u8], dtype: &str, values: &[u8]) -> Vec<u8> {
    let mut inside = vec![0x93, 0x90 | shape.len() as u8];
    inside.extend(shape);
    inside.push(0xa0 | dtype.len() as u8);
    inside.extend(dtype.as_bytes());
    inside.extend([0xc4, values.len() as u8]);
    inside.extend(values);
    let mut bytes = vec![0xc7, inside.len() as u8, 1];
    bytes.extend(inside);
    bytes
}

/// A map of one-letter names.
fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0x80 | entries.len() as u8];
    for (name, value) in entries {
        bytes.push(0xa0 | name.len() as u8);
        bytes.extend(name.as_bytes());
        bytes.extend(value);
    }
    bytes
}

fn chunked(shape: &[(&str, Vec<u8>)], chunks: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let name = "__msgpack_chunked_array__";
    let mut bytes = vec![0x83, 0xa0 | name.len() as u8];
    bytes.extend(name.as_bytes());
    bytes.push(0xc3);
    bytes.extend(&map(&[("shape", map(shape)), ("chunks", map(chunks))])[1..]);
    map(&[("w", bytes)])
}

#[test]
fn what_is_wrong_is_named() {
    let one = |value: Vec<u8>| map(&[("w", value)]);
    let w = || array(&[1], "float32", &[0; 4]);
    let deep = [b"\x81\xa1a".repeat(70_000), vec![0]].concat();
    let lying = [vec![0xc7, 99], w()[2..].to_vec()].concat();
    let huge = [
        &[0xc7, 30, 1, 0x93, 0x91, 0xce],
        &1_000_000_000u32.to_be_bytes()[..],
        b"\xa7float32\xc6",
        &4_000_000_000u32.to_be_bytes(),
    ]
    .concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "it ends within what begins at byte 0"),
        (vec![0x01], "it begins with Integer(1); expected a map"),
        (vec![0xc1], "byte 0 means nothing in MessagePack"),
        ([map(&[]), vec![0]].concat(), "1 bytes follow behind its end"),
        (vec![0xdf, 0xff, 0xff, 0xff, 0xff], "it ends within what begins at byte 5"),
        (
            one(vec![0xdb, 0xff, 0xff, 0xff, 0xff]),
            "a text at byte 8 takes 4294967295 bytes, but only 0 follow",
        ),
        (deep, "is nested deeper than 64 names"),
        (map(&[("w", w()), ("w", w())]), "two tensors are called \"w\""),
        (map(&[("a.b", w()), ("a", map(&[("b", w())]))]), "two tensors are called \"a.b\""),
        (one(array(&[2], "float32", &[0; 4])), "\"w\" is float32 [2], but has 4 bytes"),
        (
            one(array(&[1], "complex64", &[0; 8])),
            "\"w\" has elements of type complex64; expected one of float64",
        ),
        (
            one(array(&[1], "float64", &1e300f64.to_le_bytes())),
            "\"w\": element 0 of type float64 does not fit into f32",
        ),
        (one(huge), "\"w\" at byte 26 takes 4000000000 bytes, but only 0 follow"),
        (one(lying), "\"w\" should end at byte 105, but ends at"),
        (one([&[0xc7, 18, 2][..], &[0; 18]].concat()), "\"w\" is a complex number"),
        (one(vec![0xd4, 5, 0]), "\"w\" is of the kind 5"),
        (one(vec![0xd4, 1, 0]), "\"w\" is no shape, type and bytes"),
        (one(vec![0xcf, 255, 255, 255, 255, 255, 255, 255, 255]), "\"w\" is a number beyond 2^63"),
        (vec![0x81, 0xc0, 0], "holds Nothing in the place of a name"),
        (
            [chunked(&[("0", vec![2])], &[("0", w())]), vec![0; 20]].concat(),
            "\"w\" [2] is more than its chunks",
        ),
        (
            chunked(&[("0", vec![1])], &[("0", w()), ("1", w())]),
            "\"w\" is not sound; expected __msgpack_chunked_array__",
        ),
        (chunked(&[("0", vec![2])], &[("0", w()), ("2", w())]), "\"w\" is not sound"),
        (
            chunked(&[("0", vec![2])], &[("0", w()), ("1", array(&[1], "int32", &[0; 4]))]),
            "\"w\" is not sound",
        ),
        (chunked(&[("0", vec![0xce, 0x7f, 0, 0, 0])], &[("0", w())]), "takes 8522825728 bytes, but only"),
    ];
    for (bytes, expected) in cases {
        let error = read(&bytes).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("model.msgpack: ") && said.contains(expected),
            "{said}\ndoes not say {expected:?}"
        );
        assert!(!error.is_io());
    }
    assert!(read(&chunked(&[("0", vec![2])], &[("0", w()), ("1", w())])).is_ok());
}

#[test]
fn neither_many_numbers_nor_long_names_fill_the_memory() {
    let many = [&[0x81, 0xa1, b'a', 0xdd][..], &500_000u32.to_be_bytes(), &vec![1; 500_000]].concat();
    let said = read(&many).unwrap_err().to_string();
    assert!(
        said.contains("its arrays, numbers and texts take more than 75108992 bytes with their names"),
        "{said}"
    );
    let mut long = vec![0x81, 0xda, 0xff, 0xff];
    long.extend(vec![b'a'; 0xffff]);
    long.extend([0xdc, 0x03, 0xe8]);
    long.extend(vec![1; 1000]);
    let said = read(&long).unwrap_err().to_string();
    assert!(said.contains("its arrays, numbers and texts take more than"), "{said}");
}

#[test]
fn a_folder_of_orbax_is_refused_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let said = read_flax(dir.path()).unwrap_err().to_string();
    assert!(said.contains("this is a folder; expected a checkpoint of Flax"), "{said}");
    fs::write(dir.path().join("_METADATA"), "{}").unwrap();
    let said = read_flax(dir.path()).unwrap_err().to_string();
    assert!(
        said.contains("this is a folder of Orbax") && said.contains("flax.serialization.to_bytes"),
        "{said}"
    );
}

#[test]
fn a_file_cut_short_anywhere_is_an_error() {
    for name in ["types", "training", "chunks"] {
        let good = fs::read(golden(&format!("{name}.msgpack"))).unwrap();
        for length in 0..good.len() {
            let error = read(&good[..length]).unwrap_err();
            assert!(!error.is_io(), "{name} {length}: {error}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_checkpoint_makes_it_panic(
        name in prop::sample::select(&["types", "training", "chunks"][..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let good = fs::read(golden(&format!("{name}.msgpack"))).unwrap();
        if let Err(error) = read(&crate::hostile::mutate(&good, &changes, cut)) {
            prop_assert!(!error.is_io(), "{error}");
        }
    }
}
