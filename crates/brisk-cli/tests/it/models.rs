//! Models of other frameworks: they come in and say what they said there, go out and come back; files that nobody wrote end with status
//! 2. Hugging Face folders stand in `huggingface`, and ONNX's faults in `onnx`.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use brisk_format::{SavedModel, TorchFile, TorchValue, load_tensors, save_model, save_npz};
use brisk_graph::{DType, Tensor};
use brisk_nn::prelude::*;
use brisk_nn::{INPUT, Scaling};

use crate::support::{Place, of_goldens};

type Tensors = Vec<(String, Tensor)>;

/// What a model of a framework was given, and what it said.
fn values(path: &Path) -> [Tensors; 2] {
    let all = load_tensors(path).unwrap();
    ["input", "output"].map(|part| {
        let own = |(name, t): (&str, &Tensor)| {
            let name = name.strip_prefix(part)?.trim_start_matches(['.', '_']);
            Some((name.to_string(), t.clone()))
        };
        all.iter().filter_map(own).collect()
    })
}

impl Place {
    /// Writes the tensors for `--check`.
    fn to_check(&self, [inputs, outputs]: &[Tensors; 2]) {
        for (name, tensors) in [("inputs.npz", inputs), ("outputs.npz", outputs)] {
            assert!(!tensors.is_empty(), "{name}");
            let tensors: Vec<_> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
            save_npz(&self.at(name), &tensors).unwrap();
        }
    }

    /// Imports a model, which says what it said there; the folder says it too, and so does what is exported.
    fn imports(&self, model: &str, more: &[&str], values: &[Tensors; 2]) {
        self.to_check(values);
        let check = ["--check", "inputs.npz", "outputs.npz", "--tolerance", "1e-5"];
        let args = [&["import", model, "--output", "imported"], &check[..], more].concat();
        let said = self.brisk(&args).good();
        assert_eq!(said.out.matches("agrees  ").count(), values[1].len(), "{}", said.out);
        let found = self.brisk(&[&args[..], &["--json"]].concat()).good().json();
        assert_eq!(found["differences"].as_array().unwrap().len(), values[1].len());
        self.brisk(&["predict", "imported", "--input", "inputs.npz", "--output", "said.npz"]).good();
        self.brisk(&["export", "imported", "--format", "onnx", "--output", "again.onnx"]).good();
        let again = [&["import", "again.onnx", "--check", "inputs.npz", "said.npz"], &check[3..]].concat();
        self.brisk(&again).good();
    }

    /// A golden of TensorFlow in a folder.
    fn unpack(&self, name: &str) -> [Tensors; 2] {
        let bytes = fs::read(of_goldens(&format!("tensorflow_graphs/{name}.zip"))).unwrap();
        zip::ZipArchive::new(Cursor::new(bytes)).unwrap().extract(self.at(name)).unwrap();
        values(&self.at(&format!("{name}/values.safetensors")))
    }

    /// Says why it cannot be imported, and leaves nothing.
    fn refuses(&self, model: &str, says: &[&str]) {
        self.brisk(&["import", model, "--output", "bad"]).fails(2, says);
        assert!(!self.at("bad").exists(), "a model was left behind");
    }
}

#[test]
fn models_of_keras_come_in() {
    for name in ["cnn.keras", "lstm.keras", "bidirectional.keras", "cnn.h5", "norms.h5"] {
        let path = of_goldens(&format!("keras_models/{name}"));
        let place = Place::empty();
        place.imports(&path.display().to_string(), &[], &values(&path.with_extension("safetensors")));
    }
}

#[test]
fn graphs_of_tensorflow_come_in() {
    let place = Place::empty();
    let values = place.unpack("cnn");
    place.imports("cnn", &[], &values);
    let place = Place::empty();
    let values = place.unpack("frozen");
    place.imports("frozen/frozen.pb", &[], &values);
}

#[test]
fn graphs_of_mxnet_come_in() {
    let place = Place::empty();
    place.write("net-symbol.json", fs::read(of_goldens("mxnet_graphs/layers-symbol.json")).unwrap());
    // Those of the last epoch are taken.
    place.write("net-0009.params", "");
    place.write("net-0010.params", fs::read(of_goldens("mxnet_graphs/layers.params")).unwrap());
    place.imports("net-symbol.json", &[], &values(&of_goldens("mxnet_graphs/layers.safetensors")));
}

#[test]
fn weights_of_pytorch_come_in() {
    let path = of_goldens("torch/models/cnn.pt");
    let file = TorchFile::open(&path).unwrap();
    let Some(TorchValue::Text(model)) = file.value("model") else { panic!("it holds its model") };
    let task = Task::new(serde_json::from_str(model).unwrap(), Loss::MeanSquaredError);
    let place = Place::empty();
    let fresh = SavedModel::new(&task, &task.model.init_state(1).unwrap());
    save_model(&place.at("mine"), &fresh).unwrap();
    let part = |key| {
        let part = file.state_dict(Some(key)).unwrap();
        part.names().map(|n| (n.to_string(), part.tensor(n).unwrap())).collect()
    };
    let path = path.display().to_string();
    place.imports(&path, &["--key", "state_dict", "--into", "mine"], &[part("inputs"), part("outputs")]);
}

#[test]
fn a_model_that_says_something_else_ends_with_status_1() {
    let place = Place::empty();
    let path = of_goldens("keras_models/mlp.keras");
    let [inputs, outputs] = values(&path.with_extension("safetensors"));
    let shifted = |(name, t): (String, Tensor)| {
        let values: Vec<f64> = t.to_f64s().into_iter().map(|v| v + 0.01).collect();
        (name, Tensor::from_f64s(t.dtype(), t.shape(), &values).unwrap())
    };
    place.to_check(&[inputs, outputs.into_iter().map(shifted).collect()]);
    let path = path.display().to_string();
    let done = place.brisk(&["import", &path, "--check", "inputs.npz", "outputs.npz"]);
    assert_eq!(done.code, Some(1), "{}\n{}", done.out, done.err);
    assert!(done.out.contains("DIFFERS "), "{}", done.out);
}

/// A classifier of pictures that are stored as bytes.
fn classifier() -> SavedModel {
    let model =
        Sequential::new([6, 6, 3]).add(Conv2D::new(4, 3).activation(Relu)).add(BatchNormalization::new());
    let mut model = model.add(Flatten {}).add(Dense::new(3)).build().unwrap();
    let scaling = Scaling { scale: 1.0 / 255.0, mean: vec![0.5, 0.4, 0.3], std: vec![0.2, 0.3, 0.4] };
    model.set_stored(INPUT, DType::U8, scaling).unwrap();
    let task = Task::new(model, Loss::sparse_categorical_crossentropy());
    let mut saved = SavedModel::new(&task, &task.model.init_state(5).unwrap());
    saved.labels = ["cat", "dog", "größe"].map(String::from).to_vec();
    saved
}

#[test]
fn what_goes_out_comes_back() {
    let place = Place::empty();
    save_model(&place.at("runs/mine/model"), &classifier()).unwrap();
    let bytes = (0..2 * 6 * 6 * 3).map(|i| (i * 37 % 256) as u8).collect::<Vec<_>>();
    let pictures = Tensor::new([2, 6, 6, 3], bytes).unwrap();
    save_npz(&place.at("x.npz"), &[("input", &pictures)]).unwrap();
    place.brisk(&["predict", "runs/mine/model", "--input", "x.npz", "--output", "y.npz"]).good();
    let check = ["--check", "x.npz", "y.npz", "--tolerance", "1e-5"];
    for (format, file) in [("onnx", "mine.onnx"), ("keras", "mine.keras")] {
        let export = ["export", "runs/mine", "--format", format, "--output", file];
        let said = place.brisk(&export).good().out;
        assert!(format != "onnx" || said.contains("inputs   input (uint8 [batch, 6, 6, 3])"), "{said}");
        place.brisk(&[&["import", file, "--output", format], &check[..]].concat()).good();
        // And once more, from the folder that was made of it.
        let again = format!("again-{file}");
        place.brisk(&["export", format, "--format", format, "--output", &again]).good();
        place.brisk(&[&["import", again.as_str()], &check[..]].concat()).good();
    }
    // From a model file into another format.
    place.brisk(&["export", "mine.keras", "--format", "onnx", "--output", "keras.onnx"]).good();
    place.brisk(&[&["import", "keras.onnx"], &check[..]].concat()).good();
    let keras = ["export", "mine.onnx", "--format", "keras", "--output", "none.keras"];
    place.brisk(&keras).fails(2, &["\"graph\" (Onnx)"]);
    let folder = ["export", "runs/mine", "--format", "huggingface", "--output", "none"];
    place.brisk(&folder).fails(2, &["expected a model with a TextEncoder called \"encoder\", found none"]);
}

/// A graph that came back is a project's model, and says from the start what was learned before it left.
#[test]
fn training_goes_on_from_an_exported_graph() {
    let place = Place::new();
    place.train("runs/first", &[]);
    let measured = |run: &str| place.brisk(&["evaluate", run, "--json"]).good().json();
    let export = |more: &[&str]| {
        let export = ["export", "runs/first", "--format", "onnx", "--logits", "--output", "first.onnx"];
        place.brisk(&[&export[..], more].concat()).good();
    };
    let again = |normalization: &str| {
        let project = format!(
            "data: {{source: idx, validation_split: 0.2, normalization: {normalization}}}
model: {{pretrained: first.onnx}}
train: {{optimizer: {{sgd: {{learning_rate: 1.0e-12}}}}, batch_size: 8, epochs: 1}}
"
        );
        place.write("again.yaml", project);
        place.brisk(&["train", "again.yaml", "--out", &format!("runs/{normalization}")])
    };
    export(&[]);
    again("scale")
        .fails(2, &["first.onnx takes the bytes of pictures", "expected `none`", "--scaled-inputs"]);
    let first = measured("runs/first");
    let same = |second: serde_json::Value| {
        let loss = |m: &serde_json::Value| m["loss"].as_f64().unwrap_or_else(|| panic!("{m}"));
        assert!((loss(&first) - loss(&second)).abs() < 1e-5, "{first}\n{second}");
    };
    again("none").good();
    same(measured("runs/none"));
    export(&["--scaled-inputs"]);
    again("scale").good();
    same(measured("runs/scale"));
}

#[test]
fn files_that_were_cut_are_refused() {
    let place = Place::empty();
    place.unpack("cnn");
    place.unpack("frozen");
    let files = [
        ("keras_models/cnn.keras", "cut.keras"),
        ("keras_models/cnn.h5", "cut.h5"),
        ("mxnet_graphs/network-symbol.json", "cut-symbol.json"),
    ];
    place.write("cut-0001.params", fs::read(of_goldens("mxnet_graphs/network.params")).unwrap());
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() / 2].to_vec();
    for (golden, name) in files {
        place.write(name, cut(fs::read(of_goldens(golden)).unwrap()));
        place.refuses(name, &[name]);
    }
    place.write("cut.pb", cut(place.read("frozen/frozen.pb")));
    place.refuses("cut.pb", &["cut.pb"]);
    for part in ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"] {
        let path = format!("cnn/{part}");
        let whole = place.read(&path);
        place.write(&path, cut(whole.clone()));
        place.refuses("cnn", &["cnn"]);
        place.write(&path, whole);
    }
    place.write("whole-symbol.json", fs::read(of_goldens("mxnet_graphs/network-symbol.json")).unwrap());
    place.refuses("whole-symbol.json", &["there is no whole-NNNN.params beside it"]);
    place.write("whole-0001.params", cut(fs::read(of_goldens("mxnet_graphs/network.params")).unwrap()));
    place.refuses("whole-symbol.json", &["whole-0001.params"]);
    let torch = fs::read(of_goldens("torch/models/cnn.pt")).unwrap();
    place.write("cut.pt", cut(torch));
    place.brisk(&["import", "cut.pt"]).fails(2, &["cut.pt"]);
}

#[test]
fn files_that_were_made_to_do_harm_are_refused() {
    let place = Place::empty();
    // A pickle that would run a command.
    place.write("harm.pt", b"\x80\x02cos\nsystem\nX\x05\0\0\0touch\x85R.");
    place.brisk(&["import", "harm.pt"]).fails(2, &["harm.pt"]);
    for (name, says) in [("huge.h5", ""), ("circle.h5", ""), ("branches.h5", ""), ("lost_mask.keras", "mask")]
    {
        let path = of_goldens(&format!("keras_models/hostile/{name}")).display().to_string();
        place.refuses(&path, &[name, says]);
    }
    place.write("not.pb", "neither a graph nor anything else");
    place.refuses("not.pb", &["not.pb"]);
    place.write("folder/saved_model.pb", [0xff; 64]);
    place.refuses("folder", &["saved_model.pb"]);
    place.write("not-0001.params", [0xff; 64]);
    place.write(
        "not-symbol.json",
        r#"{"nodes": [{"op": "tanh", "name": "n", "inputs": [[7, 0, 0]]}], "heads": [[0, 0, 0]]}"#,
    );
    place.refuses("not-symbol.json", &["not-symbol.json"]);
    place.write("not.npz", "PK");
    let path = of_goldens("keras_models/mlp.keras").display().to_string();
    place.brisk(&["import", &path, "--check", "not.npz", "not.npz"]).fails(2, &["not.npz"]);
}
