//! Aliases move, go back, and are moved by several at once.

use std::collections::HashSet;

use brisk_registry::Moved;

use crate::support::{Place, says};

fn moved(m: Moved) -> (Option<u64>, Option<u64>) {
    (m.from, m.to)
}

#[tokio::test]
async fn an_alias_goes_back_step_by_step() {
    let place = Place::new();
    let repository = place.repository().await;
    for _ in 0..4 {
        place.publish(&repository).await;
    }
    for version in [1, 2, 3, 4] {
        repository.set_alias("fashion", "production", version).await.unwrap();
    }
    let same = repository.set_alias("fashion", "production", 4).await.unwrap();
    assert_eq!(moved(same), (Some(4), Some(4)));
    repository.remove("fashion", 3).await.unwrap();
    let back = async || repository.rollback("fashion", "production").await;
    assert_eq!(moved(back().await.unwrap()), (Some(4), Some(2)), "3 is gone");
    assert_eq!(moved(back().await.unwrap()), (Some(2), Some(1)), "and not to 4 again");
    says(back().await, true, &["alias production: there is no version before \"1\""]);
    repository.set_alias("fashion", "production", 4).await.unwrap();
    assert_eq!(moved(back().await.unwrap()), (Some(4), Some(1)));
    let history = repository.alias_history("fashion", "production").await.unwrap();
    let went: Vec<_> = history.iter().map(|e| (e.version.unwrap(), e.rollback)).collect();
    let forward = [1, 2, 3, 4].map(|v| (v, false));
    assert_eq!(went[..4], forward);
    assert_eq!(went[4..], [(2, true), (1, true), (4, false), (1, true)]);
}

#[tokio::test]
async fn an_alias_can_be_removed_and_set_again() {
    let place = Place::new();
    let repository = place.repository().await;
    place.publish(&repository).await;
    let first = repository.set_alias("fashion", "canary", 1).await.unwrap();
    assert_eq!(moved(first), (None, Some(1)));
    assert_eq!(moved(repository.remove_alias("fashion", "canary").await.unwrap()), (Some(1), None));
    assert!(repository.aliases("fashion").await.unwrap().is_empty());
    for result in
        [repository.remove_alias("fashion", "canary").await, repository.rollback("fashion", "canary").await]
    {
        says(result, true, &["there is no alias \"canary\""]);
    }
    repository.set_alias("fashion", "canary", 1).await.unwrap();
    assert_eq!(repository.alias_history("fashion", "canary").await.unwrap().len(), 3);
    says(repository.set_alias("fashion", "canary", 2).await, true, &["no version \"2\"; there is 1"]);
    says(repository.set_alias("fashion", "7", 1).await, true, &["\"7\" cannot be the name of an alias"]);
    says(repository.set_alias("fashion", "latest", 1).await, true, &["neither `latest`"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_movers_all_are_in_the_history() {
    const MOVERS: u64 = 8;
    let place = Place::new();
    let repository = place.repository().await;
    for _ in 0..MOVERS {
        place.publish(&repository).await;
    }
    let movers = (1..=MOVERS).map(|version| {
        let repository = repository.clone();
        tokio::spawn(async move { repository.set_alias("fashion", "production", version).await })
    });
    let movers: Vec<_> = movers.collect();
    for mover in movers {
        mover.await.unwrap().unwrap();
    }
    let history = repository.alias_history("fashion", "production").await.unwrap();
    let versions: HashSet<_> = history.iter().map(|e| e.version.unwrap()).collect();
    assert_eq!((history.len(), versions.len()), (MOVERS as usize, MOVERS as usize), "{history:?}");
    let last = history.last().unwrap().version;
    assert_eq!(repository.resolve("fashion", "production").await.ok().map(|v| v.version), last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_who_go_back_each_goes_a_step_of_its_own_or_is_told() {
    let place = Place::new();
    let repository = place.repository().await;
    for version in 1..=9 {
        place.publish(&repository).await;
        repository.set_alias("fashion", "production", version).await.unwrap();
    }
    for _ in 0..4 {
        let before = repository.aliases("fashion").await.unwrap()["production"];
        let back = || {
            let repository = repository.clone();
            tokio::spawn(async move { repository.rollback("fashion", "production").await })
        };
        let both = [back(), back()];
        let mut steps = Vec::new();
        for one in both {
            match one.await.unwrap() {
                Ok(moved) => steps.push((moved.from, moved.to)),
                Err(error) => {
                    assert!(!error.is_bad_input(), "{error}");
                    assert!(error.to_string().contains("somebody else has moved production"), "{error}");
                }
            }
        }
        steps.sort();
        steps.dedup();
        let after = repository.aliases("fashion").await.unwrap()["production"];
        assert_eq!(after, before - steps.len() as u64, "each step counts once: {steps:?}");
        assert!(!steps.is_empty(), "one of them wins");
    }
}
