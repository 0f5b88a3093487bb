//! Tables that are answered into files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime};

use brisk_data::{Rows, TableSpec, Value, open_tables};
use serde_json::{Value as Json, json};

use crate::support::{Done, Place, golden, tiny};

/// Rounds of kills, unless `BRISK_KILL_ROUNDS` says otherwise.
const ROUNDS: u32 = 3;

/// A run in `run` that reads `size` and `colour` and says `label`.
fn trained() -> Place {
    let place = Place::empty();
    let row = |i: usize| {
        let (colour, label) = (["red", "绿"][i % 2], ["small", "large"][usize::from(i > 15)]);
        json!({"size": i, "colour": colour, "label": label}).to_string() + "\n"
    };
    place.write("things.jsonl", (0..30).map(row).collect::<String>());
    place.write(
        "tiny.yaml",
        "inputs: {size: {type: number}, colour: {type: category}}
outputs: {label: {type: category}}
data: {table: {path: things.jsonl}, validation_split: 0.2}
model: {layers: [{Dense: {units: 8, activation: relu}}]}
train: {optimizer: {adam: {learning_rate: 0.01}}, batch_size: 4, epochs: 1}
",
    );
    place.train("run", &[]);
    place
}

/// Many short rows, of which each hundredth has no number in `size`.
fn many(rows: usize) -> String {
    let size = |i: usize| if i % 100 == 99 { "big".into() } else { (i % 40).to_string() };
    let row = |i: usize| format!("{i},{},{}\n", size(i), ["red", "绿", "blue"][i % 3]);
    std::iter::once("id,size,colour\n".into()).chain((0..rows).map(row)).collect()
}

fn batch(place: &Place, input: &str, output: &str, more: &[&str]) -> Done {
    place.brisk(&[&["predict", "run", "--input", input, "--output", output], more].concat())
}

fn lines(place: &Place, path: &str) -> Vec<Json> {
    place.text(path).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn table(place: &Place, path: &str) -> Rows {
    open_tables(&TableSpec::at(place.at(path))).unwrap().train
}

/// The column of a table, row after row.
fn column(rows: &Rows, name: &str) -> Vec<Value> {
    let place = rows.column(name).unwrap();
    rows.iter().map(|row| row.unwrap().get(place).clone()).collect()
}

#[test]
fn a_table_gets_the_answers_that_its_rows_get() {
    let place = trained();
    place.write("ask.csv", "id,label,size,colour\n007,small,5,绿\na,,28,purple\nb,\"x, y\",1.5,\n");
    let said = place.brisk(&["predict", "run", "--json", "--file", "ask.csv"]).good().json();
    let done = batch(&place, "ask.csv", "out.jsonl", &[]).good();
    assert!(done.out.contains("out.jsonl: 3 rows answered, 0 failed, in "), "{}", done.out);
    assert!(done.err.contains("warning: 1 category was rare or not known"), "{}", done.err);
    let expected: Vec<Json> = (0..3)
        .map(|i| {
            let label = [json!("small"), Json::Null, json!("x, y")];
            let mut object = json!({"row": i + 1, "id": (["007", "a", "b"][i]), "input.label": (label[i])});
            let (object, said) = (object.as_object_mut().unwrap(), said[i].as_object().unwrap());
            object.extend(said["input"].as_object().unwrap().clone());
            object.extend(said.clone().into_iter().filter(|f| f.0 != "input"));
            json!(object)
        })
        .collect();
    assert_eq!(lines(&place, "out.jsonl"), expected);
    let keys = place.text("out.jsonl");
    let start = r#"{"row":1,"id":"007","input.label":"small","size":"5","colour":"绿","label":""#;
    assert!(keys.starts_with(start), "{keys}");
    assert!(!place.at("out.jsonl.errors.jsonl").exists() && !place.at(".out.jsonl.part").exists());
}

#[test]
fn every_format_becomes_every_other() {
    let place = trained();
    let text = many(50).replace("big", "7").replace("\n3,", "\n\"3, \"\"x\"\"\n\",");
    place.write("in.csv", &text);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    place.write("packed.csv.gz", packed.finish().unwrap());
    batch(&place, "in.csv", "in.tsv", &[]).good();
    batch(&place, "in.csv", "in.jsonl", &[]).good();
    let all = lines(&place, "in.jsonl");
    let mut inputs = vec!["in.csv", "in.tsv", "in.jsonl", "packed.csv.gz"];
    let mut outputs = vec!["out.jsonl", "out.csv", "out.tsv", "out.ndjson"];
    if cfg!(feature = "parquet") {
        batch(&place, "in.jsonl", "in.parquet", &[]).good();
        inputs.push("in.parquet");
        outputs.push("out.parquet");
    }
    for input in inputs {
        for output in &outputs {
            batch(&place, input, output, &["--overwrite"]).good();
            let rows = table(&place, output);
            let texts = |name: &str| -> Vec<String> {
                column(&rows, name).iter().map(|v| v.text().unwrap_or_default().into_owned()).collect()
            };
            let of = |name: &str| -> Vec<String> {
                all.iter().map(|o| o[name].as_str().unwrap().to_string()).collect()
            };
            assert_eq!(texts("id"), of("id"), "{input} {output}");
            assert_eq!(texts("label"), of("label"), "{input} {output}");
            let numbers: Vec<f64> = column(&rows, "row").iter().map(|v| v.number().unwrap()).collect();
            assert_eq!(numbers, (1..=50).map(f64::from).collect::<Vec<_>>());
            for (said, expected) in column(&rows, "probability").iter().zip(&all) {
                assert_eq!(said.number(), expected["probability"].as_f64(), "{input} {output}");
            }
            let guesses: Json = match &column(&rows, "probabilities")[0] {
                Value::Text(text) => serde_json::from_str(text).unwrap(),
                list => list.items(None).iter().map(|v| v.text().unwrap().parse::<Json>().unwrap()).collect(),
            };
            assert_eq!(guesses, all[0]["probabilities"], "{input} {output}");
            // What an earlier job has written stands beside.
            let old = rows.columns().iter().any(|c| c == "input.row");
            assert_eq!(old, !input.contains(".csv"), "{:?}", rows.columns());
        }
    }
}

#[test]
fn columns_have_types_and_names() {
    let place = Place::empty();
    let row = |i: usize| {
        let kinds = ["[\"old\"]", "[\"old\", \"rare\"]", "[]"][i % 3];
        format!("{{\"size\": {i}, \"price\": {}, \"kinds\": {kinds}}}\n", 100 + i)
    };
    place.write("things.jsonl", (0..30).map(row).collect::<String>());
    place.write(
        "tiny.yaml",
        "inputs: {size: {type: number}}
outputs: {price: {type: number}, kinds: {type: labels}}
data: {table: {path: things.jsonl}, validation_split: 0.2}
model: {layers: [{Dense: {units: 4}}]}
train: {batch_size: 4, epochs: 1}
",
    );
    place.train("run", &[]);
    place.write(
        "ask.jsonl",
        "{\"size\": 5, \"price\": 0.1, \"is\": true, \"mixed\": 1, \"list\": [1, \"a\"], \"none\": null}
{\"size\": 6.5, \"price\": 1e300, \"mixed\": \"\", \"list\": []}
",
    );
    batch(&place, "ask.jsonl", "out.jsonl", &[]).good();
    let said = lines(&place, "out.jsonl");
    assert_eq!(
        (&said[0]["row"], &said[0]["size"], &said[0]["input.price"]),
        (&json!(1), &json!(5), &json!(0.1))
    );
    assert!(said[0]["price"]["value"].is_number() && said[0]["kinds"]["labels"].is_array(), "{}", said[0]);
    batch(&place, "ask.jsonl", "out.csv", &[]).good();
    let text = place.text("out.csv");
    let header = "row,size,price,is,mixed,list,none,price.value,kinds.labels,kinds.probabilities\n";
    assert!(text.starts_with(header), "{text}");
    assert!(text.contains("\n1,5,0.1,true,1,\"[1,\"\"a\"\"]\",,"), "{text}");
    assert!(text.contains("\n2,6.5,1e+300,,\"\",[],,"), "{text}");
    if cfg!(feature = "parquet") {
        batch(&place, "ask.jsonl", "out.parquet", &[]).good();
        let rows = table(&place, "out.parquet");
        assert_eq!(rows.columns().join(",") + "\n", header);
        let row = |i: usize| rows.row(i).unwrap().values;
        let text = |s: &str| Value::from(s);
        let numbers = [1.0, 5.0, 0.1].map(Value::from);
        assert_eq!(row(0)[..3], numbers);
        assert_eq!(row(0)[3..7], [Value::Bool(true), text("1"), text("[1,\"a\"]"), Value::Missing]);
        assert_eq!(row(1)[2..7], [1e300.into(), Value::Missing, text(""), text("[]"), Value::Missing]);
        let value = said[1]["price"]["value"].as_f64().unwrap();
        assert!(matches!(row(1)[7], Value::Number(n) if (n - value).abs() < 1e-9));
        assert_eq!(row(1)[8], Value::from(said[1]["kinds"]["labels"].to_string()));
    }
}

#[test]
fn rows_that_fail_stand_beside() {
    let place = trained();
    place.write("ask.csv", "id,size,colour\n\na,5,red\nb,large,red\nc,6,red\nd,12 kg,绿\n");
    place.write("good.csv", "id,size,colour\na,5,red\nc,6,red\n");
    let done = batch(&place, "ask.csv", "out.csv", &[]).fails(2, &["2 of 4 rows", "out.csv.errors.jsonl"]);
    assert!(done.out.contains("2 rows answered, 2 failed"), "{}", done.out);
    batch(&place, "good.csv", "good.out.csv", &[]).good();
    assert_eq!(place.text("out.csv").replace("\n3,c,", "\n2,c,"), place.text("good.out.csv"));
    let errors = lines(&place, "out.csv.errors.jsonl");
    assert_eq!(errors.len(), 2);
    assert_eq!((&errors[0]["row"], &errors[1]["row"]), (&json!(2), &json!(4)));
    assert_eq!(errors[0]["place"], "ask.csv: row 2 (line 4)");
    let error = errors[0]["error"].as_str().unwrap();
    assert!(error.contains("column `size`") && error.contains("large"), "{error}");
    assert_eq!(errors[0]["fields"], json!({"id": "b", "size": "large", "colour": "red"}));

    // In another place; and all of them.
    place.write("bad.csv", "size,colour\nx,red\n");
    batch(&place, "bad.csv", "bad.out.csv", &["--errors", "side/wrong.jsonl"]).fails(2, &["1 of 1 rows"]);
    assert_eq!(lines(&place, "side/wrong.jsonl").len(), 1);
    assert_eq!(place.text("bad.out.csv"), "row,size,colour,label,probability,probabilities\n");
    // A job without errors leaves none of an earlier one.
    batch(&place, "good.csv", "out.csv", &["--overwrite"]).good();
    assert!(!place.at("out.csv.errors.jsonl").exists());
    // No rows are no error.
    place.write("none.jsonl", "");
    for output in ["none.csv", "none.out.jsonl"] {
        batch(&place, "none.jsonl", output, &[]).good();
    }
    assert_eq!(place.text("none.csv"), "row,label,probability,probabilities\n");
    assert_eq!(place.text("none.out.jsonl"), "");
    if cfg!(feature = "parquet") {
        batch(&place, "none.jsonl", "none.parquet", &[]).good();
        assert!(place.read("none.parquet").ends_with(b"PAR1"));
    }
}

#[test]
fn nothing_is_replaced_that_is_not_its_own() {
    let place = trained();
    place.write("ask.csv", "size,colour\n5,绿\n");
    place.write("out.jsonl", "mine");
    batch(&place, "ask.csv", "out.jsonl", &[]).fails(2, &["out.jsonl", "exists already", "--overwrite"]);
    assert_eq!(place.text("out.jsonl"), "mine");
    batch(&place, "ask.csv", "out.jsonl", &["--overwrite"]).good();
    assert_eq!(lines(&place, "out.jsonl").len(), 1);
    batch(&place, "ask.csv", "out.jsonl", &[]).fails(2, &["exists already"]);
    place.write("new.jsonl.errors.jsonl", "mine");
    batch(&place, "ask.csv", "new.jsonl", &[]).fails(2, &["new.jsonl.errors.jsonl", "exists already"]);
    fs::remove_file(place.at("new.jsonl.errors.jsonl")).unwrap();

    batch(&place, "ask.csv", "ask.csv", &["--overwrite"]).fails(2, &["this is the input"]);
    batch(&place, "ask.csv", "x.csv", &["--errors", "./x.csv"]).fails(2, &["must differ"]);
    batch(&place, "ask.csv", "run", &["--overwrite"]).fails(2, &[".jsonl, .csv, .tsv or .parquet"]);
    batch(&place, "ask.csv", "x.csv.gz", &[]).fails(2, &["pack it afterwards"]);
    batch(&place, "none.csv", "x.csv", &[]).fails(2, &["none.csv"]);
    batch(&place, "run", "x.csv", &[]).fails(2, &["found a folder"]);
    place.write("other.csv", "size,color\n5,绿\n");
    batch(&place, "other.csv", "x.csv", &[]).fails(2, &["`colour`", "did you mean `color`?"]);
    place.write("broken.csv", "size,colour\n5\n");
    batch(&place, "broken.csv", "x.csv", &[]).fails(2, &["broken.csv: line 2"]);
    place.brisk(&["predict", "run", "--input", "ask.csv"]).fails(2, &["--output"]);
    place.brisk(&["predict", "run", "--output", "x.csv"]).fails(2, &["--input"]);
    let left: Vec<_> = fs::read_dir(place.at("")).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(!left.iter().any(|n| n.to_string_lossy().starts_with(['.', 'x'])), "{left:?}");

    // While another one works.
    fs::create_dir(place.at(".new.jsonl.part")).unwrap();
    let lock = fs::File::create(place.at(".new.jsonl.part/lock")).unwrap();
    lock.try_lock().unwrap();
    batch(&place, "ask.csv", "new.jsonl", &[]).fails(2, &["new.jsonl", "another process is writing it"]);
    drop(lock);
    batch(&place, "ask.csv", "new.jsonl", &[]).good();
    assert!(!place.at(".new.jsonl.part").exists());
}

fn start(place: &Place, input: &str, output: &str) -> Child {
    let mut command = place.command(&["predict", "run", "--input", input, "--output", output]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until some rows are done, and kills it before all are.
fn killed_on_the_way(place: &Place, input: &str, output: &str) {
    let state = place.at(&format!(".{output}.part/state.json"));
    let rows = || serde_json::from_slice::<Json>(&fs::read(&state).ok()?).ok()?["rows"].as_u64();
    for _ in 0..20 {
        let mut child = start(place, input, output);
        while rows().unwrap_or(0) == 0 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if state.exists() && !place.at(output).exists() {
            return;
        }
        // It was too fast for this machine just now.
        let _ = [output.to_string(), errors(output)].map(|name| fs::remove_file(place.at(&name)));
        let _ = fs::remove_dir_all(place.at(&format!(".{output}.part")));
    }
    panic!("always done before it was killed");
}

#[test]
fn a_killed_job_goes_on_to_the_same_bytes() {
    let place = trained();
    place.write("ask.csv", many(20_000));
    let outputs = if cfg!(feature = "parquet") { vec!["jsonl", "parquet"] } else { vec!["jsonl"] };
    let rounds = std::env::var("BRISK_KILL_ROUNDS").map_or(ROUNDS, |n| n.parse().unwrap());
    for ending in outputs {
        let (whole, out) = (format!("whole.{ending}"), format!("out.{ending}"));
        let begun = Instant::now();
        batch(&place, "ask.csv", &whole, &[]).fails(2, &["200 of 20,000 rows"]);
        let time = begun.elapsed();
        for round in 0..rounds {
            let mut kills = 0;
            while place.at(&format!(".{out}.part")).exists() || !place.at(&out).exists() {
                assert!(kills <= 3, "it did not finish");
                let mut child = start(&place, "ask.csv", &out);
                if kills < 3 {
                    std::thread::sleep(time.mul_f64(share(round * 3 + kills)));
                    child.kill().unwrap();
                }
                kills += 1;
                child.wait().unwrap();
            }
            for (name, expected) in [(out.clone(), whole.clone()), (errors(&out), errors(&whole))] {
                assert!(place.read(&name) == place.read(&expected), "{name} {round}");
                fs::remove_file(place.at(&name)).unwrap();
            }
        }
    }
    let left: Vec<_> = fs::read_dir(place.at("")).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(!left.iter().any(|n| n.to_string_lossy().starts_with('.')), "{left:?}");
}

fn errors(output: &str) -> String {
    format!("{output}.errors.jsonl")
}

/// Numbers from 0 to 1, different each time that the test runs.
fn share(n: u32) -> f64 {
    let now =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).subsec_nanos();
    f64::from((now / 1000).wrapping_mul(2_654_435_761).wrapping_add(n * 7919) % 1000) / 1000.0
}

#[test]
fn a_job_goes_on_only_if_it_is_the_same() {
    let place = trained();
    let text = many(20_000);
    place.write("ask.csv", &text);
    batch(&place, "ask.csv", "whole.jsonl", &[]).fails(2, &["200 of 20,000 rows"]);
    let whole = place.read("whole.jsonl");

    killed_on_the_way(&place, "ask.csv", "out.jsonl");
    // Half a line behind what counts.
    let part = place.at(".out.jsonl.part/answers");
    fs::OpenOptions::new().append(true).open(&part).unwrap().write_all(b"{\"row\": ").unwrap();
    let done = batch(&place, "ask.csv", "out.jsonl", &[]).fails(2, &["going on after row "]);
    assert!(done.out.contains("19,800 rows answered, 200 failed"), "{}", done.out);
    assert!(place.read("out.jsonl") == whole);
    assert_eq!(lines(&place, "out.jsonl.errors.jsonl").len(), 200);

    // A file that has come into its place since is not replaced.
    killed_on_the_way(&place, "ask.csv", "b.jsonl");
    place.write("b.jsonl", "mine");
    batch(&place, "ask.csv", "b.jsonl", &[]).fails(2, &["exists already"]);
    assert_eq!(place.text("b.jsonl"), "mine");
    let done = batch(&place, "ask.csv", "b.jsonl", &["--overwrite"]);
    assert!(done.err.contains("going on after row"), "{}", done.err);
    assert!(place.read("b.jsonl") == whole);

    // Other options, a damaged work folder, another input.
    killed_on_the_way(&place, "ask.csv", "c.jsonl");
    let done = batch(&place, "ask.csv", "c.jsonl", &["--top", "1"]);
    assert!(done.err.contains("starting again: the options have changed"), "{}", done.err);
    assert!(place.read("c.jsonl").len() < whole.len());
    killed_on_the_way(&place, "ask.csv", "d.jsonl");
    fs::write(place.at(".d.jsonl.part/answers"), "").unwrap();
    let done = batch(&place, "ask.csv", "d.jsonl", &[]);
    assert!(done.err.contains("starting again: its work folder is damaged"), "{}", done.err);
    assert!(place.read("d.jsonl") == whole);
    killed_on_the_way(&place, "ask.csv", "e.jsonl");
    place.write("ask.csv", text.replacen("\n0,0,", "\n0,1,", 1));
    let done = batch(&place, "ask.csv", "e.jsonl", &[]);
    assert!(done.err.contains("starting again: the input has changed"), "{}", done.err);
    let (new, old) = (lines(&place, "e.jsonl"), lines(&place, "whole.jsonl"));
    assert!(new.len() == old.len() && new[0]["size"] == "1" && new[1]["size"] == old[1]["size"]);
}

#[test]
fn a_job_that_stopped_at_its_very_end_is_finished() {
    let place = trained();
    place.write("ask.csv", many(300));
    let more = ["--errors", "side/errors.jsonl"];
    for placed in [false, true] {
        place.write("side", "no folder");
        let done = batch(&place, "ask.csv", "out.jsonl", &more).fails(1, &["side"]);
        assert!(done.out.is_empty() && !place.at("out.jsonl").exists());
        if placed {
            fs::rename(place.at(".out.jsonl.part/answers"), place.at("out.jsonl")).unwrap();
            fs::remove_file(place.at("side")).unwrap();
            place.write("side/errors.jsonl", fs::read(place.at(".out.jsonl.part/errors")).unwrap());
        } else {
            fs::remove_file(place.at("side")).unwrap();
        }
        let done = batch(&place, "ask.csv", "out.jsonl", &more).fails(2, &["going on after row 300"]);
        assert!(done.out.contains("297 rows answered, 3 failed"), "{}", done.out);
        assert!(!place.at(".out.jsonl.part").exists());
        assert_eq!(lines(&place, "out.jsonl").len(), 297);
        assert_eq!(lines(&place, "side/errors.jsonl").len(), 3);
        fs::remove_file(place.at("out.jsonl")).unwrap();
        fs::remove_dir_all(place.at("side")).unwrap();
    }
}

#[test]
fn two_at_once_do_not_write_the_same_file() {
    let place = trained();
    place.write("ask.csv", many(20_000));
    let mut first = start(&place, "ask.csv", "out.jsonl");
    while !place.at(".out.jsonl.part/state.json").exists() {
        assert!(first.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(1));
    }
    let second = batch(&place, "ask.csv", "out.jsonl", &[]);
    let refused = ["another process is writing it", "exists already"]; // it may be done by now
    assert!(second.code == Some(2) && refused.iter().any(|r| second.err.contains(r)), "{}", second.err);
    assert_eq!(first.wait().unwrap().code(), Some(2));
    assert_eq!(lines(&place, "out.jsonl").len(), 19_800);
}

#[test]
fn pictures_are_read_from_their_files() {
    let place = Place::new();
    place.write("tiny.yaml", tiny("idx", "").replace("epochs: 2", "epochs: 1"));
    place.train("run", &[]);
    place.png("data/a.png", 0, 1);
    place.png("data/more/b.png", 2, 1);
    place.write("data/c.png", "no picture");
    place.write("data/ask.csv", "image,who\na.png,x\ngone.png,y\nmore/b.png,z\nc.png,\n,w\n");
    let files = ["data/a.png", "data/more/b.png"];
    let said = place.brisk(&[&["predict", "run", "--json"], &files[..]].concat()).good().json();
    batch(&place, "data/ask.csv", "out.jsonl", &[]).fails(2, &["3 of 5 rows"]);
    let out = lines(&place, "out.jsonl");
    assert_eq!(out.iter().map(|o| o["row"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 3]);
    for (answer, said) in out.iter().zip(said.as_array().unwrap()) {
        assert_eq!(answer["label"], said["label"]);
        let (a, b) = (&answer["probability"], &said["probability"]);
        assert!((a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-6);
    }
    let errors: BTreeMap<u64, String> = lines(&place, "out.jsonl.errors.jsonl")
        .iter()
        .map(|e| (e["row"].as_u64().unwrap(), e["error"].as_str().unwrap().to_string()))
        .collect();
    assert!(errors[&2].contains("gone.png: not found") && errors[&4].contains("not a readable image"));
    assert!(errors[&5].contains("the path of the picture is missing"), "{errors:?}");
    place.write("data/other.csv", "file\na.png\n");
    batch(&place, "data/other.csv", "x.jsonl", &[]).fails(2, &["no column `image`"]);
}

#[test]
fn texts_that_the_layers_cannot_take_do_not_stop_the_others() {
    let place = Place::empty();
    let long = "这部电影很好看".repeat(3);
    let rows = (0..20).map(|i| format!("{long},{}\n", ["good", "bad"][i % 2]));
    place.write("reviews.csv", "text,label\n".to_string() + &rows.collect::<String>());
    place.write(
        "tiny.yaml",
        "inputs: {text: {type: text, tokenizer: character, max_length: 24}}
outputs: {label: {type: category}}
data: {table: {path: reviews.csv}, validation_split: 0.2}
model: {layers: [{Embedding: {output_dim: 4}}, {Conv1D: {filters: 2, kernel_size: 12}}, GlobalMaxPooling1D, {Dense: {units: 2}}]}
train: {batch_size: 4, epochs: 1}
",
    );
    place.train("run", &[]);
    // Those of a length are looked at together: the first batch consists of short ones.
    let rows = |n: usize| (0..n).map(|i| if i % 2 == 0 { "好\n".into() } else { format!("{long}\n") });
    place.write("ask.csv", "text\n".to_string() + &rows(400).collect::<String>());
    batch(&place, "ask.csv", "out.jsonl", &[]).fails(2, &["200 of 400 rows"]);
    assert!(lines(&place, "out.jsonl").iter().all(|o| o["text"] == long));
    let errors = lines(&place, "out.jsonl.errors.jsonl");
    assert!(errors.len() == 200 && errors[0]["error"].as_str().unwrap().contains("conv1d"), "{}", errors[0]);
    // If it can take none, it is the model.
    place.write("ask.csv", "text\n".to_string() + &rows(1).collect::<String>());
    batch(&place, "ask.csv", "none.jsonl", &[]).fails(2, &["conv1d: a kernel of 12"]);
    assert!(!place.at("none.jsonl").exists());
}

#[test]
fn vectors_stand_beside_their_texts() {
    let place = Place::empty();
    place.brisk(&["import", &golden("bert"), "--output", "run"]).good();
    place.write("ask.csv", "id,text\n1,这部电影很好看\n2,\n3,\"good, really\"\n");
    let done = batch(&place, "ask.csv", "out.jsonl", &["--embed"]).good();
    assert!(done.err.contains("warning: 1 text is empty"), "{}", done.err);
    let vectors: Vec<Vec<f64>> = lines(&place, "out.jsonl")
        .iter()
        .map(|o| o["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect())
        .collect();
    let args = ["predict", "run", "--file", "ask.csv", "--embed", "--output", "v.npy"];
    place.brisk(&args).good();
    let npy: Vec<f64> = place.read("v.npy")[128..]
        .chunks(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()).into())
        .collect();
    assert!(vectors.len() == 3 && vectors.concat() == npy);
    batch(&place, "ask.csv", "out.tsv", &["--embed"]).good();
    let mut outputs = vec!["out.tsv"];
    if cfg!(feature = "parquet") {
        batch(&place, "ask.csv", "out.parquet", &["--embed"]).good();
        outputs.push("out.parquet");
    }
    for output in outputs {
        let rows = table(&place, output);
        assert_eq!(rows.columns(), ["row", "id", "text", "embedding"]);
        let found = column(&rows, "embedding");
        let found: Vec<f64> =
            found.iter().flat_map(|v| v.items(None).into_owned()).map(|v| v.number().unwrap()).collect();
        assert!(found.len() == 48 && found.iter().zip(&npy).all(|(a, b)| (a - b).abs() < 1e-7), "{output}");
    }
}
