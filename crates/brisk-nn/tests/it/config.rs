//! Configuration: round trips, misspellings, schemas.

use brisk_nn::{
    Activation, Conv2D, LayerConfig, LayerSpec, Loss, Metric, Model, ModelConfig, Optimizer, Schedule, zoo,
};
use serde_json::json;

fn yaml_error<T: serde::de::DeserializeOwned + std::fmt::Debug>(yaml: &str) -> String {
    serde_saphyr::from_str::<T>(yaml).expect_err(yaml).to_string()
}

#[test]
fn layers_are_read_as_keras_writes_them() {
    let layers: Vec<LayerSpec> = serde_saphyr::from_str(
        "
- Conv2D: {filters: 32, kernel_size: [3, 5], padding: same, activation: relu, kernel_initializer: he_normal}
- Conv2D: {filters: 32, kernel_size: 3, activation: {leaky_relu: {negative_slope: 0.1}}}
- MaxPooling2D
- GlobalAveragePooling2D: {}
- Dropout: {rate: 0.5, name: drop}
- Dense:
    units: 10
    activation: null
    inputs: drop
",
    )
    .expect("layers");
    let conv = Conv2D::new(32, [3, 5]).padding(brisk_nn::Padding::Same).activation(Activation::Relu);
    assert_eq!(layers[0].layer, conv.kernel_initializer(brisk_nn::Initializer::HeNormal).into());
    assert_eq!(layers[4].name.as_deref(), Some("drop"));
    assert_eq!(layers[5].inputs, ["drop"]);
}

#[test]
fn misspelt_names_are_answered_with_the_nearest() {
    let cases = [
        ("- Conv2d: {filters: 3, kernel_size: 3}", "unknown layer \"Conv2d\"; did you mean \"Conv2D\"?"),
        ("- Flaten", "unknown layer \"Flaten\"; did you mean \"Flatten\"?"),
        ("- Attention", "unknown layer \"Attention\"; known are: Conv2D, "),
        ("- Conv2D: {filtres: 3, kernel_size: 3}", "unknown argument \"filtres\"; did you mean \"filters\"?"),
        ("- Dense: {units: 3, activation: rely}", "unknown activation \"rely\"; did you mean \"relu\"?"),
        ("- Dense: {units: 3, nam: x}", "unknown argument \"nam\"; did you mean \"name\"?"),
        ("- Flatten: {units: 3}", "unknown argument \"units\""),
        ("- Dense: {units: 3, activation: {relu: {slope: 1}}}", "unknown argument \"slope\""),
        ("- Dense: {units: -3}", "-3"),
        ("- Dense: {units: many}", "many"),
        ("- Dense: {}", "units"),
        ("- Dense", "units"),
        ("- Dense: 10", "arguments such as `units: ...`"),
        ("- {Dense: {units: 3}, Flatten: {}}", "expected one layer here, found \"Flatten\" beside \"Dense\""),
        ("- {}", "the name of a layer"),
        ("- 7", "a layer: its name"),
        ("- Conv2D: {filters: 3, kernel_size: [1, 2, 3]}", "expected two numbers: [height, width]"),
        ("- Conv2D: {filters: 3, kernel_size: 3, padding: full}", "full"),
        ("- ZeroPadding2D: {padding: wide}", "[[top, bottom], [left, right]]"),
    ];
    for (yaml, expected) in cases {
        let error = yaml_error::<Vec<LayerSpec>>(yaml);
        assert!(error.contains(expected), "{yaml}\n  says {error}\n  not {expected}");
    }
    assert!(yaml_error::<Optimizer>("adamm").contains("did you mean \"adam\"?"));
    assert!(yaml_error::<Schedule>("cosin").contains("did you mean \"cosine\"?"));
    assert!(yaml_error::<Metric>("acuracy").contains("did you mean \"accuracy\"?"));
}

#[test]
fn what_is_written_can_be_read() {
    let model = zoo::resnet18_cifar([32, 32, 3], 10).expect("fits");
    let config = ModelConfig::from(model.clone());
    let yaml = serde_saphyr::to_string(&config).expect("yaml");
    let back: ModelConfig = serde_saphyr::from_str(&yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
    assert_eq!(Model::try_from(back).expect("fits"), model);
    let json = serde_json::to_string(&model).expect("json");
    assert_eq!(serde_json::from_str::<Model>(&json).expect("json"), model);

    let optimizers =
        [Optimizer::sgd(0.1), Optimizer::adam(0.1), Optimizer::adamw(0.1), Optimizer::rmsprop(0.1)];
    for o in optimizers {
        assert_eq!(serde_json::from_value::<Optimizer>(json!(o)).expect("json"), o);
    }
    let loss = Loss::SparseCategoricalCrossentropy {
        label_smoothing: 0.1,
        class_weights: Some(vec![1.0, 2.0]),
        ignore_class: None,
    };
    assert_eq!(serde_json::from_value::<Loss>(json!(loss)).expect("json"), loss);
    assert_eq!(json!(Loss::MeanSquaredError), json!("mean_squared_error"));
}

/// The schema takes what the reader takes, by its main points.
#[test]
fn schemas_know_every_layer_and_its_arguments() {
    let schema = json!(schemars::schema_for!(LayerSpec));
    let variants = schema["oneOf"].as_array().expect("variants");
    let objects: Vec<&str> = variants.iter().filter_map(|v| v["required"][0].as_str()).collect();
    assert_eq!(objects, LayerConfig::KINDS);
    let conv = &variants[0]["properties"]["Conv2D"];
    assert_eq!(conv["required"], json!(["filters", "kernel_size"]));
    assert!(conv["properties"]["inputs"].is_object() && conv["properties"]["name"].is_object());
    let bare = variants.last().expect("bare names")["enum"].as_array().expect("names");
    assert!(
        bare.contains(&json!("Flatten"))
            && bare.contains(&json!("MaxPooling2D"))
            && !bare.contains(&json!("Dense"))
    );
    let optimizer = json!(schemars::schema_for!(Optimizer)).to_string();
    assert!(optimizer.contains("\"adamw\"") && optimizer.contains("\"global_clipnorm\""), "{optimizer}");
    let loss = json!(schemars::schema_for!(Loss)).to_string();
    assert!(loss.contains("\"title\":\"Loss\"") && loss.contains("mean_squared_error"), "{loss}");
}

#[test]
fn layers_share_the_parameters_of_earlier_ones_of_their_kind() {
    let text = r#"{"input_shape": [4], "layers": [{"Dense": {"name": "a", "units": 4}}, {"Dense": {"name": "b", "shares": "a", "units": 4}}]}"#;
    let model: Model = serde_json::from_str(text).unwrap();
    let names: Vec<String> = model.param_specs().unwrap().into_iter().map(|p| p.name).collect();
    assert_eq!(names, ["a.kernel", "a.bias"]);
    let again: Model = serde_json::from_str(&serde_json::to_string(&model).unwrap()).unwrap();
    assert_eq!(again, model);
    for (from, to, expected) in [
        (
            "\"shares\": \"a\"",
            "\"shares\": \"c\"",
            "there is no layer \"c\" before it to share parameters with",
        ),
        (
            "\"Dense\": {\"name\": \"b\", \"shares\": \"a\", \"units\": 4}",
            "\"LayerNormalization\": {\"shares\": \"a\"}",
            "it cannot share the parameters of \"a\", a Dense",
        ),
        (
            "\"shares\": \"a\", \"units\": 4",
            "\"shares\": \"a\", \"units\": 3",
            "kernel is shared, but here it is [4, 3] and there [4, 4]",
        ),
    ] {
        let error = serde_json::from_str::<Model>(&text.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
