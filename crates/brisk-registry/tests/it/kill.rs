//! `kill -9` while publishing, at any moment: a version is there whole, or not at all.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use brisk_registry::Repository;

use crate::support::Place;

/// Rounds, unless `BRISK_KILL_ROUNDS` says otherwise.
const ROUNDS: u32 = 20;
const MODEL: &str = "BRISK_TEST_PUBLISH";
const COUNT: &str = "BRISK_TEST_COUNT";

/// This very program, publishing the place's model.
pub fn publisher(place: &Place, count: u32) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kill::another_process", "--ignored", "--nocapture"]);
    command.env(MODEL, place.at("")).env(COUNT, count.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
#[ignore = "started by other tests as a process of its own"]
fn another_process() {
    let Ok(place) = std::env::var(MODEL) else { return };
    let count: u32 = std::env::var(COUNT).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let repository = Repository::create(&format!("{place}/models")).await.unwrap();
        for _ in 0..count {
            let publication = brisk_registry::Publication::new("fashion", format!("{place}/model"));
            if let Err(error) = repository.publish(&publication).await {
                println!("{error}");
                std::process::exit(1);
            }
        }
    });
}

#[test]
fn a_killed_publisher_leaves_a_whole_version_or_none() {
    let place = Place::of_width(1300);
    let start = Instant::now();
    assert!(publisher(&place, 1).status().unwrap().success());
    let whole = start.elapsed();
    let rounds = std::env::var("BRISK_KILL_ROUNDS").map_or(ROUNDS, |n| n.parse().unwrap());
    let mut killed = 0;
    for round in 0..rounds {
        let mut child = publisher(&place, 1).spawn().unwrap();
        std::thread::sleep(whole.mul_f64(share(round)));
        let _ = child.kill();
        killed += u32::from(!child.wait().unwrap().success());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let repository = place.repository().await;
        let model = repository.model("fashion").await.unwrap();
        assert!(model.versions.len() as u32 > rounds - killed, "{model:?}");
        for &version in &model.versions {
            place.check_whole(&repository, "fashion", version).await;
        }
        println!("{killed} of {rounds} killed, {} unfinished", model.unfinished.len());
        // The rest can be cleared away, and the next one is published as if nothing had been.
        for &number in &model.unfinished {
            repository.remove("fashion", number).await.unwrap();
            let left = std::fs::read_dir(place.at(&format!("models/fashion/{number}"))).unwrap().flatten();
            let mut left: Vec<_> = left.map(|e| e.file_name().into_string().unwrap()).collect();
            left.sort();
            assert_eq!(left, ["claim.json", "removed.json"]);
        }
        let next = place.publish(&repository).await.version;
        let model = repository.model("fashion").await.unwrap();
        assert_eq!((model.versions.last(), model.unfinished.len()), (Some(&next), 0));
    });
}

/// Numbers from 0 to 1, different each time that the test runs.
fn share(n: u32) -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap_or(Duration::ZERO).subsec_nanos();
    f64::from((now / 1000).wrapping_mul(2_654_435_761).wrapping_add(n * 7919) % 1000) / 1000.0
}
