//! Features from fit to tensors, saved and loaded.

use brisk_data::*;
use indexmap::IndexMap;
use proptest::prelude::*;

fn inputs(yaml: &str) -> IndexMap<String, FeatureSpec> {
    serde_json::from_str(yaml).unwrap()
}

fn targets(yaml: &str) -> IndexMap<String, TargetSpec> {
    serde_json::from_str(yaml).unwrap()
}

fn table(columns: &[&str], rows: &[&[&str]]) -> Rows {
    let value = |v: &&str| if v.is_empty() { Value::Missing } else { Value::from(*v) };
    let rows = rows.iter().map(|r| r.iter().map(value).collect()).collect();
    Rows::new(MemoryTable::new(columns.iter().copied(), rows).unwrap()).unwrap()
}

fn tensors(
    features: &Features,
    rows: &Rows,
    layouts: &Layouts,
) -> Result<Vec<(String, brisk_graph::Tensor)>> {
    let encoder = Encoder::new(features.clone().into(), rows.clone(), true)?;
    let samples = (0..rows.len()).map(|i| encoder.encode(i)).collect::<Result<Vec<_>>>()?;
    features.collate(&samples, layouts)
}

fn get<'a>(tensors: &'a [(String, brisk_graph::Tensor)], name: &str) -> &'a brisk_graph::Tensor {
    &tensors.iter().find(|t| t.0 == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn everything() -> (Features, Rows) {
    let rows = table(
        &["review", "price", "colour", "w", "h", "stars", "topics", "score"],
        &[
            &["很 好", "10", "red", "1", "2", "good", "a, b", "1.5"],
            &["bad bad film", "", "blue", "3", "4", "bad", "", "2.5"],
            &["", "20", "", "5", "6", "good", "b", "3.5"],
            &["ok", "30", "red", "7", "8", "bad", "c", "4.5"],
        ],
    );
    let inputs = inputs(
        r#"{"review": {"type": "text", "max_length": 8},
            "price": {"type": "number", "missing": "median", "normalization": "min_max"},
            "colour": {"type": "category", "min_count": 2},
            "size": {"type": "vector", "columns": ["w", "h"], "normalization": "none"}}"#,
    );
    let targets = targets(
        r#"{"stars": {"type": "category", "labels": ["good", "bad"]}, "topics": {"type": "labels"}, "score": {"type": "number"}}"#,
    );
    let features = Features::fit(&inputs, &targets, &rows, FitOptions::default()).unwrap();
    (features, rows)
}

#[test]
fn each_feature_has_its_tensor() {
    let (features, rows) = everything();
    let t = tensors(&features, &rows, &Layouts::padded()).unwrap();
    assert_eq!(get(&t, "review").shape().dims(), [4, 8]);
    assert_eq!(get(&t, "review").i32s().unwrap()[16..18], [1, 0], "an empty text is one unknown token");
    assert_eq!(get(&t, "price").f32s().unwrap(), [0.0, 0.5, 0.5, 1.0]);
    assert_eq!(get(&t, "price").shape().dims(), [4, 1]);
    assert_eq!(get(&t, "colour").i32s().unwrap(), [1, 0, 2, 1]);
    assert_eq!(get(&t, "size").f32s().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    assert_eq!(get(&t, "stars").i32s().unwrap(), [0, 1, 0, 1]);
    assert_eq!(get(&t, "topics").f32s().unwrap(), [1., 1., 0., 0., 0., 0., 0., 1., 0., 0., 0., 1.]);
    let score = get(&t, "score").f32s().unwrap();
    assert!((score.iter().sum::<f32>()).abs() < 1e-6 && score[0] < -1.0);
}

#[test]
fn packed_texts_lie_one_after_another() {
    let (features, rows) = everything();
    let t = tensors(&features, &rows, &Layouts::packed()).unwrap();
    assert_eq!(get(&t, "review.segments").i32s().unwrap(), [0, 2, 2, 3, 5, 1, 6, 1]);
    assert_eq!(get(&t, "review.ids").shape().dims(), [8]);
    assert_eq!(get(&t, "review.positions").i32s().unwrap()[..8], [0, 1, 0, 1, 2, 0, 0, 0]);
    assert!(t.iter().all(|t| t.0 != "review"));
}

#[test]
fn saved_and_loaded_they_give_the_same_tensors() {
    let (features, rows) = everything();
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in features.tokenizer_files().unwrap() {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    let mut again: Features = serde_json::from_str(&serde_json::to_string(&features).unwrap()).unwrap();
    assert!(tensors(&again, &rows, &Layouts::packed()).is_err(), "the tokenizer is not loaded yet");
    again.load_tokenizers(dir.path()).unwrap();
    for layouts in [Layouts::packed(), Layouts::padded()] {
        assert_eq!(tensors(&again, &rows, &layouts).unwrap(), tensors(&features, &rows, &layouts).unwrap());
    }
    let mut bad = features.clone();
    if let Some(Feature::Text(text)) = bad.inputs.get_mut("review") {
        text.tokenizer_file = "../x.json".into();
    }
    assert!(bad.load_tokenizers(dir.path()).unwrap_err().to_string().contains("tokenizer_file"));
}

#[test]
fn prediction_meets_what_training_did_not() {
    let (features, _) = everything();
    let columns = ["review", "price", "colour", "w", "h"];
    let rows =
        table(&columns, &[&["good new very very very very long long long long", "", "green", "1", "2"]]);
    let encoder = Encoder::new(features.clone().into(), rows, false).unwrap();
    let sample = encoder.encode(0).unwrap();
    assert_eq!(
        sample.notes,
        Notes { truncated: 1, cut_tokens: 2, empty_texts: 0, unknown_categories: 1, missing: 1 }
    );
    let t = features.collate(&[sample], &Layouts::padded()).unwrap();
    assert_eq!(get(&t, "colour").i32s().unwrap(), [0]);
    assert_eq!(get(&t, "review").shape().dims(), [1, 8]);
    assert!(t.iter().all(|t| t.0 != "stars"), "no targets were asked for");

    let rows = table(&["revew", "price", "colour", "w", "h"], &[&["x", "1", "red", "1", "2"]]);
    let e = Encoder::new(features.into(), rows, false).unwrap_err().to_string();
    assert!(e.contains("no column `review` (did you mean `revew`?)"), "{e}");
}

#[test]
fn errors_name_row_and_column() {
    let (features, rows) = everything();
    let columns = rows.columns().iter().map(String::as_str).collect::<Vec<_>>();
    let message = |row: &[&str]| {
        let rows = table(&columns, &[row]);
        tensors(&features, &rows, &Layouts::packed()).unwrap_err().to_string()
    };
    let e = message(&["x", "cheap", "red", "1", "2", "good", "a", "1"]);
    assert!(e.contains("row 1, column `price`: `cheap` is not a finite number"), "{e}");
    let e = message(&["x", "1", "red", "1", "2", "godo", "a", "1"]);
    assert!(e.contains("column `stars`: unknown class `godo` (did you mean `good`?)"), "{e}");
    let e = message(&["x", "1", "red", "1", "2", "", "a", "1"]);
    assert!(e.contains("the class is missing"), "{e}");
    let e = message(&["x", "1", "red", "1", "2", "good", "a", ""]);
    assert!(e.contains("column `score`: the number is missing"), "{e}");
}

#[test]
fn words_with_tags() {
    let rows = table(&["text"], &[&["Paris/LOC is/O nice/O"], &["1/2/O 中/LOC"]]);
    let inputs = inputs(r#"{"text": {"type": "text", "tag_separator": "/", "tokenizer": "character"}}"#);
    let targets = targets(r#"{"tag": {"type": "tags"}}"#);
    let features = Features::fit(&inputs, &targets, &rows, FitOptions::default()).unwrap();
    assert_eq!(features.targets["tag"].labels().unwrap().iter().collect::<Vec<_>>(), ["LOC", "O"]);
    let t = tensors(&features, &rows, &Layouts::padded()).unwrap();
    let length = get(&t, "text").shape().dims()[1];
    let tags = get(&t, "tag");
    assert_eq!(tags.shape(), get(&t, "text").shape());
    let expected = [0, -1, -1, -1, -1, 1, -1, 1, -1, -1, -1];
    assert_eq!(tags.i32s().unwrap()[..11], expected);
    assert_eq!(tags.i32s().unwrap()[length..length + 5], [1, -1, -1, 0, -1]);
    let t = tensors(&features, &rows, &Layouts::packed()).unwrap();
    assert_eq!(get(&t, "tag").shape(), get(&t, "text.ids").shape());
    assert_eq!(get(&t, "tag").i32s().unwrap()[..11], expected);

    let e = Features::fit(&inputs, &targets, &table(&["text"], &[&["a/O b"]]), FitOptions::default())
        .unwrap_err();
    assert!(e.to_string().contains("row 1, column `text`: the word `b` has no tag"), "{e}");
    let unknown = table(&["text"], &[&["a/PER"]]);
    assert!(tensors(&features, &unknown, &Layouts::packed()).unwrap_err().to_string().contains("`PER`"));
}

#[test]
fn tags_in_a_column_of_their_own() {
    let rows = table(&["words", "tags"], &[&["a b c", "X Y X"], &["[\"d e\", \"f\"]", "[\"Y\", \"X\"]"]]);
    let inputs = inputs(r#"{"words": {"type": "text"}}"#);
    let targets = targets(r#"{"tags": {"type": "tags"}}"#);
    let features = Features::fit(&inputs, &targets, &rows, FitOptions::default()).unwrap();
    let t = tensors(&features, &rows, &Layouts::packed()).unwrap();
    assert_eq!(get(&t, "tags").i32s().unwrap()[..6], [0, 1, 0, 1, -1, 0]);
    let short = table(&["words", "tags"], &[&["a b c", "X Y"]]);
    let e = tensors(&features, &short, &Layouts::packed()).unwrap_err().to_string();
    assert!(e.contains("2 tags for 3 words of `words`"), "{e}");
}

#[test]
fn pairs_joined_and_apart() {
    let rows = table(&["a", "b"], &[&["x y", "z"], &["z", "x x x"]]);
    let spec = |mode: &str| {
        inputs(&format!(
            r#"{{"a": {{"type": "text", "pair": "b", "pair_mode": "{mode}", "tokenizer": {{"type": "word", "special_tokens": true}}}}}}"#
        ))
    };
    let fit = |mode| Features::fit(&spec(mode), &IndexMap::new(), &rows, FitOptions::default()).unwrap();
    let t = tensors(&fit("joined"), &rows, &Layouts::packed()).unwrap();
    assert_eq!(get(&t, "a.segments").i32s().unwrap(), [0, 6, 6, 7]);
    assert_eq!(get(&t, "a.types").i32s().unwrap()[..13], [0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1]);
    let t = tensors(&fit("separate"), &rows, &Layouts::packed()).unwrap();
    // First both first texts, then both second ones.
    assert_eq!(get(&t, "a.segments").i32s().unwrap(), [0, 4, 4, 3, 7, 3, 10, 5]);
    assert!(get(&t, "a.types").i32s().unwrap().iter().all(|&t| t == 0));
    let t = tensors(&fit("separate"), &rows, &Layouts::padded()).unwrap();
    assert_eq!(get(&t, "a").shape().dims(), [4, 8]);
}

#[test]
fn pictures_beside_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list.csv");
    std::fs::write(&path, "picture,label\nred.png,1\n").unwrap();
    image::RgbImage::from_pixel(4, 4, image::Rgb([200, 0, 0])).save(dir.path().join("red.png")).unwrap();
    let rows = open_tables(&TableSpec::at(&path)).unwrap().train;
    let inputs = inputs(r#"{"picture": {"type": "image", "size": [2, 2]}}"#);
    let features = Features::fit(&inputs, &IndexMap::new(), &rows, FitOptions::default()).unwrap();
    let t = tensors(&features, &rows, &Layouts::packed()).unwrap();
    assert_eq!(get(&t, "picture").shape().dims(), [1, 2, 2, 3]);
    assert_eq!(get(&t, "picture").u8s().unwrap()[..3], [200, 0, 0]);
    std::fs::remove_file(dir.path().join("red.png")).unwrap();
    let e = tensors(&features, &rows, &Layouts::packed()).unwrap_err().to_string();
    assert!(
        e.contains("list.csv: row 1 (line 2), column `picture`") && e.contains("red.png: not found"),
        "{e}"
    );
}

#[test]
fn fitting_says_what_is_wrong() {
    let rows = table(&["text", "n"], &[&["a", "1"]]);
    let error = |i: &str, t: &str| {
        Features::fit(&inputs(i), &targets(t), &rows, FitOptions::default()).unwrap_err().to_string()
    };
    assert!(error(r#"{"txt": {"type": "text"}}"#, "{}").contains("did you mean `text`?"));
    assert!(error(r#"{"text": {"type": "number"}}"#, "{}").contains("row 1, column `text`: `a` is not"));
    assert!(error(r#"{"text": {"type": "text"}}"#, r#"{"text": {"type": "category"}}"#).contains("outputs"));
    assert!(
        error(r#"{"text": {"type": "text", "tokenizer": "no/such/file"}}"#, "{}").contains("no/such/file")
    );
    assert!(
        error(r#"{"n": {"type": "number"}}"#, r#"{"t": {"type": "tags", "column": "text"}}"#)
            .contains("t.input")
    );
    assert!(error(r#"{"text": {"type": "text", "max_length": 0}}"#, "{}").contains("max_length"));
}

proptest! {
    #[test]
    fn packed_and_padded_hold_the_same_tokens(texts in proptest::collection::vec("[a-e 中文]{0,30}", 1..8)) {
        let rows = Rows::new(MemoryTable::texts("t", texts.iter().cloned().chain(["a b".to_string()]))).unwrap();
        let inputs = inputs(r#"{"t": {"type": "text", "max_length": 12}}"#);
        let features = Features::fit(&inputs, &IndexMap::new(), &rows, FitOptions::default()).unwrap();
        let packed = tensors(&features, &rows, &Layouts::packed()).unwrap();
        let padded = tensors(&features, &rows, &Layouts::padded()).unwrap();
        let ids = get(&packed, "t.ids").i32s().unwrap();
        let text = get(&padded, "t");
        let length = text.shape().dims()[1];
        prop_assert!(length <= 12);
        let segments = get(&packed, "t.segments").i32s().unwrap();
        let mut end = 0;
        for (s, row) in segments.chunks(2).zip(text.i32s().unwrap().chunks(length)) {
            let (from, n) = (s[0] as usize, s[1] as usize);
            prop_assert_eq!(from, end);
            end = from + n;
            prop_assert_eq!(&ids[from..end], &row[..n]);
            prop_assert!(n > 0 && row[n..].iter().all(|&i| i == 0));
        }
        prop_assert!(ids[end..].iter().all(|&i| i == 0));
    }
}
