use std::fs;
use std::path::Path;

use ::safetensors::SafeTensors;
use ::safetensors::tensor::{Dtype, TensorView};
use brisk_format::{load_tensors, save_tensors};
use brisk_graph::Tensor;
use brisk_runtime::State;

use crate::{bits, state};

#[test]
fn others_read_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.safetensors");
    save_tensors(&path, &state()).unwrap();
    let bytes = fs::read(&path).unwrap();
    let read = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(read.len(), state().len());
    let w = read.tensor("w").unwrap();
    assert_eq!((w.dtype(), w.shape()), (Dtype::F32, &[2, 2][..]));
    assert_eq!(w.data()[..4], 0.1f32.to_le_bytes());
    for (name, view) in read.tensors() {
        let at = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert_eq!(at % (view.dtype().bitsize() / 8), 0, "{name} is not aligned");
    }
    let mut loaded = bits(&load_tensors(&path).unwrap());
    let mut written = bits(&state());
    loaded.sort();
    written.sort();
    assert_eq!(loaded, written);
}

#[test]
fn what_others_write_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.safetensors");
    let bytes: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![2], &bytes).unwrap();
    let notes = [("format".to_string(), "pt".to_string())].into();
    fs::write(&path, ::safetensors::serialize([("b", view)], Some(notes)).unwrap()).unwrap();
    let expected: State = [("b", Tensor::new([2], vec![1.5f32, -2.0]).unwrap())].into_iter().collect();
    assert_eq!(load_tensors(&path).unwrap(), expected);
}

#[test]
fn a_reserved_name_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let state: State = [("__metadata__", Tensor::scalar(0.0))].into_iter().collect();
    let error = save_tensors(&dir.path().join("t"), &state).unwrap_err();
    assert!(error.to_string().contains("cannot be called \"__metadata__\""), "{error}");
    assert!(crate::names(dir.path()).is_empty());
}

/// A file with this header and so many bytes behind it.
pub fn file(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

/// What is said of such a file.
fn says(path: &Path, bytes: &[u8]) -> String {
    fs::write(path, bytes).unwrap();
    let error = load_tensors(path).unwrap_err();
    assert!(!error.is_io(), "{error}");
    error.to_string()
}

#[test]
fn hostile_headers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.safetensors");
    let cases: &[(&str, usize, &str)] = &[
        ("", 0, "its header"),
        ("[]", 0, "a map from the names of tensors"),
        ("{", 0, "EOF"),
        (r#"{"a": 1}"#, 0, "tensor \"a\""),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            4,
            "says that 8 bytes of tensors follow, found 4",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            9,
            "says that 8 bytes of tensors follow, found 9",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#,
            8,
            "\"a\" of f32 [3] takes 12 bytes, but has 8",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}"#,
            8,
            "expected it to begin at byte 0, found 8 to 4",
        ),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,-4]}}"#, 8, "tensor \"a\""),
        (r#"{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#, 4, "tensor \"a\""),
        (
            r#"{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#,
            4,
            "tensor \"a\": unknown variant `F99`",
        ),
        (
            r#"{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}"#,
            4,
            "\"a\" has elements of type BF16; expected F32",
        ),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8, "leaves a gap"),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
            12,
            "\"b\" overlaps",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
            8,
            "two tensors are called \"a\"",
        ),
        (r#"{"__metadata__":{"a":1}}"#, 0, "its header"),
        (
            r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#,
            0,
            "takes more than any file bytes",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0]}}"#,
            0,
            "takes more than any file bytes",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}}"#,
            0,
            "\"a\"",
        ),
        (
            r#"{"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}}"#,
            0,
            "takes more than any file bytes",
        ),
    ];
    for (header, data, expected) in cases {
        let said = says(&path, &file(header, *data));
        assert!(said.contains(expected), "{header}\n{said}\ndoes not say {expected:?}");
    }
    assert!(says(&path, b"1234567").contains("expected at least 8 bytes, found 7"));
    let lie = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    assert!(
        says(&path, &lie).contains("says that its header has 18446744073709551615 bytes, but only 2 follow")
    );
    assert!(says(&path, &file(&"[".repeat(100_000), 0)).contains("its header"));
    fs::write(&path, file("{}", 0)).unwrap();
    assert!(load_tensors(&path).unwrap().is_empty());
}
