use std::fs;
use std::path::Path;

use brisk_format::{Error, SavedModel, is_model, load_model, load_tensors, save_model, save_tensors};
use brisk_graph::{DType, Tensor};
use brisk_nn::prelude::*;
use brisk_nn::{INPUT, Lora, ParamRules, Scaling};

use crate::hostile::replace;
use crate::{names, saved};

const ALL: [&str; 6] =
    ["README.md", "brisk.json", "config.json", "labels.txt", "model.safetensors", "preprocessing.json"];

#[test]
fn comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs/a/model");
    save_model(&path, &saved(1)).unwrap();
    assert!(is_model(&path));
    assert_eq!(names(&path), ALL);
    assert_eq!(load_model(&path).unwrap(), saved(1));
    assert_eq!(fs::read_to_string(path.join("labels.txt")).unwrap(), "T-shirt/top\na \\\\ b\\r\\n\n");
    // Names as in Hugging Face's files: paths of parameters.
    let tensors = load_tensors(&path.join("model.safetensors")).unwrap();
    let names: Vec<_> = tensors.iter().map(|t| t.0).collect();
    assert_eq!(names, ["conv2d.kernel", "conv2d.bias", "dense.kernel", "dense.bias"]);
}

#[test]
fn replaces_a_model_and_keeps_what_else_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model");
    fs::create_dir(&path).unwrap(); // an empty folder is no obstacle
    save_model(&path, &saved(1)).unwrap();
    fs::write(path.join("notes.txt"), "mine").unwrap();
    fs::create_dir(path.join("pictures")).unwrap();
    save_model(&path, &saved(2)).unwrap();
    assert_eq!(load_model(&path).unwrap(), saved(2));
    assert_eq!(fs::read_to_string(path.join("notes.txt")).unwrap(), "mine");
    assert!(path.join("pictures").is_dir());
    assert_eq!(names(dir.path()), ["model"]);
}

#[test]
fn replaces_nothing_but_a_model() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "years").unwrap();
    let error = save_model(dir.path(), &saved(1)).unwrap_err();
    assert!(error.to_string().contains("holds no model but thesis.tex; choose a new one"), "{error}");
    assert_eq!(names(dir.path()), ["thesis.tex"]);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_folder_stays_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let (path, link) = (dir.path().join("model"), dir.path().join("latest"));
    save_model(&path, &saved(1)).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    save_model(&link, &saved(2)).unwrap();
    assert!(link.is_symlink());
    assert_eq!(load_model(&path).unwrap(), saved(2));
}

#[test]
fn the_former_model_is_found_if_a_replacement_was_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model");
    save_model(&path, &saved(1)).unwrap();
    fs::rename(&path, dir.path().join(".model.old")).unwrap();
    assert_eq!(load_model(&path).unwrap(), saved(1));
    save_model(&path, &saved(2)).unwrap();
    assert_eq!(load_model(&path).unwrap(), saved(2));
    assert_eq!(names(dir.path()), ["model"]);
}

#[test]
fn what_does_not_fit_is_not_saved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model");
    let says = |change: &dyn Fn(&mut SavedModel), expected: &str| {
        let mut model = saved(1);
        change(&mut model);
        let error = save_model(&path, &model).unwrap_err();
        assert!(error.to_string().contains(expected), "{error} does not say {expected:?}");
        assert!(!error.is_io());
    };
    says(&|m| drop(m.state.remove("dense.bias")), "\"dense.bias\" (f32 [2]) is missing");
    says(
        &|m| m.state.insert("dense.bias", Tensor::scalar(0.0)),
        "\"dense.bias\" should be f32 [2], found f32 []",
    );
    says(
        &|m| m.state.insert("optimizer/dense.bias/m", Tensor::scalar(0.0)),
        "\"optimizer/dense.bias/m\" (f32 []) is unexpected",
    );
    says(&|m| m.labels.truncate(1), "expected 2 labels, one for each class of the model, found 1");
    let bad = Scaling { mean: vec![f64::NAN], ..Scaling::bytes() };
    says(
        &|m| m.model.set_stored(INPUT, DType::U8, bad.clone()).unwrap(),
        "its configuration could not be read again",
    );
    assert!(names(dir.path()).is_empty());
}

fn says(path: &Path, expected: &str) -> Error {
    let error = load_model(path).unwrap_err();
    assert!(!error.is_io(), "{error}");
    assert!(error.to_string().contains(expected), "{error} does not say {expected:?}");
    error
}

#[test]
fn says_what_a_path_is_instead() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    says(&run, "there is no such folder; expected a model folder");
    fs::create_dir_all(run.join("checkpoints")).unwrap();
    says(&run, "there is no config.json, model.safetensors, preprocessing.json");
    says(&run, "this looks like a run that has not finished: try `brisk train --resume ");
    save_model(&run.join("model"), &saved(1)).unwrap();
    says(&run, &format!("this looks like a run: its model is {}", run.join("model").display()));
    says(&run.join("checkpoints"), "there is a model in ");
    fs::write(dir.path().join("last.ckpt"), "").unwrap();
    says(&dir.path().join("last.ckpt"), "this is a file; expected a model folder");
    let other = dir.path().join("hf");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("config.json"), "{}").unwrap();
    says(&other, "a Hugging Face folder that Brisk did not write");
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    says(&empty, "give the folder that training wrote");
}

#[test]
fn damage_names_the_file_and_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "preprocessing.json", "labels.txt"] {
        let path = dir.path().join(name);
        save_model(&path, &saved(1)).unwrap();
        let good = fs::read(path.join(name)).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(path.join(name), bad).unwrap();
            let error = load_model(&path).unwrap_err();
            assert!(matches!(&error, Error::Damaged { path, .. } if path.ends_with(name)), "{error}");
        }
        fs::write(path.join(name), &good[..good.len() - 1]).unwrap();
        let error = says(&path, "restore the folder from a backup");
        assert!(matches!(&error, Error::Damaged { path, .. } if path.ends_with(name)), "{error}");
        fs::remove_file(path.join(name)).unwrap();
        let error = says(&path, "damaged: there is no such file");
        assert!(matches!(&error, Error::Damaged { path, .. } if path.ends_with(name)), "{error}");
    }
}

#[test]
fn the_card_may_be_edited_or_missing() {
    let dir = tempfile::tempdir().unwrap();
    save_model(dir.path().join("m").as_path(), &saved(1)).unwrap();
    let card = dir.path().join("m/README.md");
    fs::write(&card, "better").unwrap();
    assert_eq!(load_model(&dir.path().join("m")).unwrap().card, "better");
    fs::remove_file(&card).unwrap();
    assert_eq!(load_model(&dir.path().join("m")).unwrap().card, "");
}

#[test]
fn manifests_of_other_versions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    save_model(&path, &saved(1)).unwrap();
    fs::write(path.join("brisk.json"), r#"{"format": 3, "of": "times to come"}"#).unwrap();
    says(&path, "brisk.json: written by a newer Brisk (format 3, this one reads 1): update Brisk");
    for text in ["", "{", "[]", "{}", r#"{"format": 0}"#, r#"{"format": -1}"#, r#"{"format": 1}"#, "\u{0}"] {
        fs::write(path.join("brisk.json"), text).unwrap();
        says(&path, "brisk.json: damaged");
    }
    fs::write(path.join("brisk.json"), r#"{"format": 1, "brisk": "", "files": {}}"#).unwrap();
    says(&path, "config.json: damaged: brisk.json has no checksum of it");
}

#[test]
fn the_configuration_of_before_there_were_several_outputs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    save_model(&path, &saved(1)).unwrap();
    let config = fs::read_to_string(path.join("config.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&config).unwrap();
    let layers = json["model"]["layers"].clone();
    json["model"] = serde_json::json!({"input_shape": [6, 6, 1], "layers": layers});
    json.as_object_mut().unwrap().remove("outputs");
    json["loss"] = serde_json::json!({"sparse_categorical_crossentropy": {"label_smoothing": 0.0}});
    json["metrics"] = serde_json::json!(["accuracy"]);
    json["scaling"] = serde_json::json!({"scale": 1.0 / 255.0, "mean": [0.2860406], "std": [0.35302424]});
    for (dtype, expected) in [("u8", None), ("u9", Some("input_dtype: expected u8 or f32, found \"u9\""))] {
        json["input_dtype"] = dtype.into();
        replace(&path, "config.json", json.to_string().as_bytes());
        match expected {
            None => assert_eq!(load_model(&path).unwrap(), saved(1)),
            Some(expected) => drop(says(&path, expected)),
        }
    }
}

#[test]
fn configurations_that_mean_nothing_here() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    save_model(&path, &saved(1)).unwrap();
    let config = fs::read_to_string(path.join("config.json")).unwrap();
    for (from, to, expected) in [
        ("\"Conv2D\"", "\"Conv2X\"", "unknown layer \"Conv2X\"; did you mean \"Conv2D\"?"),
        ("\"filters\"", "\"filter\"", "did you mean \"filters\"?"),
        ("\"filters\": 3", "\"filters\": 0", "conv2d"),
        ("\"units\": 2", "\"units\": 2.5", "config.json: "),
        ("\"u8\"", "\"u9\"", "unknown variant `u9`, expected one of `f32`, `i32`, `u8`"),
        ("\"loss\"", "\"lost\"", "unknown field `lost`"),
        (
            "\"units\": 2",
            "\"units\": 5",
            "model.safetensors: its tensors do not fit the model: \"dense.kernel\" should be f32 [12, 5], found f32 [12, 2], \"dense.bias\" should be",
        ),
    ] {
        assert!(config.contains(from), "{config}");
        replace(&path, "config.json", config.replace(from, to).as_bytes());
        says(&path, expected);
    }
    replace(&path, "config.json", config.as_bytes());
    replace(&path, "labels.txt", b"only one\n");
    says(&path, "labels.txt: expected 2 labels, one for each class of the model, found 1");
    replace(&path, "labels.txt", b"\xff\xfe");
    says(&path, "labels.txt: invalid utf-8");
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    save_model(&path, &saved(1)).unwrap();
    let mut state = saved(1).state;
    state.remove("conv2d.bias");
    state.insert("dense.kernel", Tensor::new([2], vec![1i32, 2]).unwrap());
    state.insert("extra", Tensor::scalar(0.0));
    let other = dir.path().join("other.safetensors");
    save_tensors(&other, &state).unwrap();
    replace(&path, "model.safetensors", &fs::read(other).unwrap());
    let error = says(
        &path,
        "\"conv2d.bias\" (f32 [3]) is missing, \"dense.kernel\" should be f32 [12, 2], found i32 [2], \"extra\" (f32 []) is unexpected",
    );
    assert!(matches!(&error, Error::Tensors { problems, .. } if problems.len() == 3), "{error}");
    replace(&path, "model.safetensors", b"PK\x03\x04");
    says(&path, "not a sound safetensors file: expected at least 8 bytes, found 4");
}

#[test]
fn additions_of_low_rank_stay_beside_their_matrices_if_asked_for() {
    let model = Sequential::new([5]).add(Dense::new(8)).add(Dense::new(2)).build().unwrap();
    let plain = Task::new(model, Loss::sparse_categorical_crossentropy());
    let lora = |merge| Lora { rank: 2, alpha: Some(3.0), parameters: vec!["kernel".into()], merge };
    let task =
        |merge| Task { rules: ParamRules { lora: Some(lora(merge)), ..Default::default() }, ..plain.clone() };
    let mut state = task(false).init_state(&Optimizer::sgd(0.1), 3).unwrap();
    for spec in task(false).param_specs().unwrap() {
        let t = Initializer::HeUniform.tensor(5, &spec.name, spec.shape.clone()).unwrap();
        state.insert(spec.name, t);
    }
    let dir = tempfile::tempdir().unwrap();
    let (apart, together) = (dir.path().join("apart"), dir.path().join("together"));
    save_model(&apart, &SavedModel::new(&task(false), &state)).unwrap();
    save_model(&together, &SavedModel::new(&task(true), &state)).unwrap();
    let (apart, together) = (load_model(&apart).unwrap(), load_model(&together).unwrap());
    assert_eq!(apart.lora, Some(lora(false)));
    let same = |name: &str| apart.state.get(name) == state.get(name);
    assert!(same("dense.kernel") && same("dense.kernel.lora_a") && same("dense_1.kernel.lora_b"));
    assert_eq!((apart.state.len(), together.state.len(), &together.lora), (8, 4, &None));
    assert!(together.state.get("dense.kernel") != state.get("dense.kernel"));
    assert_eq!(apart.merged().unwrap(), together);
}
