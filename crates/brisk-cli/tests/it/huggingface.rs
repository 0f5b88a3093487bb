//! Hugging Face folders.

use brisk_format::{HfFolder, SavedModel, load_model, save_model};
use brisk_nn::{Dense, LayerSpec, Loss, Model, ModelInput, Task};

use crate::support::{LSTM, Place, golden, of_reviews, reviews};

#[test]
fn import_says_what_it_understood() {
    let place = Place::empty();
    let said = place.brisk(&["import", &golden("bert")]).good().out;
    for part in [
        "family      bert",
        "2 layers of 2 heads, 16 wide (24 inside), gelu\n",
        "60 known, 20 a text",
        "classification, 3 classes",
        "负面, neutral, positive",
        "vocab.txt",
        "41 tensors loaded",
    ] {
        assert!(said.contains(part), "{said}\ndoes not say {part:?}");
    }
    let said = place.brisk(&["import", &golden("bert-shards")]).good().out;
    assert!(
        said.contains("mean, scaled to length 1")
            && said.contains("inside), silu")
            && said.contains("none found"),
        "{said}"
    );
    let said = place.brisk(&["import", &golden("bert-pretraining")]).good().out;
    assert!(said.contains("6 not needed") && said.contains("(the pooler is not used)"), "{said}");
    let data = place.brisk(&["import", &golden("electra"), "--json"]).good().json();
    assert_eq!(data["family"], "electra");
    assert_eq!(data["head"], serde_json::json!({"classification": {"labels": 3}}));
    assert_eq!(data["encoder"]["embedding_size"], 8);
    assert_eq!(data["loaded"].as_array().unwrap().len(), 43);
}

#[test]
fn import_refuses_what_it_cannot_read() {
    let place = Place::empty();
    place.brisk(&["import", "none"]).fails(2, &["none/config.json", "there is no such file"]);
    place.write("gpt/config.json", r#"{"model_type": "gpt2"}"#);
    place.brisk(&["import", "gpt"]).fails(2, &["model_type: expected bert, roberta", "found \"gpt2\""]);
    let config = std::fs::read(format!("{}/config.json", golden("bert"))).unwrap();
    place.write("liar/config.json", config);
    place.write("liar/model.safetensors", [&u64::MAX.to_le_bytes()[..], b"{}"].concat());
    place
        .brisk(&["import", "liar"])
        .fails(2, &["model.safetensors", "its header has 18446744073709551615 bytes"]);
}

/// A model that gives each token a tag, with the weights of a golden.
fn tagger() -> SavedModel {
    let folder = HfFolder::open(golden("bert-tokens").as_ref()).unwrap();
    let layers = vec![
        LayerSpec::new(folder.encoder().clone()).name("encoder").inputs(["text"]),
        LayerSpec::new(Dense::new(3)).name("classifier"),
    ];
    let model = Model::new(ModelInput::packed_text("text"), layers, &[]).unwrap();
    let task = Task::new(model, Loss::tags());
    let mut saved = SavedModel::new(&task, &folder.load_state(folder.head()).unwrap().0);
    saved.labels = folder.labels().to_vec();
    saved
}

#[test]
fn export_writes_what_import_reads() {
    let place = Place::empty();
    save_model(&place.at("runs/tags/model"), &tagger()).unwrap();
    let export = |more: &[&str]| {
        let args = ["export", "runs/tags", "--format", "huggingface", "--output", "out"];
        place.brisk(&[&args[..], more].concat())
    };
    let said = export(&[]).good().out;
    assert!(
        said.contains("out: BertForTokenClassification") && said.contains("it has no tokenizer"),
        "{said}"
    );
    let said = export(&["--like", &golden("bert"), "--json"]).good().json();
    assert_eq!(said["architecture"], "BertForTokenClassification");
    assert_eq!(
        place.text("out/vocab.txt"),
        std::fs::read_to_string(format!("{}/vocab.txt", golden("bert"))).unwrap()
    );
    let said = place.brisk(&["import", "out"]).good().out;
    assert!(
        said.contains("a tag for each token, 3 tags") && said.contains("负面, neutral, positive"),
        "{said}"
    );
    let folder = HfFolder::open(&place.at("out")).unwrap();
    let state = folder.load_state(folder.head()).unwrap().0;
    assert!(
        load_model(&place.at("runs/tags/model"))
            .unwrap()
            .state
            .iter()
            .all(|(name, t)| state.get(name) == Some(t))
    );
    export(&["--like", &golden("roberta")]).fails(2, &["the family roberta cannot say"]);
}

/// What transformers says with `BertForSequenceClassification` of the same folder to 这部电影很好看 and `good`.
const PROBABILITIES: [[f64; 3]; 2] =
    [[0.195554376, 0.045283526, 0.759162128], [0.208897412, 0.054630812, 0.736471772]];

fn probability(answer: &serde_json::Value, label: &str) -> f64 {
    let all = answer["probabilities"].as_array().unwrap();
    all.iter().find(|g| g["label"] == label).unwrap()["probability"].as_f64().unwrap()
}

/// So that answers are not all yes or no, which would be equal for any weights.
const GENTLY: [&str; 2] = ["--set", "train.optimizer.adam.learning_rate=0.0001"];

/// The difference of the two logits.
fn log_odds(answer: &serde_json::Value) -> f64 {
    probability(answer, "good").ln() - probability(answer, "bad").ln()
}

#[test]
fn an_imported_model_answers_as_transformers() {
    let place = Place::empty();
    let done = place.brisk(&["import", &golden("bert"), "--output", "model"]).good();
    assert!(done.err.contains("it reads `text`, and gives `label`"), "{}", done.err);
    for model in ["model", &golden("bert")] {
        let said = place.brisk(&["predict", model, "--json", "这部电影很好看", "good"]).good().json();
        for (answer, expected) in said.as_array().unwrap().iter().zip(PROBABILITIES) {
            for (label, expected) in ["负面", "neutral", "positive"].iter().zip(expected) {
                assert!((probability(answer, label) - expected).abs() < 1e-5, "{answer} {expected}");
            }
        }
        assert_eq!((&said[0]["input"], &said[0]["label"]), (&"这部电影很好看".into(), &"positive".into()));
    }
    place.brisk(&["import", &golden("roberta"), "--output", "none"]).fails(2, &["tokenizer.json"]);
    assert!(!place.at("none").exists());
}

#[test]
fn a_tokenizer_that_is_larger_than_the_embedding_is_refused() {
    let place = Place::empty();
    for file in ["config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"] {
        place.write(&format!("bert/{file}"), std::fs::read(format!("{}/{file}", golden("bert"))).unwrap());
    }
    place.write("bert/vocab.txt", place.text("bert/vocab.txt").trim_end().to_string() + "\nmore\n");
    place.brisk(&["predict", "bert", "x"]).fails(2, &["61 tokens", "60"]);
    place.write("reviews.csv", reviews(20));
    place.write("tiny.yaml", of_reviews("{pretrained: bert}", ""));
    place.brisk(&["train", "tiny.yaml"]).fails(2, &["61 tokens", "60"]);
    place.write("gpt/config.json", r#"{"model_type": "gpt2"}"#);
    place.write("tiny.yaml", of_reviews("{pretrained: gpt}", ""));
    place.brisk(&["train", "tiny.yaml"]).fails(2, &["expected bert, roberta", "found \"gpt2\""]);
}

#[test]
fn a_fine_tuned_model_goes_out_and_comes_back() {
    let place = Place::empty();
    place.write("reviews.csv", reviews(40));
    place.write("tiny.yaml", of_reviews(&format!("{{pretrained: {:?}}}", golden("bert")), ""));
    let done = place.train("run", &GENTLY);
    assert!(done.err.contains("tensors from"), "{}", done.err);
    assert!(done.out.contains("brisk predict run TEXT..."), "{}", done.out);
    let done = place.brisk(&["export", "run", "--format", "huggingface", "--output", "out"]).good();
    assert!(done.out.contains("out: BertForSequenceClassification"), "{}", done.out);
    let folder = HfFolder::open(&place.at("out")).unwrap();
    assert_eq!(folder.labels(), ["bad", "good"]);
    let ask =
        |model: &str| place.brisk(&["predict", model, "--json", "这部电影很好看", "very bad"]).good().json();
    let said = ask("run");
    assert!(said.as_array().unwrap().iter().all(|a| log_odds(a).abs() < 5.0), "says nothing: {said}");
    assert_eq!(said, ask("out"));
}

#[test]
fn additions_of_low_rank_kept_apart_count_and_go_out_merged() {
    let place = Place::empty();
    place.write("reviews.csv", reviews(40));
    let lora = ", parameters: {lora: {rank: 2, parameters: [query.kernel, value.kernel], merge: false}}";
    place.write("tiny.yaml", of_reviews(&format!("{{pretrained: {:?}}}", golden("bert")), lora));
    place.train("run", &GENTLY);
    let saved = load_model(&place.at("run/model")).unwrap();
    assert!(saved.state.iter().any(|(name, _)| name.ends_with("query.kernel.lora_b")));
    place.brisk(&["evaluate", "run"]).good();
    place.brisk(&["export", "run", "--format", "huggingface", "--output", "out"]).good();
    let ask = |model: &str| place.brisk(&["predict", model, "--json", "这部电影很好看"]).good().json();
    assert_eq!(ask("run"), ask("out"));
    // Without them it would say something else.
    let mut without = saved;
    let ends: Vec<_> =
        without.state.iter().filter(|(n, _)| n.ends_with("lora_b")).map(|(n, _)| n.to_string()).collect();
    for name in ends {
        without.state.get_mut(&name).unwrap().f32s_mut().unwrap().fill(0.0);
    }
    save_model(&place.at("without"), &without).unwrap();
    assert_ne!(ask("run"), ask("without"));
}

/// The same in transformers itself. `BRISK_PYTHON` is a Python that has it; `BRISK_HF_FOLDER` an encoder to fine-tune, or else a golden.
#[test]
#[ignore = "needs a Python with transformers in BRISK_PYTHON"]
fn transformers_gives_what_the_fine_tuned_model_gives() {
    let python = std::env::var("BRISK_PYTHON").expect("BRISK_PYTHON");
    let folder = std::env::var("BRISK_HF_FOLDER").unwrap_or_else(|_| golden("bert"));
    let place = Place::empty();
    place.write("reviews.csv", reviews(40));
    place.write("tiny.yaml", of_reviews(&format!("{{pretrained: {folder:?}}}"), ""));
    place.train("run", &GENTLY);
    place.brisk(&["export", "run", "--format", "huggingface", "--output", "out"]).good();
    place.write("ask.py", include_str!("transformers.py"));
    let texts = ["这部电影很好看", "very bad", "the film was not good, not good"];
    let mut command = std::process::Command::new(python);
    command.arg(place.at("ask.py")).arg(place.at("out")).args(texts);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let ours = place.brisk(&[&["predict", "run", "--json"], &texts[..]].concat()).good().json();
    for (ours, theirs) in ours.as_array().unwrap().iter().zip(theirs.as_array().unwrap()) {
        let theirs = theirs["good"].as_f64().unwrap().ln() - theirs["bad"].as_f64().unwrap().ln();
        println!("{} {theirs}", log_odds(ours));
        assert!((log_odds(ours) - theirs).abs() < 1e-4 && theirs.abs() < 5.0, "{ours} {theirs}");
    }
}

/// Loss and gradients of a classification step are PyTorch's: a step of plain descent, without dropout, says them.
#[test]
#[ignore = "needs a Python with transformers in BRISK_PYTHON"]
fn a_step_goes_where_pytorch_says() {
    let python = std::env::var("BRISK_PYTHON").expect("BRISK_PYTHON");
    let folder = std::env::var("BRISK_HF_FOLDER").unwrap_or_else(|_| golden("bert"));
    let place = Place::empty();
    for file in std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()) {
        if file.ends_with("modules.json") {
            continue; // names folders
        }
        std::fs::create_dir_all(place.at("encoder")).unwrap();
        std::fs::copy(&file, place.at("encoder").join(file.file_name().unwrap())).unwrap();
    }
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(place.at("encoder/config.json")).unwrap()).unwrap();
    for key in ["hidden_dropout_prob", "attention_probs_dropout_prob"] {
        config[key] = 0.0.into();
    }
    place.write("encoder/config.json", config.to_string());
    place.write("data/train.csv", reviews(24));
    let train = |run: &str, rate: &str| {
        let project = format!(
            "inputs: {{text: {{type: text}}}}
outputs: {{label: {{type: category}}}}
data: {{source: data}}
model: {{pretrained: encoder}}
train: {{optimizer: {{sgd: {{learning_rate: {rate}}}}}, batch_size: 24, epochs: 1, keep: last}}
"
        );
        place.write("tiny.yaml", project);
        place.train(run, &[]);
        let out = format!("{run}-out");
        place.brisk(&["export", run, "--format", "huggingface", "--output", &out]).good();
    };
    // So small a step moves nothing; so large a one that what is left of the weights does not matter.
    train("still", "1e-30");
    train("moved", "1000");
    let history = std::fs::read_to_string(place.at("still/history.csv")).unwrap();
    let loss = history.lines().nth(1).unwrap().split(',').nth(1).unwrap().to_string();
    place.write("gradients.py", include_str!("gradients.py"));
    let mut command = std::process::Command::new(python);
    let paths = ["gradients.py", "still-out", "moved-out", "data/train.csv"].map(|p| place.at(p));
    let output = command.args(paths).args(["1000", &loss]).output().unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_no_folder_can_say_is_refused() {
    let place = Place::empty();
    place.write("reviews.csv", reviews(20));
    place.write("tiny.yaml", of_reviews(LSTM, ""));
    place.train("run", &[]);
    let export = ["export", "run", "--format", "huggingface", "--output", "out"];
    place.brisk(&export).fails(2, &["TextEncoder", "encoder"]);
    assert!(!place.at("out").exists());
}
