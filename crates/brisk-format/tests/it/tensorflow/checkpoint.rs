//! Checkpoints: every tensor is what TensorFlow reads, and is called what its maker called it.

use std::fs;
use std::path::Path;

use brisk_format::{TfCheckpoint, load_tensors};

use super::{copy, golden};

/// Each tensor of a checkpoint against what TensorFlow read.
fn check(checkpoint: &TfCheckpoint, expected: &str) {
    let expected = load_tensors(&golden(expected)).unwrap();
    assert_eq!(checkpoint.variables().len(), expected.len());
    for (key, tensor) in expected.iter() {
        assert_eq!(&checkpoint.tensor(key).unwrap(), tensor, "{key}");
    }
}

/// Names, and whether they are an optimizer's, with the paths that their keys begin with.
fn names(checkpoint: &TfCheckpoint, of_optimizer: bool) -> Vec<(&str, &str)> {
    let mut names: Vec<_> = checkpoint
        .variables()
        .iter()
        .filter(|v| v.of_optimizer == of_optimizer)
        .map(|v| (v.name.as_str(), v.key.split("/.ATTRIBUTES").next().unwrap()))
        .collect();
    names.sort();
    names
}

#[test]
fn a_saved_model_with_all_types_is_read() {
    let checkpoint = TfCheckpoint::open(&golden("types")).unwrap();
    check(&checkpoint, "types.safetensors");
    let expected = [
        ("layers/0", "layers/0"), // two of the same name
        ("layers/1", "layers/1"),
        ("odd/..S", "odd/....S"), // and two without one
        ("odd/a.b/c", "odd/a..b.Sc"),
        ("types/bfloat16", "types/bfloat16"),
        ("types/bool", "types/bool"),
        ("types/float16", "types/float16"),
        ("types/float32", "again"), // held twice
        ("types/float64", "types/float64"),
        ("types/int16", "types/int16"),
        ("types/int32", "types/int32"),
        ("types/int64", "types/int64"),
        ("types/int8", "types/int8"),
        ("types/uint16", "types/uint16"),
        ("types/uint32", "types/uint32"),
        ("types/uint64", "types/uint64"),
        ("types/uint8", "types/uint8"),
    ];
    assert_eq!(names(&checkpoint, false), expected);
    assert_eq!(names(&checkpoint, true), []);
    let bf16 = checkpoint.variables().iter().find(|v| v.name == "types/bfloat16").unwrap();
    assert_eq!((bf16.dtype.to_string().as_str(), &bf16.shape[..]), ("bfloat16", &[2, 3][..]));
    let state = checkpoint.load().unwrap();
    assert_eq!(state.len(), expected.len());
    assert_eq!(state.get("types/float64").unwrap().f32s().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn copies_that_keras_exports_do_not_take_names_away() {
    let checkpoint = TfCheckpoint::open(&golden("export")).unwrap();
    check(&checkpoint, "export.safetensors");
    let found = names(&checkpoint, false);
    let of_net: Vec<_> = found.iter().filter(|(name, _)| name.starts_with("net/")).copied().collect();
    let expected = [
        ("net/batch_normalization/beta", "variables/3"),
        ("net/batch_normalization/gamma", "variables/2"),
        ("net/batch_normalization/moving_mean", "variables/4"),
        ("net/batch_normalization/moving_variance", "variables/5"),
        ("net/dense/bias", "variables/1"),
        ("net/dense/kernel", "variables/0"),
        ("net/dense_1/bias", "variables/7"),
        ("net/dense_1/kernel", "variables/6"),
    ];
    assert_eq!(of_net, expected);
    assert_eq!(found.len(), 16);
}

#[test]
fn what_is_the_optimizers_is_kept_apart() {
    let checkpoint = TfCheckpoint::open(&golden("training")).unwrap();
    check(&checkpoint, "training.safetensors");
    assert_eq!(checkpoint.path(), golden("training/ckpt-1.index"));
    let expected = [
        ("net/batch_normalization/beta", "optimizer/_trainable_variables/3"),
        ("net/batch_normalization/gamma", "optimizer/_trainable_variables/2"),
        ("net/batch_normalization/moving_mean", "model/_functional/_operations/2/moving_mean"),
        ("net/batch_normalization/moving_variance", "model/_functional/_operations/2/moving_variance"),
        ("net/dense/bias", "optimizer/_trainable_variables/1"),
        ("net/dense/kernel", "optimizer/_trainable_variables/0"),
        ("net/dense_1/bias", "optimizer/_trainable_variables/5"),
        ("net/dense_1/kernel", "optimizer/_trainable_variables/4"),
        ("save_counter", "save_counter"),
    ];
    assert_eq!(names(&checkpoint, false), expected);
    let optimizer = names(&checkpoint, true);
    assert_eq!(optimizer.len(), 14);
    assert!(
        optimizer.contains(&("adam/net_dense_kernel_momentum", "optimizer/_variables/2")),
        "{optimizer:?}"
    );
    assert_eq!(checkpoint.load().unwrap().len(), expected.len());
}

#[test]
fn slots_are_the_optimizers() {
    let checkpoint = TfCheckpoint::open(&golden("slots")).unwrap();
    check(&checkpoint, "slots.safetensors");
    assert_eq!(names(&checkpoint, false), [("dense/kernel", "model/w")]);
    let slots = names(&checkpoint, true);
    let m = ("dense/kernel/Adam", "model/w/.OPTIMIZER_SLOT/optimizer/m");
    assert!(slots.len() == 4 && slots.contains(&m), "{slots:?}");
}

#[test]
fn variables_in_parts_and_in_several_files_are_read() {
    let checkpoint = TfCheckpoint::open(&golden("partitioned")).unwrap();
    check(&checkpoint, "partitioned.safetensors");
    let plain = ["dense/bias", "dense/kernel", "dense/wide"].map(|n| (n, n));
    assert_eq!(names(&checkpoint, false), plain);
    assert_eq!(names(&checkpoint, true).len(), 9);
}

#[test]
fn each_way_to_name_it_leads_to_the_same() {
    let open = |path: &Path| TfCheckpoint::open(path).unwrap().variables().to_vec();
    let expected = open(&golden("training"));
    assert_eq!(open(&golden("training/ckpt-1")), expected);
    assert_eq!(open(&golden("training/ckpt-1.index")), expected);
    let dir = copy("training");
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    assert_eq!(open(dir.path()), expected);
    fs::copy(dir.path().join("ckpt-1.index"), dir.path().join("ckpt-2.index")).unwrap();
    let said = TfCheckpoint::open(dir.path()).unwrap_err().to_string();
    assert!(
        said.contains("2 files ending in .index are there") && said.contains("give the path of one"),
        "{said}"
    );
    // As it is written on another machine.
    fs::write(dir.path().join("checkpoint"), "model_checkpoint_path: \"/else/where/ckpt-1\"\n").unwrap();
    assert_eq!(open(dir.path()), expected);
}

#[test]
fn what_is_not_there_is_named() {
    let dir = copy("training");
    let open = || TfCheckpoint::open(dir.path());
    let said = open().unwrap().tensor("w").unwrap_err().to_string();
    assert!(said.contains("there is no variable \"w\""), "{said}");
    fs::remove_file(dir.path().join("ckpt-1.data-00000-of-00001")).unwrap();
    let said = open().unwrap_err().to_string();
    assert!(said.contains("ckpt-1.data-00000-of-00001: there is no such file"), "{said}");
    fs::remove_file(dir.path().join("ckpt-1.index")).unwrap();
    let said = open().unwrap_err().to_string();
    assert!(
        said.contains("ckpt-1.index: there is no such file; expected the index of a TensorFlow"),
        "{said}"
    );
}
