//! Several publishers at the same time: each gets a number of its own, and all versions are whole.

use std::collections::BTreeSet;

use crate::kill::publisher;
use crate::support::Place;

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn eight_threads() {
    let place = Place::new();
    let repository = place.repository().await;
    let publish = || {
        let (repository, publication) = (repository.clone(), place.publication());
        tokio::spawn(async move { repository.publish(&publication).await })
    };
    let all: Vec<_> = (0..8).map(|_| publish()).collect();
    let mut numbers = BTreeSet::new();
    for one in all {
        numbers.insert(one.await.unwrap().unwrap().version);
    }
    assert_eq!(numbers, (1..=8).collect());
    assert_eq!(repository.versions("fashion").await.unwrap(), Vec::from_iter(1..=8));
    for version in 1..=8 {
        place.check_whole(&repository, "fashion", version).await;
    }
}

#[tokio::test]
async fn eight_processes_that_make_the_repository_too() {
    let place = Place::new();
    let children: Vec<_> = (0..8).map(|_| publisher(&place, 3).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let repository = place.repository().await;
    assert_eq!(repository.versions("fashion").await.unwrap(), Vec::from_iter(1..=24));
    for version in 1..=24 {
        place.check_whole(&repository, "fashion", version).await;
    }
}
