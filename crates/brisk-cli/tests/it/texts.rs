//! Models of texts: trained, asked, measured.

use std::path::Path;

use crate::support::{Done, LSTM, Place, golden, of_reviews, reviews};

/// A run in `run`, of layers for texts of characters.
fn trained() -> Place {
    let place = Place::empty();
    place.write("reviews.csv", reviews(40));
    let project =
        of_reviews(LSTM, "").replace("type: text", "type: text, tokenizer: character, max_length: 12");
    place.write("tiny.yaml", project);
    let done = place.train("run", &[]);
    assert!(done.err.contains("reviews.csv: 26 training, 6 validation, 8 test rows\n"), "{}", done.err);
    place
}

#[test]
fn texts_from_the_command_line_a_file_and_stdin_get_the_same_answers() {
    let place = trained();
    let texts = ["这部电影很好看", "the film", "", "bad"];
    let by_argument = place.brisk(&[&["predict", "run", "--json"], &texts[..]].concat()).good();
    assert!(by_argument.err.contains("warning: 1 text is empty"), "{}", by_argument.err);
    let said = by_argument.json();
    let said = said.as_array().unwrap();
    assert_eq!(said.len(), 4);
    for (answer, text) in said.iter().zip(texts) {
        assert_eq!(answer["input"], text);
        let probabilities = answer["probabilities"].as_array().unwrap();
        assert_eq!(probabilities[0]["label"], answer["label"]);
        let sum: f64 = probabilities.iter().map(|p| p["probability"].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{answer}");
    }
    // A mark at the beginning, line ends of Windows, and no end of the last line.
    let lines = format!("\u{feff}{}", texts.join("\r\n"));
    place.write("texts.txt", &lines);
    let by_file = place.brisk(&["predict", "run", "--json", "--file", "texts.txt"]).good();
    assert_eq!(by_file.out, by_argument.out);
    assert_eq!(place.brisk_with(&["predict", "run", "--json"], &lines).good().out, by_argument.out);
    place.write("table.tsv", "other\ttext\n1\t这部电影很好看\n2\tthe film\n");
    let by_table = place.brisk(&["predict", "run/model", "--json", "--file", "table.tsv"]).good().json();
    let near = |a: &serde_json::Value, b: &serde_json::Value| {
        (a["probability"].as_f64().unwrap() - b["probability"].as_f64().unwrap()).abs() < 1e-5
    };
    assert!(by_table.as_array().unwrap().iter().zip(said).all(|(a, b)| near(a, b)), "{by_table}");
    let plain = place.brisk(&["predict", "run", "--top", "1", "这部电影很好看", "the film"]).good().out;
    assert_eq!(plain.lines().count(), 2);
    assert!(plain.starts_with("这部电影很好看  ") && plain.contains(" %\nthe film  "), "{plain}");
    assert_eq!(place.brisk_with(&["predict", "run", "--json"], "").good().json(), serde_json::json!([]));
}

#[test]
fn many_texts_are_answered_in_their_order() {
    let place = trained();
    let text = |i: usize| "好看".repeat(1 + i * 7 % 5) + if i.is_multiple_of(2) { "good" } else { "" };
    let lines: String = (0..2100).map(|i| text(i) + "\n").collect();
    let said = place.brisk_with(&["predict", "run", "--json"], lines).good().json();
    let said = said.as_array().unwrap();
    assert_eq!(said.len(), 2100);
    for (i, answer) in said.iter().enumerate() {
        assert_eq!(answer["input"], text(i));
        let (a, b) = (&answer["probability"], &said[i % 10]["probability"]);
        assert!((a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-5, "{i}: {a} {b}");
    }
}

#[test]
fn a_run_is_measured_on_its_own_rows_and_on_others() {
    let place = trained();
    let own = place.brisk(&["evaluate", "run", "--json"]).good().json();
    assert_eq!(own["samples"], 8);
    let written: serde_json::Value = serde_json::from_str(&place.text("run/evaluation.json")).unwrap();
    let difference = own["loss"].as_f64().unwrap() - written["loss"].as_f64().unwrap();
    assert!(difference.abs() < 1e-5 && own["accuracy"] == written["accuracy"], "{own} {written}");
    place.write("more.csv", "text,label\n好,good\nbad,bad\n");
    let table = place.brisk(&["evaluate", "run/model", "--data", "more.csv"]).good().out;
    assert!(table.contains("accuracy") && table.contains("good"), "{table}");
    place.brisk(&["evaluate", "run/model"]).good();
    place.write("more.csv", "text,label\n好,fine\n");
    place.brisk(&["evaluate", "run", "--data", "more.csv"]).fails(2, &["`fine`", "bad, good"]);
    let summary = place.brisk(&["summary", "run"]).good().out;
    assert!(summary.contains("Embedding") && summary.contains("LSTM"), "{summary}");
    assert_eq!(place.brisk(&["summary", "tiny.yaml"]).good().out, summary);
}

#[test]
fn texts_that_are_too_long_are_cut_and_counted() {
    let place = trained();
    let (long, cut) = ("很好看".repeat(10), "很好看".repeat(4));
    let done = place.brisk(&["predict", "run", "--json", &long, &cut]).good();
    assert!(
        done.err.contains("warning: 1 text was too long: 18 of their tokens were cut off"),
        "{}",
        done.err
    );
    assert_eq!(done.json()[0]["probabilities"], done.json()[1]["probabilities"]);
}

#[test]
fn bad_texts_are_named() {
    let place = trained();
    place.write("latin.txt", b"good\nsch\xf6n\n");
    place.brisk(&["predict", "run", "--file", "latin.txt"]).fails(2, &["latin.txt: line 2", "UTF-8"]);
    place.brisk_with(&["predict", "run"], b"\xff").fails(2, &["stdin: line 1", "UTF-8"]);
    place.write("latin.csv", b"text,label\nsch\xf6n,good\n");
    place.brisk(&["predict", "run", "--file", "latin.csv"]).fails(2, &["latin.csv", "UTF-8"]);
    place.brisk(&["evaluate", "run", "--data", "latin.csv"]).fails(2, &["latin.csv", "UTF-8"]);
    place.write("other.csv", "txt\ngood\n");
    place.brisk(&["predict", "run", "--file", "other.csv"]).fails(2, &["other.csv", "did you mean `txt`?"]);
    place.brisk(&["predict", "run", "--file", "none.txt"]).fails(2, &["none.txt"]);
    place.brisk(&["predict", "run", "x", "--file", "other.csv"]).fails(2, &["--file"]);
    place.brisk(&["predict", "run", "x", "--embed", "--output", "x.npy"]).fails(2, &["no encoder of texts"]);
    place.write("tiny.yaml", place.text("tiny.yaml").replace("text: {", "txet: {"));
    place.brisk(&["train", "tiny.yaml"]).fails(2, &["`txet`", "did you mean `text`?"]);
    place.write("reviews.csv", b"text,label\nsch\xf6n,good\n");
    place.brisk(&["train", "tiny.yaml"]).fails(2, &["reviews.csv", "UTF-8"]);
}

/// Rows of a .npy file of f32.
fn npy(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    let (head, data) = bytes.split_at(10 + u16::from_le_bytes([bytes[8], bytes[9]]) as usize);
    assert_eq!((&head[..8], head.len() % 64), (&b"\x93NUMPY\x01\x00"[..], 0));
    let text = std::str::from_utf8(&head[10..]).unwrap();
    assert!(text.contains("'<f4'") && text.contains("'fortran_order': False"), "{text}");
    let dims = text.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let dims: Vec<usize> = dims.split(", ").map(|d| d.parse().unwrap()).collect();
    let data = data.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    (dims, data)
}

fn embed(place: &Place, model: &str, texts: &[&str]) -> (Done, Vec<usize>, Vec<f32>) {
    let args = ["predict", model, "--embed", "--output", "vectors.npy"];
    let done = place.brisk(&[&args[..], texts].concat()).good();
    let (dims, data) = npy(&place.at("vectors.npy"));
    (done, dims, data)
}

#[test]
fn vectors_of_a_folder_are_those_of_transformers() {
    // The first numbers of the mean over `last_hidden_state`, scaled to length 1, as transformers gives them in f32.
    const EXPECTED: [[f32; 4]; 3] = [
        [-0.227536, 0.228931, 0.301237, 0.148918],
        [-0.320073, 0.303221, 0.229137, 0.219208],
        [-0.301082, 0.079282, 0.342136, 0.270577],
    ];
    let place = Place::empty();
    let from = golden("bert-shards");
    for file in std::fs::read_dir(&from).unwrap().map(|f| f.unwrap().path()).filter(|f| f.is_file()) {
        let name = file.file_name().unwrap().to_str().unwrap();
        place.write(&format!("hf/{name}"), std::fs::read(&file).unwrap());
    }
    place.write("hf/1_Pooling/config.json", std::fs::read(format!("{from}/1_Pooling/config.json")).unwrap());
    place.write("hf/vocab.txt", std::fs::read(format!("{}/vocab.txt", golden("bert"))).unwrap());
    let texts = ["这部电影很好看", "the film was not good", "good"];
    let (done, dims, data) = embed(&place, "hf", &texts);
    assert!(done.out.contains("vectors.npy: 3 vectors of 16 numbers"), "{}", done.out);
    assert_eq!(dims, [3, 16]);
    for (row, expected) in data.chunks(16).zip(EXPECTED) {
        assert!(row.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{row:?}");
        assert!((row.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
    }
    place.brisk(&["import", "hf", "--output", "model"]).good();
    assert_eq!(embed(&place, "model", &texts).2, data);
    place.brisk(&["predict", "hf", "good"]).fails(2, &["has no answers", "--embed --output"]);
    place.brisk(&["predict", "hf", "x", "--embed", "--output", "x.txt"]).fails(2, &[".npy"]);
    place.brisk(&["predict", "hf", "x", "--embed"]).fails(2, &["--output"]);
}

#[test]
fn vectors_of_a_run_come_from_under_its_head() {
    let place = Place::empty();
    place.write("reviews.csv", reviews(40));
    let model = format!("{{pretrained: {:?}, pooling: mean}}", golden("bert"));
    place.write("tiny.yaml", of_reviews(&model, ""));
    place.train("run", &[]);
    let (_, dims, data) = embed(&place, "run", &["good", "", "很好", "good"]);
    assert_eq!(dims, [4, 16]);
    let rows: Vec<&[f32]> = data.chunks(16).collect();
    assert!(rows[0].iter().zip(rows[3]).all(|(a, b)| (a - b).abs() < 1e-5) && rows[0] != rows[2]);
}

#[test]
fn many_vectors_stand_in_the_order_of_their_texts() {
    let place = Place::empty();
    place.brisk(&["import", &golden("bert"), "--output", "model"]).good();
    let text = |i: usize| "good film ".repeat(1 + i * 7 % 9) + ["好", "bad"][i % 2];
    place.write("texts.txt", (0..1100).map(|i| text(i) + "\n").collect::<String>());
    place.brisk(&["predict", "model", "--file", "texts.txt", "--embed", "--output", "vectors.npy"]).good();
    let (dims, all) = npy(&place.at("vectors.npy"));
    assert_eq!(dims, [1100, 16]);
    for i in [0, 1, 8, 500, 1023, 1024, 1099] {
        let (_, _, alone) = embed(&place, "model", &[&text(i)]);
        let same = all[i * 16..][..16].iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(same, "{i}");
    }
}

#[cfg(feature = "parquet")]
#[test]
fn vectors_can_be_a_table() {
    let place = Place::empty();
    place.brisk(&["import", &golden("bert"), "--output", "model"]).good();
    let texts = ["这部电影很好看", "", "bad"];
    place.brisk(&[&["predict", "model", "--embed", "--output", "v.parquet"], &texts[..]].concat()).good();
    let (_, _, expected) = embed(&place, "model", &texts);
    let rows = brisk_data::open_tables(&brisk_data::TableSpec::at(place.at("v.parquet"))).unwrap().train;
    assert_eq!(rows.columns(), ["text", "embedding"]);
    for ((row, text), vector) in rows.iter().zip(texts).zip(expected.chunks(16)) {
        let row = row.unwrap();
        assert_eq!(row.values[0].text().unwrap_or_default(), text);
        let found: Vec<f64> = row.values[1].items(None).iter().map(|v| v.number().unwrap()).collect();
        assert_eq!(found.len(), 16);
        assert!(found.iter().zip(vector).all(|(a, b)| (a - f64::from(*b)).abs() < 1e-6));
    }
}
