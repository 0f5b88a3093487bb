//! All protocols give the same numbers, and those are the model's.

use brisk_data::{Encoded, EncodedValue, Notes};
use brisk_eval::{Asker, Ready};
use serde_json::{Value as Json, json};

use crate::support::*;

fn floats(json: &Json) -> Vec<f32> {
    json.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

/// What the library says about the pictures of `pictures(n)`.
fn expected(path: &std::path::Path, n: usize) -> Vec<f32> {
    let ready = Ready::open(path).unwrap();
    let sample = |i: usize| {
        let pixels = (i * 16..(i + 1) * 16).map(|i| (i * 37 % 251) as u8).collect();
        Encoded { inputs: vec![EncodedValue::Image(pixels)], targets: vec![], notes: Notes::default() }
    };
    let samples: Vec<Encoded> = (0..n).map(sample).collect();
    let device = brisk_runtime::Cpu::new(1);
    Asker::new(&device, &ready).ask(&samples).unwrap().into_iter().flatten().flatten().collect()
}

#[test]
fn kserve_v2_gives_the_models_numbers_as_json_and_raw() {
    let dir = tempfile::tempdir().unwrap();
    let path = picture_model(dir.path(), 1);
    let server = serve(&path, Default::default());
    let expected = expected(&path, 3);
    let answer = server.post("/v2/models/pets/infer", &pictures(3)).json();
    assert_eq!(answer["outputs"][0]["shape"], json!([3, 3]));
    assert_eq!(answer["outputs"][0]["datatype"], "FP32");
    assert_eq!(floats(&answer["outputs"][0]["data"]), expected);

    let pixels: Vec<u8> = (0..48).map(|i| (i * 37 % 251) as u8).collect();
    let head = json!({
        "id": "7",
        "inputs": [{"name": "image", "shape": [3, 4, 4, 1], "datatype": "UINT8", "parameters": {"binary_data_size": 48}}],
        "outputs": [{"name": "probabilities", "parameters": {"binary_data": true}}],
    })
    .to_string();
    let length = head.len().to_string();
    let body = [head.as_bytes(), &pixels].concat();
    let answer = server.ask(
        "POST",
        "/v2/models/pets/versions/1/infer",
        &[("Inference-Header-Content-Length", &length)],
        &body,
    );
    let length: usize = answer
        .headers
        .lines()
        .find_map(|l| l.strip_prefix("inference-header-content-length: "))
        .unwrap()
        .parse()
        .unwrap();
    let head: Json = serde_json::from_slice(&answer.body[..length]).unwrap();
    assert_eq!(
        (&head["id"], &head["outputs"][0]["parameters"]["binary_data_size"]),
        (&json!("7"), &json!(36))
    );
    let raw: Vec<f32> =
        answer.body[length..].chunks(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect();
    assert_eq!(raw, expected);
}

#[test]
fn classes_can_be_asked_for_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(&picture_model(dir.path(), 1), Default::default());
    let mut request = pictures(1);
    request["outputs"] = json!([{"name": "probabilities", "parameters": {"classification": 2}}]);
    let answer = server.post("/v2/models/pets/infer", &request).json();
    let best = answer["outputs"][0]["data"][0].as_str().unwrap();
    assert_eq!(answer["outputs"][0]["shape"], json!([1, 2]));
    assert!(["0:cat", "1:dog", "2:emu"].iter().any(|end| best.ends_with(end)), "{best}");
}

#[test]
fn tensorflow_serving_takes_rows_and_columns() {
    let dir = tempfile::tempdir().unwrap();
    let path = picture_model(dir.path(), 1);
    let server = serve(&path, Default::default());
    let expected = expected(&path, 2);
    let rows: Vec<Json> = (0..2)
        .map(|n| {
            let pixel = |y: usize, x: usize| json!([(n * 16 + y * 4 + x) * 37 % 251]);
            (0..4).map(|y| (0..4).map(|x| pixel(y, x)).collect::<Json>()).collect()
        })
        .collect();
    let answer = server.post("/v1/models/pets:predict", &json!({ "instances": rows })).json();
    let all: Vec<f32> = answer["predictions"].as_array().unwrap().iter().flat_map(floats).collect();
    assert_eq!(all, expected);
    let answer =
        server.post("/v1/models/pets/versions/1:predict", &json!({"inputs": {"image": rows}})).json();
    let all: Vec<f32> = answer["outputs"].as_array().unwrap().iter().flat_map(floats).collect();
    assert_eq!(all, expected);
    assert_eq!(server.get("/v1/models/pets")["model_version_status"][0]["state"], "AVAILABLE");
    assert_eq!(server.post("/v1/models/pets:classify", &json!({})).status, 404);
}

#[test]
fn a_picture_file_is_answered_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(&picture_model(dir.path(), 1), Default::default());
    let mut png = std::io::Cursor::new(Vec::new());
    image::GrayImage::from_fn(8, 8, |x, y| image::Luma([(x * 20 + y * 10) as u8]))
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    let png = png.into_inner();
    let answer = server.ask("POST", "/predict", &[("Content-Type", "image/png")], &png).json();
    assert!(["cat", "dog", "emu"].contains(&answer["label"].as_str().unwrap()), "{answer}");
    assert_eq!(answer["probabilities"].as_array().unwrap().len(), 3);

    let form = [
        b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n".as_slice(),
        &png,
        b"\r\n--b--\r\n",
    ]
    .concat();
    let same = server
        .ask("POST", "/predict/pets?top=1", &[("Content-Type", "multipart/form-data; boundary=b")], &form)
        .json();
    assert_eq!((&same["label"], same["probabilities"].as_array().unwrap().len()), (&answer["label"], 1));

    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(&png);
    for body in [json!({ "image": text }), json!({"image": {"b64": text}}), json!({ "b64": text })] {
        assert_eq!(server.post("/predict", &body).json()["label"], answer["label"]);
    }
    let several = server.post("/predict", &json!({"rows": [{ "image": text }, { "image": text }]})).json();
    assert_eq!(several["answers"][1]["label"], answer["label"]);
}

#[test]
fn rows_of_a_table_are_answered_and_described() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(&table_model(dir.path()), Default::default());
    let row = json!({"text": "a fine day 好", "size": 3, "colour": "red"});
    let one = server.post("/predict/moods", &row).json();
    assert!(["good", "bad"].contains(&one["label"].as_str().unwrap()), "{one}");
    let two = server.post("/predict", &json!([row, {"text": "", "size": null, "colour": null}])).json();
    assert_eq!(two["answers"][0]["label"], one["label"]);

    let tensors = json!({"inputs": [
        {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a fine day 好"]},
        {"name": "size", "shape": [1, 1], "datatype": "FP32", "data": [3.0]},
        {"name": "colour", "shape": [1], "datatype": "BYTES", "data": ["red"]},
    ]});
    let answer = server.post("/v2/models/moods/infer", &tensors).json();
    let best = floats(&answer["outputs"][0]["data"]).into_iter().fold(0.0f32, f32::max);
    assert!((best - one["probability"].as_f64().unwrap() as f32).abs() < 1e-6);

    let document = server.get("/openapi.json");
    let schema =
        &document["paths"]["/predict/moods"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(schema["required"], json!(["text", "size", "colour"]));
    assert_eq!(schema["properties"]["size"]["type"], json!(["number", "null"]));
    assert!(server.ask("GET", "/docs", &[], b"").text().contains("/predict/moods"));
    let error = server.post("/predict", &json!({"text": "a", "size": "large", "colour": "red"})).error();
    assert!(error.contains("input `size`") && error.contains("large"), "{error}");
    assert!(
        server
            .post("/predict", &json!({"text": 5, "size": 1, "colour": "red"}))
            .error()
            .contains("expected a text, found a number")
    );
}

#[test]
fn many_clients_at_once_get_their_own_answers() {
    let dir = tempfile::tempdir().unwrap();
    let path = picture_model(dir.path(), 1);
    let server = serve(&path, Default::default());
    let expected = expected(&path, 8);
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (server, expected) = (&server, &expected);
            scope.spawn(move || {
                for _ in 0..20 {
                    let n = client + 1;
                    let answer = server.post("/v2/models/pets/infer", &pictures(n)).json();
                    assert_eq!(floats(&answer["outputs"][0]["data"]), expected[..n * 3]);
                }
            });
        }
    });
    let metrics = server.ask("GET", "/metrics", &[], b"").text();
    assert!(metrics.contains("brisk_model_rows_total{model=\"pets\",version=\"1\"} 720"), "{metrics}");
}
