//! `kill -9` at any moment, then `--resume`: the same bits as if nothing had happened.

use std::time::{Duration, Instant};

use crate::support::{LSTM, Place, golden, of_reviews, reviews, tiny};

/// Rounds, unless `BRISK_KILL_ROUNDS` says otherwise.
const ROUNDS: u32 = 3;

#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let place = Place::new();
    resumes(&place, &tiny("idx", ", checkpoint_steps: 4").replace("epochs: 2", "epochs: 8"));
}

#[test]
fn so_does_one_of_texts() {
    let place = Place::empty();
    place.write("reviews.csv", reviews(60));
    let pretrained = format!("{{pretrained: {:?}}}", golden("bert"));
    for model in [LSTM, &pretrained] {
        let more = ", checkpoint_steps: 4, batch_tokens: 40";
        let project = of_reviews(model, more).replace("epochs: 1", "epochs: 8");
        resumes(&place, &project);
        std::fs::remove_dir_all(place.at("whole")).unwrap();
        for round in 0..rounds() {
            std::fs::remove_dir_all(place.at(&format!("killed{round}"))).unwrap();
        }
    }
}

fn rounds() -> u32 {
    std::env::var("BRISK_KILL_ROUNDS").map_or(ROUNDS, |n| n.parse().unwrap())
}

/// A project of 8 epochs, killed now and then.
#[track_caller]
fn resumes(place: &Place, project: &str) {
    place.write("tiny.yaml", project);
    let start = Instant::now();
    place.train("whole", &[]);
    let whole = start.elapsed();
    let wanted = place.read("whole/model/model.safetensors");
    for round in 0..rounds() {
        let run = format!("killed{round}");
        let (mut kills, mut done) = (0, false);
        while !done {
            // After a break there may be nothing yet to resume.
            let begun = place.at(&run).join("config.yaml").exists();
            let mut train = match begun {
                true => place.command(&["train", "--resume", &run]),
                false => place.command(&["train", "tiny.yaml", "--out", &run]),
            };
            let mut child = train.stdout(null()).stderr(null()).spawn().unwrap();
            if kills < 2 {
                std::thread::sleep(whole.mul_f64(share(round * 2 + kills)));
                child.kill().unwrap();
                kills += 1;
            }
            done = child.wait().unwrap().success();
        }
        assert!(wanted == place.read(&format!("{run}/model/model.safetensors")), "round {round}");
        let epochs = place.text(&format!("{run}/history.csv"));
        assert_eq!(epochs.lines().count(), 9, "{epochs}");
    }
}

fn null() -> std::process::Stdio {
    std::process::Stdio::null()
}

/// Numbers from 0 to 1, different each time that the test runs.
fn share(n: u32) -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap_or(Duration::ZERO).subsec_nanos();
    f64::from((now / 1000).wrapping_mul(2_654_435_761).wrapping_add(n * 7919) % 1000) / 1000.0
}
