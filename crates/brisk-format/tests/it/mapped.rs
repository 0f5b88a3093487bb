//! Files of others, read through a map.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use ::safetensors::tensor::{Dtype, TensorView};
use brisk_format::{MappedTensors, save_tensors};
use brisk_graph::{Data, Tensor};
use proptest::prelude::*;

/// Writes one tensor `x` of a type.
fn write(path: &Path, dtype: Dtype, shape: &[usize], bytes: &[u8]) {
    let view = TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
    fs::write(path, ::safetensors::serialize([("x", view)], None).unwrap()).unwrap();
}

#[test]
fn every_type_becomes_one_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let cases: Vec<(Dtype, Vec<u8>, Data)> = vec![
        (Dtype::F32, 1.5f32.to_le_bytes().into(), vec![1.5f32].into()),
        (Dtype::F16, half::f16::from_f32(-0.25).to_le_bytes().into(), vec![-0.25f32].into()),
        (Dtype::BF16, half::bf16::from_f32(3.0).to_le_bytes().into(), vec![3.0f32].into()),
        (Dtype::F64, 0.1f64.to_le_bytes().into(), vec![0.1f32].into()),
        (Dtype::F64, f64::INFINITY.to_le_bytes().into(), vec![f32::INFINITY].into()),
        (Dtype::I64, (-7i64).to_le_bytes().into(), vec![-7].into()),
        (Dtype::I32, i32::MIN.to_le_bytes().into(), vec![i32::MIN].into()),
        (Dtype::I16, (-300i16).to_le_bytes().into(), vec![-300].into()),
        (Dtype::I8, (-3i8).to_le_bytes().into(), vec![-3].into()),
        (Dtype::U8, vec![200], vec![200u8].into()),
        (Dtype::BOOL, vec![1], vec![1u8].into()),
    ];
    for (dtype, bytes, expected) in cases {
        write(&path, dtype, &[1], &bytes);
        let file = MappedTensors::open(&path).unwrap();
        assert_eq!(file.dtype("x"), Some(dtype.to_string()));
        assert_eq!(file.tensor("x").unwrap(), Tensor::new([1], expected).unwrap(), "{dtype}");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let two = |a: [u8; 8], b: [u8; 8]| [a, b].concat();
    let cases = [
        (Dtype::I64, two(1i64.to_le_bytes(), (1i64 << 40).to_le_bytes()), "element 1 does not fit into i32"),
        (Dtype::F64, two(1f64.to_le_bytes(), 1e300f64.to_le_bytes()), "element 1 does not fit into f32"),
        (Dtype::BOOL, vec![1, 2], "element 1 does not fit into bool"),
        (Dtype::U64, two([0; 8], [0; 8]), "has elements of type U64; expected F32, F16"),
        (Dtype::F8_E4M3, vec![1, 2], "has elements of type F8_E4M3"),
    ];
    for (dtype, bytes, expected) in cases {
        write(&path, dtype, &[2], &bytes);
        let error = MappedTensors::open(&path).unwrap().tensor("x").unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("tensor \"x\"") && said.contains(expected),
            "{said}\ndoes not say {expected:?}"
        );
        assert!(said.contains("save the model with elements of type float32"), "{said}");
        assert!(!error.is_io());
    }
}

#[test]
fn a_tensor_of_several_windows_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let values: Vec<f32> = (0..2_500_001).map(|i| i as f32).collect();
    let many = Tensor::new([values.len()], values).unwrap();
    let few = Tensor::new([3], vec![1u8, 2, 3]).unwrap();
    save_tensors(&path, &[("few", few.clone()), ("many", many.clone())].into_iter().collect()).unwrap();
    let file = MappedTensors::open(&path).unwrap();
    assert_eq!(file.tensor("many").unwrap(), many);
    assert_eq!(file.tensor("few").unwrap(), few);
    assert!(file.tensor("none").unwrap_err().to_string().contains("there is no tensor \"none\""));
}

#[test]
fn a_file_that_shrinks_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    save_tensors(&path, &crate::state()).unwrap();
    let file = MappedTensors::open(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes.len() as u64 - 1).unwrap();
    let said = file.tensor("w").unwrap_err().to_string();
    assert!(said.contains(&format!("it has {} bytes, but had {}", bytes.len() - 1, bytes.len())), "{said}");
}

#[test]
fn a_header_longer_than_the_format_allows_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    fs::write(&path, 100_000_001u64.to_le_bytes()).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100_000_010).unwrap();
    let said = MappedTensors::open(&path).unwrap_err().to_string();
    assert!(said.contains("its header has 100000001 bytes; the format allows 100000000"), "{said}");
}

fn read_all(path: &Path) -> brisk_format::Result<()> {
    let file = MappedTensors::open(path)?;
    file.names().try_for_each(|name| file.tensor(name).map(drop))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_file_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
            let floats = [1.0f32, 2.0].map(f32::to_le_bytes).concat();
            let views = [
                ("a", TensorView::new(Dtype::F32, vec![2, 1], &floats).unwrap()),
                ("b", TensorView::new(Dtype::BF16, vec![4], &floats).unwrap()),
                ("c", TensorView::new(Dtype::I64, vec![1], &floats).unwrap()),
                ("d", TensorView::new(Dtype::BOOL, vec![2, 1], &[0, 1]).unwrap()),
                ("e", TensorView::new(Dtype::F4, vec![2, 2], &[0, 1]).unwrap()),
            ];
            ::safetensors::serialize(views, Some([("format".into(), "pt".into())].into())).unwrap()
        });
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        fs::write(&path, crate::hostile::mutate(&GOOD, &changes, cut)).unwrap();
        if let Err(error) = read_all(&path) {
            prop_assert!(!error.is_io(), "{error}");
        }
    }

    /// Offsets and shapes of any size, over a little data.
    #[test]
    fn no_numbers_make_it_panic(
        dtype in prop::sample::select(&["F32", "F16", "I64", "BOOL", "F4", "U64"][..]),
        shape in prop::collection::vec(prop_oneof![0u64..9, any::<u64>()], 0..4),
        begin in prop_oneof![Just(0u64), any::<u64>()],
        end in prop_oneof![0u64..40, any::<u64>()],
        data in 0usize..40,
    ) {
        let header = format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}}}"#);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        fs::write(&path, crate::safetensors::file(&header, data)).unwrap();
        if let Err(error) = read_all(&path) {
            prop_assert!(!error.is_io(), "{header}: {error}");
        }
    }
}
