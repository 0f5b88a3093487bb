//! Versions go, and their numbers with them.

use crate::support::{Place, says};

#[tokio::test]
async fn a_version_that_is_pointed_to_stays() {
    let place = Place::new();
    let repository = place.repository().await;
    place.publish(&repository).await;
    place.publish(&repository).await;
    repository.set_alias("fashion", "production", 1).await.unwrap();
    repository.set_alias("fashion", "canary", 1).await.unwrap();
    says(
        repository.remove("fashion", 1).await,
        true,
        &["fashion: version 1 stays: the aliases canary, production point to it"],
    );
    place.check_whole(&repository, "fashion", 1).await;
    repository.remove_alias("fashion", "canary").await.unwrap();
    repository.set_alias("fashion", "production", 2).await.unwrap();
    repository.remove("fashion", 1).await.unwrap();
    assert_eq!(repository.versions("fashion").await.unwrap(), [2]);
    says(repository.version("fashion", 1).await, true, &["no version \"1\"; there is 2"]);
    says(repository.remove("fashion", 1).await, true, &["no version \"1\""]);
    says(repository.remove("fashion", 7).await, true, &["no version \"7\""]);
    says(repository.set_alias("fashion", "canary", 1).await, true, &["no version \"1\""]);
}

#[tokio::test]
async fn numbers_are_not_used_again() {
    let place = Place::new();
    let repository = place.repository().await;
    place.publish(&repository).await;
    place.publish(&repository).await;
    repository.remove("fashion", 2).await.unwrap();
    repository.remove("fashion", 1).await.unwrap();
    assert!(repository.models().await.unwrap().is_empty());
    says(repository.versions("fashion").await, true, &["no model \"fashion\"; there are none yet"]);
    assert_eq!(place.publish(&repository).await.version, 3);
    let names = |n: u64| {
        let entries = std::fs::read_dir(place.at(&format!("models/fashion/{n}"))).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!((names(1), names(2)), (names(1), vec!["claim.json".into(), "removed.json".into()]));
}

#[tokio::test]
async fn what_a_dead_remover_has_begun_is_finished() {
    let place = Place::new();
    let repository = place.repository().await;
    place.publish(&repository).await;
    place.publish(&repository).await;
    // It died after the mark: the version is gone at once, its files at the next try.
    let mark = |at: String| format!("{{\"at\": \"{at}\", \"id\": \"x\"}}");
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    std::fs::write(place.at("models/fashion/1/removed.json"), mark(now)).unwrap();
    assert_eq!(repository.versions("fashion").await.unwrap(), [2]);
    says(repository.version("fashion", 1).await, true, &["no version \"1\""]);
    says(repository.remove("fashion", 1).await, false, &["somebody else is removing", "in a minute"]);
    std::fs::write(place.at("models/fashion/1/removed.json"), mark("2001-01-01T00:00:00Z".into())).unwrap();
    repository.remove("fashion", 1).await.unwrap();
    assert_eq!(std::fs::read_dir(place.at("models/fashion/1")).unwrap().count(), 2);
    // Also if it was the last version.
    std::fs::write(place.at("models/fashion/2/removed.json"), mark("2001-01-01T00:00:00Z".into())).unwrap();
    says(repository.versions("fashion").await, true, &["no model \"fashion\""]);
    repository.remove("fashion", 2).await.unwrap();
    assert_eq!(std::fs::read_dir(place.at("models/fashion/2")).unwrap().count(), 2);
    says(repository.remove("fashion", 2).await, true, &["no model \"fashion\""]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_version_is_never_removed_and_pointed_to() {
    let place = Place::new();
    let repository = place.repository().await;
    for round in 1..=12 {
        place.publish(&repository).await;
        place.publish(&repository).await;
        let (keep, gone) = (round * 2 - 1, round * 2);
        repository.set_alias("fashion", "production", keep).await.unwrap();
        let (a, b) = (repository.clone(), repository.clone());
        let mover = tokio::spawn(async move { a.set_alias("fashion", "production", gone).await });
        let remover = tokio::spawn(async move { b.remove("fashion", gone).await });
        let (moved, removed) = (mover.await.unwrap(), remover.await.unwrap());
        let there = repository.version("fashion", gone).await.is_ok();
        let points = repository.aliases("fashion").await.unwrap()["production"];
        assert_eq!(there, removed.is_err(), "{removed:?}");
        assert!(there || points == keep, "{moved:?} {removed:?}");
        assert_eq!(moved.is_ok(), points == gone, "{moved:?} {removed:?}");
    }
}
