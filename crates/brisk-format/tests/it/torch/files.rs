//! Every file that PyTorch made holds what PyTorch says.

use std::collections::BTreeSet;

use brisk_format::{TorchFile, TorchValue};
use brisk_graph::Tensor;
use serde_json::Value;

use super::write::{archive, tensor, text};
use super::{golden, index};

/// Panics unless a value is what PyTorch says that it is.
#[track_caller]
fn check_value(name: &str, value: &TorchValue, want: &Value) {
    let same = match value {
        TorchValue::None => want.is_null(),
        TorchValue::Bool(b) => want.as_bool() == Some(*b),
        TorchValue::Int(n) => want.is_number() && want.to_string().parse().ok() == Some(*n) || *n == 1 << 80,
        TorchValue::Float(x) => want.as_f64() == Some(*x),
        TorchValue::Text(text) => want.as_str() == Some(text),
        TorchValue::Bytes(bytes) => want["bytes"].as_array().is_some_and(|w| w.iter().eq(bytes.iter())),
    };
    assert!(same, "{name}: expected {want}, found {value:?}");
}

#[test]
fn every_file_holds_what_pytorch_says() {
    let index = index("files.json");
    let files = index["files"].as_object().unwrap();
    assert!(files.len() >= 24);
    for (file, about) in files {
        let read = TorchFile::open(&golden(file)).unwrap();
        let wanted = about["tensors"].as_object().unwrap();
        let name = |name: &str| format!("{file}: {name}");
        assert!(read.names().eq(wanted.keys()), "{file}: {:?}", read.names().collect::<Vec<_>>());
        for (tensor, want) in wanted {
            let found = read.tensor(tensor).unwrap();
            assert_eq!(read.dtype(tensor), want["dtype"].as_str(), "{}", name(tensor));
            assert_eq!(found.dtype().to_string(), want["ours"].as_str().unwrap(), "{}", name(tensor));
            let shape: Vec<u64> = found.shape().iter().map(|&d| d as u64).collect();
            assert_eq!(serde_json::json!(shape), want["shape"], "{}", name(tensor));
            let numbers = want["numbers"].as_array().unwrap().iter();
            let numbers: Vec<f64> = numbers.map(|n| n.as_f64().unwrap_or(f64::NAN)).collect();
            let same = |(a, b): (&f64, &f64)| a == b || a.is_nan() && b.is_nan();
            let found = found.to_f64s();
            assert!(
                found.len() == numbers.len() && found.iter().zip(&numbers).all(same),
                "{}: {found:?}, expected {numbers:?}",
                name(tensor)
            );
        }
        let values = about["values"].as_object().unwrap();
        for (value, want) in values {
            let found = read.value(value).unwrap_or_else(|| panic!("{}: missing", name(value)));
            check_value(&name(value), found, want);
        }
        // TorchScript keeps more than the model's own values.
        let found: BTreeSet<&str> = read.values().map(|v| v.0).collect();
        let wanted: BTreeSet<&str> = values.keys().map(String::as_str).collect();
        assert!(file == "script.pt" || found == wanted, "{file}: {found:?}, expected {wanted:?}");
    }
}

#[test]
fn what_is_no_tensor_is_refused_by_name() {
    let index = index("files.json");
    let refused = index["refused"].as_object().unwrap();
    assert!(refused.len() >= 6);
    for (file, part) in refused {
        let error = TorchFile::open(&golden(file)).unwrap_err().to_string();
        assert!(error.contains(part.as_str().unwrap()), "{error}");
    }
    let file = TorchFile::open(&golden("uint64.pt")).unwrap();
    let error = file.tensor("w").unwrap_err().to_string();
    assert!(error.contains("numbers of 2^63 and more; save it as int64"), "{error}");
}

/// A checkpoint with a tensor in each of these parts; of `rng_state`, which is one itself.
fn checkpoint(parts: &[&str]) -> (tempfile::TempDir, TorchFile) {
    let tensor = || tensor("0", 4, 0, &[4], &[1]);
    let entry = |key: &str, value: Vec<u8>| [text(key), value, b"s".to_vec()].concat();
    let dict = |inside: Vec<u8>| [b"}".to_vec(), inside].concat();
    let part = |part: &&str| match part.split_once('.') {
        _ if ["rng_state", ""].contains(part) => entry(part, tensor()),
        Some((outer, inner)) => entry(outer, dict(entry(inner, dict(entry("a.weight", tensor()))))),
        None => entry(part, dict(entry("a.weight", tensor()))),
    };
    let pickle = [dict(parts.iter().flat_map(part).collect()), b".".to_vec()].concat();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("checkpoint.pt");
    std::fs::write(&path, archive(&[("a/data.pkl", &pickle), ("a/data/0", &[0; 16])])).unwrap();
    let file = TorchFile::open(&path).unwrap();
    (dir, file)
}

#[test]
fn the_weights_are_found() {
    let open = |name: &str| TorchFile::open(&golden(name)).unwrap();
    for (file, key, first) in [
        ("state_dict.pt", "", "0.weight"),
        ("nested.pt", "model_state_dict", "0.weight"),
        ("legacy.pt", "model_state_dict", "0.weight"),
        ("script.pt", "", "scale"),
    ] {
        let file = open(file);
        let weights = file.state_dict(None).unwrap();
        assert_eq!((weights.key(), weights.names().next()), (key, Some(first)), "{}", file.path().display());
        let whole = if key.is_empty() { first.to_string() } else { format!("{key}.{first}") };
        assert_eq!(weights.tensor(first).unwrap(), file.tensor(&whole).unwrap());
        assert_eq!(weights.shape(first), file.shape(&whole));
    }
    for (parts, expected) in [
        (&["a"][..], Ok("a")),
        (&["a", "optimizer", "lr_scheduler"], Ok("a")),
        (&["optimizer", "state_dict", "net"], Ok("state_dict")),
        (&["rng_state", "Model.state_dict"], Ok("Model.state_dict")),
        (&["rng_state", ""], Ok("")),
        (&["generator", "discriminator"], Err("found generator, discriminator; say which of them is meant")),
        (&["optimizer"], Err("found optimizer; say which of them is meant")),
        (&[], Err("there are no tensors in it")),
    ] {
        let file = checkpoint(parts);
        let found = file.1.state_dict(None).map(|s| s.key().to_string()).map_err(|e| e.to_string());
        match expected {
            Ok(key) => assert_eq!(found.as_deref(), Ok(key), "{parts:?}"),
            Err(part) => assert!(found.as_ref().is_err_and(|e| e.contains(part)), "{parts:?}: {found:?}"),
        }
    }
    let file = open("nested.pt");
    let state = file.state_dict(Some("optimizer.state.0")).unwrap();
    assert_eq!(state.names().collect::<Vec<_>>(), ["step", "exp_avg", "exp_avg_sq"]);
    assert_eq!(file.state_dict(Some("")).unwrap().names().count(), file.names().count());
    let error = file.state_dict(Some("generator")).unwrap_err().to_string();
    assert!(
        error.contains("nothing with tensors is called \"generator\" in it; there are: model_state_dict"),
        "{error}"
    );
    assert!(file.tensor("epoch").unwrap_err().to_string().contains("there is no tensor \"epoch\""));
}

#[test]
fn tensors_that_are_one_are_read_by_each_of_their_names() {
    let file = TorchFile::open(&golden("nested.pt")).unwrap();
    let tied = Tensor::new([2], vec![1.5f32, 2.5]).unwrap();
    assert_eq!(file.tensor("tied.0").unwrap(), tied);
    assert_eq!(file.tensor("tied.1").unwrap(), tied);
}
