//! The tokenizer against Hugging Face's, over a small vocabulary. `goldens/bert_tokenizer.py` made the numbers.

use std::path::Path;

use brisk_data::{TextInput, Tokenizer, Truncation};
use serde_json::Value;

fn goldens() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

fn numbers(v: &Value) -> Vec<i32> {
    v.as_array().unwrap().iter().map(|n| n.as_i64().unwrap() as i32).collect()
}

#[test]
fn the_same_tokens_as_berts_tokenizer() {
    let text = std::fs::read_to_string(goldens().join("bert_tokenizer.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let vocabulary = std::fs::read_to_string(goldens().join("vocab.txt")).unwrap();
    let mut compared = 0;
    for case in golden["cases"].as_array().unwrap() {
        let settings = case["settings"].as_object().unwrap();
        // The way through a folder reads the settings from their file.
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("vocab.txt"), &vocabulary).unwrap();
        std::fs::write(dir.path().join("tokenizer_config.json"), case["settings"].to_string()).unwrap();
        let tokenizer = Tokenizer::open(dir.path()).unwrap();
        assert_eq!(tokenizer, Tokenizer::from_vocabulary(&vocabulary, settings).unwrap());
        let encode = |texts: &Value, max| {
            let text = |i: usize| texts[i].as_str().map(TextInput::Plain);
            tokenizer.encode(text(0).unwrap(), text(1), max, Truncation::End).unwrap()
        };
        for (i, texts) in case["texts"].as_array().unwrap().iter().enumerate() {
            let tokens = encode(texts, 512);
            assert_eq!(tokens.ids, numbers(&case["ids"][i]), "{settings:?} {texts}");
            assert_eq!(tokens.types, numbers(&case["types"][i]), "{settings:?} {texts}");
            compared += 1;
        }
        let pair =
            case["texts"].as_array().unwrap().iter().find(|t| t.as_array().unwrap().len() == 2).unwrap();
        assert_eq!(encode(pair, 8).ids, numbers(&case["truncated"]), "{settings:?}");
    }
    assert_eq!(compared, 4 * 13);
}
