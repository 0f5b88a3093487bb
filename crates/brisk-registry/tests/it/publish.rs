//! What is published can be read.

use brisk_format::load_model;
use brisk_registry::{Publication, Repository, is_repository};

use crate::support::{Place, says};

#[tokio::test]
async fn a_version_is_a_model_folder() {
    let place = Place::new();
    let repository = place.repository().await;
    let version = place.publish(&repository).await;
    assert_eq!((version.name.as_str(), version.version), ("fashion", 1));
    assert_eq!(version.metrics, [("test_accuracy".to_string(), 0.1 + 0.2)].into());
    assert!(humantime::parse_rfc3339(&version.created).is_ok());
    let names: Vec<_> = version.files.keys().map(String::as_str).collect();
    let expected = ["README.md", "brisk.json", "config.json", "labels.txt"];
    assert_eq!(names[..4], expected);
    assert!(names.contains(&"model.safetensors") && names.contains(&"selfcheck.safetensors"));
    assert_eq!(repository.version("fashion", 1).await.unwrap(), version);
    place.check_whole(&repository, "fashion", 1).await;
    assert!(is_repository(&place.at("models")) && !is_repository(&place.model()));

    // Elsewhere it is the same folder.
    repository.fetch(&version, &place.at("cache/fashion-1")).await.unwrap();
    assert_eq!(load_model(&place.at("cache/fashion-1")).unwrap(), load_model(&place.model()).unwrap());
    assert_eq!(std::fs::read(place.at("cache/fashion-1/selfcheck.safetensors")).unwrap(), b"answers");
    assert_eq!(std::fs::read_dir(place.at("cache")).unwrap().count(), 1, "nothing else is left");
    says(repository.fetch(&version, &place.at("cache/fashion-1")).await, true, &["it is there already"]);
}

#[tokio::test]
async fn it_is_found_by_number_alias_and_latest() {
    let place = Place::new();
    let repository = place.repository().await.acting_as("somebody");
    for _ in 0..3 {
        place.publish(&repository).await;
    }
    repository.set_alias("fashion", "production", 2).await.unwrap();
    let found = async |spec| repository.resolve("fashion", spec).await.map(|v| v.version);
    assert_eq!(found("1").await.unwrap(), 1);
    assert_eq!(found("latest").await.unwrap(), 3);
    assert_eq!(found("production").await.unwrap(), 2);
    says(found("4").await, true, &["models/fashion: there is no version \"4\"; there are 1, 2, 3"]);
    says(found("prodution").await, true, &["did you mean \"production\"?"]);
    says(repository.resolve("fashoin", "1").await, true, &["no model \"fashoin\"", "mean \"fashion\"?"]);
    let models = repository.models().await.unwrap();
    assert_eq!(models.len(), 1);
    assert_eq!(models[0].versions, [1, 2, 3]);
    assert_eq!(models[0].aliases, [("production".to_string(), 2)].into());
    assert!(models[0].unfinished.is_empty());
    let history = repository.alias_history("fashion", "production").await.unwrap();
    assert_eq!(history[0].by.as_deref(), Some("somebody"));
}

#[tokio::test]
async fn a_large_file_goes_in_pieces() {
    let place = Place::of_width(2500); // 20 MB
    let repository = place.repository().await;
    let version = place.publish(&repository).await;
    place.check_whole(&repository, "fashion", 1).await;
    let memory = Repository::in_memory();
    let same = memory.publish(&place.publication()).await.unwrap();
    assert_eq!(same.files, version.files);
    memory.verify(&same).await.unwrap();
    assert_eq!(memory.local_path(&same), None);
}

#[tokio::test]
async fn what_is_not_in_order_is_not_published() {
    let place = Place::new();
    let repository = place.repository().await;
    let publish = async |change: fn(&mut Publication)| {
        let mut publication = place.publication();
        change(&mut publication);
        repository.publish(&publication).await
    };
    for name in ["", "a/b", "../x", "aliases", ".x", "a b", "猫"] {
        let publication = Publication::new(name, place.model());
        says(repository.publish(&publication).await, true, &["cannot be the name of a model", "expected"]);
    }
    for name in ["../x", "brisk.json", "version.json", "claim.json", "a/b", ""] {
        let extra = vec![(name.to_string(), Vec::new())];
        let publication = Publication { extra, ..place.publication() };
        says(repository.publish(&publication).await, true, &["cannot be the name of a file"]);
    }
    says(publish(|p| p.folder = "none".into()).await, true, &["none: there is no such folder"]);

    // A bit of the model has fallen over.
    let path = place.at("model/model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    says(publish(|_| {}).await, true, &["model/model.safetensors: damaged: expected the checksum"]);
    assert!(repository.models().await.unwrap().is_empty());
    let left: Vec<_> = std::fs::read_dir(place.at("models/fashion/1")).unwrap().flatten().collect();
    assert!(left.len() == 2, "only the claim and the mark: {left:?}");
}

#[tokio::test]
async fn other_folders_are_no_repositories() {
    let place = Place::new();
    let at = |path: &str| place.at(path).display().to_string();
    says(Repository::create(&at("model")).await, true, &["model: this folder is no repository: it holds "]);
    says(Repository::open(&at("model")).await, true, &["no repository", "brisk-repository.json"]);
    says(Repository::open(&at("none")).await, true, &["none: there is no such folder"]);
    says(Repository::open(&at("model/config.json")).await, true, &["this is a file"]);
    for location in ["", "http://x/y", "s3:///x", "file://x"] {
        says(Repository::create(location).await, true, &["expected"]);
    }
    let url = format!("file://{}", at("by-url"));
    place.publish(&Repository::create(&url).await.unwrap()).await;
    assert_eq!(Repository::open(&url).await.unwrap().versions("fashion").await.unwrap(), [1]);
    std::fs::write(place.at("by-url/brisk-repository.json"), "{\"format\": 2}").unwrap();
    says(Repository::open(&url).await, true, &["newer Brisk", "update Brisk"]);
}
