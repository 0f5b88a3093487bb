//! Models of several columns, and other outputs than a class.

use crate::support::{Place, golden};

#[test]
fn numbers_and_categories_to_a_number_and_a_set() {
    let place = Place::empty();
    let row = |i: usize| {
        let colours = ["red", "绿", "blue"];
        let kinds = [r#"["old"]"#, r#"["old", "rare"]"#, "[]"];
        let (colour, kinds) = (colours[i % 3], kinds[i % 3]);
        format!(
            "{{\"size\": {i}, \"colour\": \"{colour}\", \"price\": {}, \"kinds\": {kinds}}}\n",
            100 + i * 2
        )
    };
    place.write("things.jsonl", (0..30).map(row).collect::<String>());
    place.write(
        "things.yaml",
        "inputs: {size: {type: number}, colour: {type: category}}
outputs: {price: {type: number}, kinds: {type: labels}}
data: {table: {path: things.jsonl}, validation_split: 0.2}
model: {layers: [{Dense: {units: 8, activation: relu}}]}
train: {optimizer: {adam: {learning_rate: 0.01}}, batch_size: 4, epochs: 20}
",
    );
    place.brisk(&["train", "things.yaml", "--out", "run"]).good();
    place.write("ask.csv", "size,colour\n5,绿\n28,purple\n");
    let done = place.brisk(&["predict", "run", "--json", "--file", "ask.csv"]).good();
    assert!(done.err.contains("warning: 1 category was rare or not known"), "{}", done.err);
    let said = done.json();
    assert_eq!(said[1]["input"]["colour"], "purple");
    // Turned back from the scale that the model is trained on.
    let price = |i: usize| said[i]["price"]["value"].as_f64().unwrap();
    assert!(price(0) < price(1) && (90.0..180.0).contains(&price(0)), "{said}");
    assert_eq!(said[0]["kinds"]["probabilities"].as_array().unwrap().len(), 2);
    for label in said[0]["kinds"]["labels"].as_array().unwrap() {
        assert!(label == "old" || label == "rare");
    }
    let plain = place.brisk(&["predict", "run", "--file", "ask.csv"]).good().out;
    assert!(plain.contains("price: ") && plain.contains("; kinds: "), "{plain}");
    place.brisk(&["predict", "run", "5"]).fails(2, &["colour, size", "--file"]);
    place.write("ask.csv", "size,color\n5,绿\n");
    place.brisk(&["predict", "run", "--file", "ask.csv"]).fails(2, &["`colour`", "did you mean `color`?"]);
    let measured = place.brisk(&["evaluate", "run", "--json"]).good();
    assert!(measured.err.contains("measuring on the validation data"), "{}", measured.err);
    let measured = measured.json();
    assert!(
        measured["values"]["price_loss"].is_number() && measured["outputs"]["kinds"].is_object(),
        "{measured}"
    );
    let plain = place.brisk(&["evaluate", "run"]).good().out;
    assert!(plain.contains("\nprice\n") && plain.contains("kinds_loss"), "{plain}");
    place.brisk(&["summary", "things.yaml", "--json"]).good();
}

#[test]
fn each_word_gets_a_tag() {
    let place = Place::empty();
    let rows = ["我/r 很/d 好/a", "the/d film/n was/v good/a", "not/d bad/a"];
    let rows: String = (0..12).map(|i| format!("{}\n", rows[i % 3])).collect();
    place.write("tags.csv", format!("text\n{rows}"));
    let project = format!(
        "inputs: {{text: {{type: text, tag_separator: /}}}}
outputs: {{tags: {{type: tags, column: text, input: text}}}}
data: {{table: {{path: tags.csv}}, validation_split: 0.25}}
model: {{pretrained: {:?}}}
train: {{optimizer: {{adam: {{learning_rate: 0.01}}}}, batch_size: 4, epochs: 1}}
",
        golden("bert")
    );
    place.write("tags.yaml", project);
    place.brisk(&["train", "tags.yaml", "--out", "run"]).good();
    let long = "film ".repeat(30);
    let done = place.brisk(&["predict", "run", "--json", "the films 很好", &long]).good();
    let said = done.json();
    assert_eq!(said[0]["words"], serde_json::json!(["the", "films", "很好"]));
    let tags = said[0]["tags"].as_array().unwrap();
    assert!(tags.len() == 3 && tags.iter().all(|t| ["r", "d", "a", "n", "v"].contains(&t.as_str().unwrap())));
    // 20 tokens, two of them special: the other words are cut off.
    let tags = said[1]["tags"].as_array().unwrap();
    assert_eq!((tags.len(), tags.iter().filter(|t| t.is_null()).count()), (30, 12));
    assert!(done.err.contains("warning: 1 text was too long: 12 of their tokens"), "{}", done.err);
    let plain = place.brisk(&["predict", "run", "the film"]).good().out;
    assert!(plain.starts_with("the film  the/"), "{plain}");
    let measured = place.brisk(&["evaluate", "run", "--json"]).good().json();
    assert!(measured["accuracy"].as_f64().unwrap() <= 1.0, "{measured}");
    let done = place.brisk(&["export", "run", "--format", "huggingface", "--output", "out"]).good();
    assert!(done.out.contains("BertForTokenClassification"), "{}", done.out);
    let again = place.brisk(&["predict", "out", "--json", "the films 很好", &long]).good().json();
    assert_eq!(again, said);
}

#[test]
fn tables_are_described() {
    let place = Place::empty();
    place.write("a.csv", "text,label\n很好,good\nbad,bad\nbad,bad\n,bad\n");
    for command in ["describe", "check"] {
        let said = place.brisk(&["data", command, "a.csv"]).good().out;
        assert!(said.contains("4 train") && said.contains("(1 missing)"), "{said}");
    }
    let said = place.brisk(&["data", "describe", "a.csv", "--json"]).good().json();
    assert_eq!(said["duplicates"], 1);
    place.write("parts/train.tsv", "text\tlabel\nx\ty\n");
    place.write("parts/test.tsv", "text\tlabel\nx\ty\n");
    let said = place.brisk(&["data", "check", "parts"]).good().out;
    assert!(said.contains("1 train, 1 test") && said.contains("stand in another too"), "{said}");
    place.write("bad.jsonl", "{\"text\": \"x\"}\n{\"text\": \n");
    place.brisk(&["data", "check", "bad.jsonl"]).fails(2, &["bad.jsonl", "2"]);
    let schema = place.brisk(&["schema"]).good().out;
    assert!(schema.contains("pretrained") && schema.contains("tag_separator"));
}
