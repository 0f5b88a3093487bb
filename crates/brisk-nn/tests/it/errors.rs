//! Configurations that do not fit: errors that name the layer and the remedy, and never a panic.

use brisk_graph::DType;
use brisk_nn::prelude::*;
use brisk_nn::{INPUT, LayerSpec, ModelConfig, ModelInput, Scaling};
use expect_test::expect;
use serde_json::{Value as Json, json};

fn model(input: &[usize], yaml: &str) -> Result<Model, String> {
    let layers: Vec<LayerSpec> = serde_saphyr::from_str(yaml).unwrap_or_else(|e| panic!("{yaml}: {e}"));
    Model::from_layers(input, layers).map_err(|e| e.to_string())
}

#[test]
fn layers_that_do_not_fit_say_what_to_do() {
    let cases: &[(&[usize], &str)] = &[
        (&[13, 13, 64], "[Dense: {units: 3}]"),
        (&[2, 2, 2, 2, 2], "[Dense: {units: 3}]"),
        (&[64], "[Conv2D: {filters: 3, kernel_size: 3}]"),
        (&[2, 2], "[MaxPooling2D]"),
        (&[4, 4, 3], "[Conv2D: {filters: 3, kernel_size: 5}]"),
        (&[4, 4, 3], "[Conv2D: {filters: 0, kernel_size: 1}]"),
        (&[4, 4, 3], "[Conv2D: {filters: 4, kernel_size: 1, groups: 2}]"),
        (&[1, 1, 3], "[MaxPooling2D]"),
        (&[64, 64, 3], "[MaxPooling2D: {pool_size: 32}]"),
        (&[7], "[Reshape: {target_shape: [2, -1]}]"),
        (&[8], "[Reshape: {target_shape: [-1, -1]}]"),
        (&[8], "[Reshape: {target_shape: [-3]}]"),
        (&[8], "[Dropout: {rate: 1.0}]"),
        (&[8], "[Add]"),
        (&[8], "[Dense: {units: 4}, Add: {inputs: [input, dense]}]"),
        (&[8, 8, 2], "[Flatten, {Concatenate: {inputs: [input, flatten]}}]"),
        (&[8], "[{Dense: {units: 4, name: a}}, {Dense: {units: 4, name: a}}]"),
        (&[8], "[{Dense: {units: 4}}, {Dense: {units: 4, inputs: [dens]}}]"),
        (&[8], "[{Dense: {units: 4, inputs: [dense_1]}}, {Dense: {units: 4}}]"),
        (&[8], "[{Dense: {units: 4}}, {Dense: {units: 4, inputs: [input]}}]"),
        (&[8], "[{Dense: {units: 4, name: a b}}]"),
        (&[8], "[{Dense: {units: 4, inputs: [input, input]}}]"),
        (&[8], "[]"),
        (&[0], "[Flatten]"),
        (&[], "[{Dense: {units: 4}}]"),
        (&[8], "[BatchNormalization: {epsilon: 0.0}]"),
        (&[65536], "[Dense: {units: 2147483648}]"),
    ];
    let mut text = String::new();
    for (input, yaml) in cases {
        let layers = serde_saphyr::from_str::<Vec<LayerSpec>>(yaml).map_err(|e| e.to_string());
        let error = layers.and_then(|l| Model::from_layers(*input, l).map_err(|e| e.to_string()));
        let error = error.map(|_| ()).expect_err(yaml);
        text += error.lines().next().unwrap_or_default();
        text += "\n";
    }
    expect![[r#"
        dense: expected a vector per sample, found maps [13, 13, 64]; put Flatten before it
        dense: expected a vector per sample, found [2, 2, 2, 2, 2]; put Flatten or Reshape before it
        conv2d: expected maps [height, width, channels], found a vector [64]; put it before Flatten, or put Reshape before it
        max_pooling2d: expected maps [height, width, channels], found [2, 2]; put Reshape before it
        conv2d: a kernel of 5x5 does not fit in maps of 4x4; use padding: same, a smaller kernel, or pool less before it
        conv2d: expected filters of 1 to 2147483648, found 0
        conv2d: input channels must be divisible by groups; found 3 input channels and 2 groups
        max_pooling2d: a pool_size of 2x2 does not fit in maps of 1x1; use padding: same, a smaller pool_size, or pool less before it
        max_pooling2d: expected a pool_size of at most 256 cells, found [32, 32]; use GlobalMaxPooling2D for whole maps
        reshape: cannot give [7], 7 values a sample, the shape [2, -1]; change target_shape so that its product fits
        reshape: expected at most one -1 in target_shape, found [-1, -1]
        reshape: expected sizes of 1 or more, or one -1, in target_shape, found -3
        dropout: expected a rate from 0 to below 1, found 1
        add: expected at least two inputs, found 1; name them: inputs: [a, b]
        add: expected inputs of one shape, found [8] and [4]; make them fit, with Conv2D of kernel_size 1 for example
        concatenate: expected inputs that differ in axis 3 only, found [8, 8, 2] and [128]; make them fit, with pooling or padding for example
        model: two layers are called "a"; names must be unique
        dense_1: there is no layer "dens" for its input; did you mean "dense"?
        dense: its input "dense_1" stands after it; inputs must stand before
        dense: nothing uses its result; name it in the `inputs` of a later layer, or remove it
        model: a layer cannot be called "a b"; use letters, digits, _ and -, and not "input"
        dense: takes one input, found 2; join them with Add or Concatenate first
        model: expected at least one layer, found none
        input: expected sizes of at least 1 and fewer than 2^32 values a sample, found [0]
        dense: expected a vector per sample, found []; put Flatten or Reshape before it
        batch_normalization: expected an epsilon above 0, found 0
        dense: its kernel of [65536, 2147483648] would have 140737488355328 numbers, at most 8589934592 are possible; check its sizes
    "#]].assert_eq(&text);
}

#[test]
fn tasks_that_do_not_fit_say_what_to_do() {
    let dense = |units: usize| Sequential::new([8]).add(Dense::new(units)).build().expect("fits");
    let task = |model: Model, loss: Json| Task::new(model, serde_json::from_value(loss).expect("a loss"));
    let sparse = "sparse_categorical_crossentropy";
    let train = |t: &Task, o: Json, batch: usize| {
        let o: Optimizer = serde_json::from_value(o).expect("an optimizer");
        t.train_graph(&o, batch).map(|_| ()).expect_err("does not fit").to_string()
    };
    let with = |scaling: Scaling| {
        let mut model = dense(2);
        model.set_stored(INPUT, DType::F32, scaling).expect("its input");
        task(model, json!(sparse))
    };
    let scaled = with(Scaling { scale: 1.0, mean: vec![0.5; 3], std: vec![] });
    let zero = with(Scaling { scale: 1.0, mean: vec![], std: vec![0.0; 8] });
    let mut wrong = task(dense(2), json!("mean_squared_error"));
    wrong.outputs[0].metrics = vec![Metric::Accuracy];
    let maps = zoo_head();
    let lines = [
        train(&task(dense(1), json!(sparse)), json!("adam"), 4),
        train(&task(dense(3), json!({sparse: {"class_weights": [1.0, 2.0]}})), json!("adam"), 4),
        train(&task(dense(3), json!({sparse: {"label_smoothing": 1.5}})), json!("adam"), 4),
        train(&task(dense(3), json!({"huber": {"delta": 0.0}})), json!("adam"), 4),
        train(&task(dense(3), json!(sparse)), json!("adam"), 0),
        train(&task(dense(3), json!(sparse)), json!({"adam": {"beta_1": 1.0}}), 4),
        train(&task(dense(3), json!(sparse)), json!({"sgd": {"learning_rate": -1.0}}), 4),
        train(&task(dense(3), json!(sparse)), json!({"sgd": {"clipnorm": 0.0}}), 4),
        train(&scaled, json!("sgd"), 4),
        train(&zero, json!("sgd"), 4),
        train(&wrong, json!("sgd"), 4),
        train(&task(maps, json!({"binary_crossentropy": {"class_weights": [1.0, 2.0]}})), json!("sgd"), 4),
    ];
    expect![[r#"
        loss sparse_categorical_crossentropy: expected at least 2 classes, found 1; give the last layer a unit for each class, or use binary_crossentropy
        loss sparse_categorical_crossentropy: expected class_weights for 3 classes, found 2
        loss sparse_categorical_crossentropy: expected a label_smoothing from 0 to below 1, found 1.5
        loss huber: expected a delta above 0, found 0
        batch_size: expected 1 to 2^32, found 0
        optimizer adam: expected beta_1 from 0 to below 1, found 1
        optimizer sgd: expected learning_rate of 0 or more, found -1
        optimizer sgd: expected clipnorm above 0, found 0
        scaling: expected a mean for each of 8 channels, found 3
        scaling: expected a finite scale and std above 0, found scale 1 and std [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
        metric accuracy: does not go with the loss mean_squared_error
        loss binary_crossentropy: class_weights need a model with one output, found 2
    "#]].assert_eq(&(lines.join("\n") + "\n"));
}

fn zoo_head() -> Model {
    Sequential::new([8, 8, 3]).add(Conv2D::new(2, 3)).build().expect("fits")
}

/// Every layer with every small and huge number in every place, on every kind of input: a model or an error, no panic.
#[test]
fn no_configuration_panics() {
    let numbers = [json!(0), json!(1), json!(3), json!(255), json!(1u64 << 31), json!(u64::MAX)];
    let keys: &[(&str, &[(&str, Json)])] = &[
        (
            "Conv2D",
            &[
                ("filters", json!(4)),
                ("kernel_size", json!(2)),
                ("strides", json!(1)),
                ("dilation_rate", json!(1)),
                ("groups", json!(1)),
            ],
        ),
        (
            "DepthwiseConv2D",
            &[
                ("kernel_size", json!(2)),
                ("strides", json!(1)),
                ("dilation_rate", json!(1)),
                ("depth_multiplier", json!(1)),
            ],
        ),
        ("Conv2DTranspose", &[("filters", json!(4)), ("kernel_size", json!(2)), ("strides", json!(1))]),
        ("MaxPooling2D", &[("pool_size", json!(2)), ("strides", json!(1))]),
        ("AveragePooling2D", &[("pool_size", json!(2)), ("strides", json!(1))]),
        ("GlobalAveragePooling2D", &[]),
        ("GlobalMaxPooling2D", &[]),
        ("Flatten", &[]),
        ("Dense", &[("units", json!(4))]),
        ("ZeroPadding2D", &[("padding", json!(1))]),
        ("UpSampling2D", &[("size", json!(2))]),
        ("BatchNormalization", &[("momentum", json!(0.9)), ("epsilon", json!(0.1))]),
        ("LayerNormalization", &[("epsilon", json!(0.1))]),
        ("Dropout", &[("rate", json!(0.1))]),
        ("Reshape", &[]),
        ("Add", &[]),
        ("Concatenate", &[("axis", json!(1))]),
        ("Activation", &[]),
    ];
    let inputs: [&[usize]; 8] =
        [&[], &[0], &[1], &[7], &[5, 6, 3], &[1, 1, 1], &[usize::MAX, usize::MAX, 2], &[65_535, 65_535, 1]];
    let mut built = 0;
    for (kind, arguments) in keys {
        let mut cases = Vec::new();
        for i in 0..arguments.len().max(1) {
            for number in &numbers {
                for padding in ["valid", "same"] {
                    let mut config: serde_json::Map<_, _> =
                        arguments.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
                    if let Some((key, _)) = arguments.get(i) {
                        config.insert(key.to_string(), number.clone());
                    }
                    match *kind {
                        "Conv2D" | "DepthwiseConv2D" | "Conv2DTranspose" | "MaxPooling2D"
                        | "AveragePooling2D" => {
                            config.insert("padding".into(), json!(padding));
                        }
                        "Reshape" => {
                            config.insert("target_shape".into(), json!([-1, number]));
                        }
                        "Activation" => {
                            config.insert("activation".into(), json!("softmax"));
                        }
                        _ => {}
                    }
                    cases.push(json!({ *kind: config }));
                }
            }
        }
        for case in cases {
            for input in inputs {
                for layers in
                    [json!([case]), json!([case, case]), json!([case, "Flatten", {"Dense": {"units": 2}}])]
                {
                    let config = json!({"input_shape": input, "layers": layers});
                    let Ok(config) = serde_json::from_value::<ModelConfig>(config) else { continue };
                    let Ok(model) = Model::try_from(config) else { continue };
                    built += 1;
                    model.summary().expect("a table");
                    let task = Task::new(model, Loss::sparse_categorical_crossentropy());
                    let _ = task.train_graph(&Optimizer::adam(1e-3), 3);
                    let _ = task.train_graph(&Optimizer::adam(1e-3), usize::MAX);
                }
            }
        }
    }
    assert!(built > 300, "only {built} models were built");
    assert!(model(&[8], "[{Dense: {units: 2}}]").is_ok());
}

#[test]
fn a_few_words_do_not_take_all_memory_or_time() {
    let encoder = "TextEncoder: {vocab_size: 9, hidden_size: 4, num_layers: 1000000000000, num_heads: 2, intermediate_size: 4, max_positions: 8}";
    let config = ModelConfig {
        inputs: ModelInput::packed_text("text"),
        layers: serde_saphyr::from_str(&format!("[{encoder}]")).unwrap(),
        ..ModelConfig::default()
    };
    let cases = [
        model(&[1 << 14, 1 << 14], "[SinePositionEncoding]"),
        model(
            &[1 << 30, 1, 1],
            "[TimeDistributed: {layer: {MultiHeadAttention: {num_heads: 1, key_dim: 1}}}]",
        ),
        Model::try_from(config).map_err(|e| e.to_string()),
    ];
    let errors = cases.map(|case| case.map(drop).unwrap_err());
    expect![[r#"
        sine_position_encoding: with its table of [16384, 16384] the model works out more than 134217728 numbers in advance; use shorter sequences
        time_distributed: with its table of [1073741824, 2] the model works out more than 134217728 numbers in advance; use shorter sequences
        encoder: expected at most 4096 num_layers, found 1000000000000
    "#]].assert_eq(&(errors.join("\n") + "\n"));
}

#[test]
fn names_that_nobody_means_are_not_compared_with_those_known() {
    let (name, other) = ("x".repeat(1 << 22), "y".repeat(1 << 22));
    assert_eq!(brisk_nn::config::closest(&name, [other.as_str()]), None);
    assert_eq!(brisk_nn::config::closest("dens", [other.as_str(), "dense"]), Some("dense"));
}
