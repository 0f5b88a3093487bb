//! Files that were changed by chance or by malice.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use brisk_format::load_keras;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::goldens;
use crate::hostile::mutate;

/// The parts of a good file.
struct Parts {
    config: String,
    weights: Vec<u8>,
}

static GOOD: LazyLock<Parts> = LazyLock::new(|| {
    let mut zip = ZipArchive::new(fs::File::open(goldens().join("mlp.keras")).unwrap()).unwrap();
    let mut part = |name: &str| {
        let mut bytes = Vec::new();
        zip.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    Parts { config: String::from_utf8(part("config.json")).unwrap(), weights: part("model.weights.h5") }
});

/// Writes a `.keras` file of parts.
fn archive(dir: &Path, parts: &[(&str, &[u8])], method: CompressionMethod) -> PathBuf {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in parts {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    let path = dir.join("m.keras");
    fs::write(&path, zip.finish().unwrap().into_inner()).unwrap();
    path
}

/// What is said of a file with another configuration.
fn refused(config: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let parts: [(&str, &[u8]); 3] =
        [("metadata.json", b"{}"), ("config.json", config.as_bytes()), ("model.weights.h5", &GOOD.weights)];
    let path = archive(dir.path(), &parts, CompressionMethod::Stored);
    let begin = Instant::now();
    let error = load_keras(&path).unwrap_err().to_string();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}: {error}", begin.elapsed());
    error
}

fn sequential(layers: Json) -> String {
    json!({"class_name": "Sequential", "config": {"name": "m", "layers": layers}}).to_string()
}

fn input(shape: Json) -> Json {
    json!({"class_name": "InputLayer", "config": {"name": "i", "batch_shape": shape, "dtype": "float32"}})
}

fn layer(class: &str, config: Json) -> Json {
    json!({"module": "keras.layers", "class_name": class, "config": config})
}

#[test]
fn bombs_and_paths_lead_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let spaces = vec![b' '; 40 << 20];
    let bomb: [(&str, &[u8]); 3] =
        [("metadata.json", b"{}"), ("config.json", &spaces), ("model.weights.h5", &GOOD.weights)];
    let error = load_keras(&archive(dir.path(), &bomb, CompressionMethod::Deflated)).unwrap_err().to_string();
    assert!(error.contains("config.json is longer than"), "{error}");
    let zeros = vec![0; 200 << 20];
    let bomb: [(&str, &[u8]); 3] =
        [("metadata.json", b"{}"), ("config.json", GOOD.config.as_bytes()), ("model.weights.h5", &zeros)];
    let error = load_keras(&archive(dir.path(), &bomb, CompressionMethod::Deflated)).unwrap_err().to_string();
    assert!(error.contains("model.weights.h5 is longer than"), "{error}");

    let inner = dir.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let paths: [(&str, &[u8]); 5] = [
        ("metadata.json", b"{}"),
        ("../evil", b"x"),
        ("/tmp/brisk-evil", b"x"),
        ("config.json", GOOD.config.as_bytes()),
        ("model.weights.h5", &GOOD.weights),
    ];
    load_keras(&archive(&inner, &paths, CompressionMethod::Deflated)).unwrap();
    assert!(!dir.path().join("evil").exists() && !Path::new("/tmp/brisk-evil").exists());
    let error = load_keras(&archive(&inner, &paths[..3], CompressionMethod::Stored)).unwrap_err().to_string();
    assert!(error.contains("it has no config.json"), "{error}");
}

#[test]
fn code_is_refused_and_unknown_layers_are_named_at_once() {
    let code = json!({"class_name": "__lambda__", "config": {"value": ["4wEAAAAAAAAA\n", null, null]}});
    let error = refused(&sequential(json!([
        input(json!([null, 6])),
        layer("Lambda", json!({"name": "double", "function": code})),
        layer("Dense", json!({"name": "fine", "units": 2})),
        layer("Dense", json!({"name": "odd", "units": 2, "activation": code})),
        layer("Attention", json!({"name": "luong"})),
        json!({"module": "my.module", "class_name": "Dense", "registered_name": "my>Dense", "config": {"name": "own", "units": 2}}),
        layer("LSTM", json!({"name": "kept", "units": 2, "stateful": true})),
    ])));
    for part in [
        "5 layers cannot be read",
        "layer \"double\" (Lambda): a Lambda holds code of Python, which is never run",
        "layer \"odd\" (Dense): its activation is code of Python, which is never run",
        "layer \"luong\" (Attention): Brisk has no layer Attention",
        "layer \"own\" (Dense): Brisk has no layer Dense",
        "layer \"kept\" (LSTM): its argument stateful: true is not supported",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("\"fine\""), "{error}");
    let error = refused(&json!({"class_name": "MyModel", "module": "mine", "config": {}}).to_string());
    assert!(error.contains("the model is of the class MyModel, whose code is not in the file"), "{error}");
}

#[test]
fn circles_and_towers_of_models_end() {
    let node = |name: &str| json!([{"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}], "kwargs": {}}]);
    let dense = |name: &str, before: &str| json!({"module": "keras.layers", "class_name": "Dense", "name": name, "config": {"units": 3}, "inbound_nodes": node(before)});
    let functional = |layers: Json, output: &str| {
        json!({"class_name": "Functional", "config": {"name": "f", "layers": layers,
            "input_layers": [["i", 0, 0]], "output_layers": [[output, 0, 0]]}})
    };
    let start = json!({"class_name": "InputLayer", "name": "i", "config": {"batch_shape": [null, 3]}, "inbound_nodes": []});
    let error = refused(&functional(json!([start, dense("a", "b"), dense("b", "a")]), "b").to_string());
    assert!(error.contains("its inputs go in a circle"), "{error}");
    let error = refused(&functional(json!([start, dense("a", "a")]), "a").to_string());
    assert!(error.contains("its inputs go in a circle"), "{error}");
    let error = refused(&functional(json!([start, dense("a", "nowhere")]), "a").to_string());
    assert!(error.contains("there is no layer \"nowhere\""), "{error}");

    // Each model uses the one inside of it twice.
    let mut tower = functional(json!([start, dense("a", "i")]), "a");
    for _ in 0..14 {
        let mut twice = tower.clone();
        twice["name"] = json!("inner");
        let calls = json!([node("i")[0], node("inner")[0]]);
        twice["inbound_nodes"] = calls;
        tower = json!({"class_name": "Functional", "config": {"name": "f", "layers": [start, twice],
            "input_layers": [["i", 0, 0]], "output_layers": [["inner", 1, 0]]}});
    }
    let error = refused(&tower.to_string());
    assert!(error.contains("the model has more than 10000 layers"), "{error}");
    let error = refused(&"[".repeat(100_000));
    assert!(error.contains("config.json: recursion limit"), "{error}");
    let error = refused("{\"class_name\": \"Sequential\", \"config\": 7}");
    assert!(error.contains("expected a list of layers"), "{error}");
}

/// A reference to the result of the only call of a layer.
fn of(name: &str) -> Json {
    json!([name, 0, 0])
}

/// A model whose input is `i`, and whose output is that of a layer.
fn functional(layers: Vec<Json>, output: &str) -> Json {
    let start = json!({"class_name": "InputLayer", "name": "i", "config": {"batch_shape": [null, 3]}, "inbound_nodes": []});
    let layers: Vec<Json> = std::iter::once(start).chain(layers).collect();
    json!({"class_name": "Functional", "config": {"name": "f", "layers": layers, "input_layers": [of("i")],
        "output_layers": [of(output)]}})
}

/// A layer with a list of calls.
fn called(class: &str, name: &str, config: Json, calls: Vec<Json>) -> Json {
    json!({"module": "keras.layers", "class_name": class, "name": name, "config": config, "inbound_nodes": calls})
}

/// A model that calls another so many times.
fn often(mut inner: Json, times: usize) -> Json {
    inner["name"] = json!("m");
    inner["inbound_nodes"] = json!(vec![json!([of("i")]); times]);
    functional(vec![inner], "m")
}

#[test]
fn what_is_used_often_counts_by_its_size() {
    let expected = "entries, each use of one counted";
    // Many inputs, by position and by name.
    let many = vec![of("i"); 1000];
    for call in [json!(many), json!({"args": [], "kwargs": {"inputs": many}})] {
        let inner = functional(vec![called("Add", "a", json!({}), vec![call])], "a");
        let error = refused(&often(inner, 500).to_string());
        assert!(error.contains(expected), "{error}");
    }
    // Many outputs.
    let mut inner = functional(
        vec![called("Activation", "a", json!({"activation": "relu"}), vec![json!([of("i")])])],
        "a",
    );
    inner["config"]["output_layers"] = json!(vec![of("a"); 1000]);
    let error = refused(&often(inner, 500).to_string());
    assert!(error.contains(expected), "{error}");
    // A call of what is never called.
    let mut inner = functional(
        vec![called("Activation", "a", json!({"activation": "relu"}), vec![json!([of("i")])])],
        "a",
    );
    inner["config"]["layers"][0]["inbound_nodes"] = json!([many]);
    let error = refused(&often(inner, 500).to_string());
    assert!(error.contains(expected), "{error}");
    // Many numbers.
    let numbers = json!({"scale": vec![1.5; 100_000]});
    let scaled = called("Rescaling", "a", numbers, vec![json!([of("i")]); 100]);
    let error = refused(&functional(vec![scaled], "a").to_string());
    assert!(error.contains(expected), "{error}");
    // A long name.
    let long =
        called("Activation", &"a".repeat(2000), json!({"activation": "relu"}), vec![json!([of("i")]); 10]);
    let error = refused(&functional(vec![long], "a").to_string());
    assert!(error.contains("expected a name of 1024 bytes at most, found \"aaa"), "{error}");
}

#[test]
fn configurations_of_countless_values_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let zeros = format!("[{}0]", "0,".repeat(100_000));
    let parts: [(&str, &[u8]); 3] =
        [("metadata.json", b"{}"), ("config.json", zeros.as_bytes()), ("model.weights.h5", &GOOD.weights)];
    let path = archive(dir.path(), &parts, CompressionMethod::Deflated);
    let error = load_keras(&path).unwrap_err().to_string();
    assert!(error.contains("config.json: it has more than") && error.contains("values"), "{error}");
}

#[test]
fn quantized_models_are_refused() {
    let policy =
        |class: &str, config: Json| json!({"module": "keras", "class_name": class, "config": config});
    let int8 = || policy("QuantizedDTypePolicy", json!({"mode": "int8", "source_name": "float32"}));
    for dtype in [
        json!("int8_from_float32"),
        int8(),
        policy("Int4DTypePolicy", json!({"mode": "int4/128", "source_name": "float32"})),
        policy("QuantizedDTypePolicy", json!({"name": "int8_from_float32"})),
        policy("DTypePolicyMap", json!({"default_policy": null, "policy_map": {"m/query": int8()}})),
        policy("DTypePolicyMap", json!({"default_policy": int8(), "policy_map": {}})),
    ] {
        let dense = || layer("Dense", json!({"units": 2, "dtype": dtype}));
        let error = refused(&sequential(json!([input(json!([null, 6])), dense()])));
        assert!(error.contains("is that of a quantized model"), "{error}");
        let inside = layer("TimeDistributed", json!({"layer": dense()}));
        let error = refused(&sequential(json!([input(json!([null, 3, 6])), inside])));
        assert!(error.contains("layer: its dtype"), "{error}");
    }
}

/// Each against each input of an Embedding would take minutes.
#[test]
fn many_comparisons_with_many_inputs_end() {
    let mut inputs = vec![json!(["i", 0, 1]); 150_000];
    inputs.push(of("i"));
    let config = json!({"input_dim": 2, "output_dim": 1, "mask_zero": true});
    let compared = |i: usize| {
        json!({"module": "keras.src.ops.numpy", "class_name": "NotEqual", "name": format!("n{i}"), "config": {},
            "inbound_nodes": [{"args": [of("i"), 0.0], "kwargs": {}}]})
    };
    let layers = std::iter::once(called("Embedding", "e", config, vec![json!(inputs)]));
    let error = refused(&functional(layers.chain((0..40_000).map(compared)).collect(), "e").to_string());
    assert!(error.contains("entries, each use of one counted"), "{error}");
}

/// A copy for each would take minutes.
#[test]
fn metrics_of_many_outputs_are_looked_at_where_they_are() {
    let layers = (0..1000).map(|i| {
        called(
            "Dense",
            &format!("d{i}"),
            json!({"units": 1, "activation": "sigmoid"}),
            vec![json!([of("i")])],
        )
    });
    let mut model = functional(layers.collect(), "d0");
    model["config"]["output_layers"] = (0..1000).map(|i| of(&format!("d{i}"))).collect();
    let list = json!({"class_name": "x", "config": vec![1; 1 << 20]});
    model["compile_config"] = json!({"loss": "binary_crossentropy", "metrics": list});
    let error = refused(&model.to_string());
    assert!(error.contains("is missing"), "{error}");
}

/// A chain of layers, each of which is an output whose loss has its activation in it, is gone through once.
#[test]
fn outputs_that_others_read_keep_their_activations_for_them() {
    const OUTPUTS: usize = 5;
    let name = |i: usize| format!("d{i}");
    let dense = |i: usize| {
        let before = if i == 0 { "i".to_string() } else { name(i - 1) };
        called("Dense", &name(i), json!({"units": 3, "activation": "sigmoid"}), vec![json!([of(&before)])])
    };
    let mut model = functional((0..OUTPUTS).map(dense).collect(), "d0");
    model["config"]["output_layers"] = (0..OUTPUTS).map(|i| of(&name(i))).collect();
    model["compile_config"] = json!({"loss": "binary_crossentropy"});
    let mut weights = hdf5_pure::FileBuilder::new();
    let mut layers = weights.create_group("layers");
    for i in 0..OUTPUTS {
        let mut layer = layers.create_group(&if i == 0 { "dense".to_string() } else { format!("dense_{i}") });
        let mut vars = layer.create_group("vars");
        vars.create_dataset("0").with_f32_data(&[0.5; 9]).with_shape(&[3, 3]);
        vars.create_dataset("1").with_f32_data(&[0.5; 3]).with_shape(&[3]);
        layer.add_group(vars.finish());
        layers.add_group(layer.finish());
    }
    weights.add_group(layers.finish());
    let dir = tempfile::tempdir().unwrap();
    let (model, weights) = (model.to_string(), weights.finish().unwrap());
    let parts: [(&str, &[u8]); 3] =
        [("metadata.json", b"{}"), ("config.json", model.as_bytes()), ("model.weights.h5", &weights)];
    let read = load_keras(&archive(dir.path(), &parts, CompressionMethod::Stored)).unwrap();
    let names: Vec<&str> = read.report.layers.iter().map(|l| l.0.as_str()).collect();
    let expected = "d0 d0_activation d1 d1_activation d2 d2_activation d3 d3_activation d4";
    assert_eq!(names.join(" "), expected);
    assert!(read.saved.outputs.iter().all(|o| o.loss == brisk_nn::Loss::binary_crossentropy()));
    assert_eq!(read.report.logits, [""; 0]);
}

#[test]
fn sizes_that_no_file_holds_are_refused() {
    let large = 1_000_000_000u64;
    for layers in [
        json!([input(json!([null, 6])), layer("Dense", json!({"name": "d", "units": large}))]),
        json!([input(json!([null, large, large])), layer("Dense", json!({"name": "d", "units": 2}))]),
        json!([
            input(json!([null, 6])),
            layer("RepeatVector", json!({"n": large})),
            layer("GRU", json!({"units": 4, "reset_after": false}))
        ]),
        json!([
            input(json!([null, 8, 8, 1])),
            layer("Conv2D", json!({"filters": large, "kernel_size": large}))
        ]),
        json!([
            input(json!([null, 8, 8, 1])),
            layer("UpSampling2D", json!({"size": large})),
            layer("Flatten", json!({}))
        ]),
        json!([input(json!([null, -3])), layer("Dense", json!({"units": 2}))]),
    ] {
        println!("{}", refused(&sequential(layers)));
    }
    for (name, expected) in
        [("circle", "more than 32 deep"), ("branches", "more than fit into"), ("huge", "more than a file of")]
    {
        let begin = Instant::now();
        let path = goldens().join(format!("hostile/{name}.h5"));
        let error = load_keras(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{name}: {:?}", begin.elapsed());
    }
}

#[test]
fn masks_that_do_not_flow_are_refused() {
    for (name, expected) in [
        ("lost_mask", "a layer before does not hand the mask on in Brisk"),
        ("operation", "operations of keras.ops lose the mask"),
        ("own_mask", "it computes a mask that does not follow from an Embedding with mask_zero or a Masking"),
    ] {
        let error = load_keras(&goldens().join(format!("hostile/{name}.keras"))).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn half_precision_is_widened() {
    let half = load_keras(&goldens().join("hostile/half.h5")).unwrap();
    let whole = load_keras(&goldens().join("mlp.h5")).unwrap();
    for (name, tensor) in whole.saved.state.iter() {
        let got = half.saved.state.get(name).unwrap().to_f64s();
        brisk_testkit::assert_close(name, &got, &tensor.to_f64s(), 1e-3, 1e-6);
        assert!(got != tensor.to_f64s(), "{name} is rounded");
    }
}

#[test]
fn files_that_are_cut_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["mlp.keras", "cnn.keras", "mlp.h5"] {
        let good = fs::read(goldens().join(name)).unwrap();
        let path = dir.path().join(name);
        for tenth in 0..10 {
            fs::write(&path, &good[..good.len() * tenth / 10]).unwrap();
            assert!(load_keras(&path).is_err(), "{name} at {tenth} tenths");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_hdf5_file_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| fs::read(goldens().join("packed.h5")).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.h5");
        // Most of such a file is zeros: what is changed is what is not.
        let mut bytes = GOOD.clone();
        let places: Vec<usize> = (0..bytes.len()).filter(|&i| bytes[i] != 0).collect();
        for (at, byte) in &changes {
            bytes[places[at.index(places.len())]] = *byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |c| c.index(bytes.len())));
        fs::write(&path, bytes).unwrap();
        let _ = load_keras(&path);
    }

    #[test]
    fn no_archive_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| fs::read(goldens().join("several.keras")).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.keras");
        fs::write(&path, mutate(&GOOD, &changes, cut)).unwrap();
        let _ = load_keras(&path);
    }

    #[test]
    fn no_configuration_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[-0-9a-z\"\\[\\]{},]"), 1..6),
        of in 0..4usize,
    ) {
        static GOOD: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
            let text = |name: &str| {
                let mut zip = ZipArchive::new(fs::File::open(goldens().join(name)).unwrap()).unwrap();
                let mut config = String::new();
                zip.by_name("config.json").unwrap().read_to_string(&mut config).unwrap();
                let mut weights = Vec::new();
                zip.by_name("model.weights.h5").unwrap().read_to_end(&mut weights).unwrap();
                (config, weights)
            };
            ["shared.keras", "states.keras", "bidirectional.keras", "cnn.keras"].map(text).to_vec()
        });
        let (config, weights) = &GOOD[of];
        let changes: Vec<_> = changes.iter().map(|(at, text)| (*at, text.as_bytes()[0])).collect();
        let config = mutate(config.as_bytes(), &changes, None);
        let dir = tempfile::tempdir().unwrap();
        let parts: [(&str, &[u8]); 3] =
            [("metadata.json", b"{}"), ("config.json", &config), ("model.weights.h5", weights)];
        let _ = load_keras(&archive(dir.path(), &parts, CompressionMethod::Stored));
    }
}
