//! Files that are not what they were: named, and refused. Bytes of any kind: no panic.

use std::sync::Arc;

use brisk_registry::{Error, Repository};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use proptest::prelude::*;

use crate::support::{Place, says};

#[tokio::test]
async fn a_damaged_file_is_named() {
    let place = Place::new();
    let repository = place.repository().await;
    let version = place.publish(&repository).await;
    for file in version.files.keys() {
        let path = place.at(&format!("models/fashion/1/{file}"));
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        match bad.is_empty() {
            true => bad.push(1),
            false => bad[good.len() / 2] ^= 4,
        }
        let short = &good[..good.len().saturating_sub(1)];
        for bytes in [&bad[..], short].into_iter().filter(|b| *b != good) {
            std::fs::write(&path, bytes).unwrap();
            let named = format!("models/fashion/1/{file}: damaged: expected");
            says(repository.verify(&version).await, true, &[&named, "publish the model again"]);
            says(repository.fetch(&version, &place.at("out")).await, true, &[&named]);
            assert!(!place.at("out").exists());
        }
        std::fs::remove_file(&path).unwrap();
        says(repository.verify(&version).await, true, &[file, "found no such file"]);
        std::fs::write(&path, good).unwrap();
    }
    repository.verify(&version).await.unwrap();
    let names =
        std::fs::read_dir(place.at("")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with('.')).collect::<Vec<_>>(), [""; 0]);
}

#[tokio::test]
async fn a_description_cannot_lead_elsewhere() {
    let place = Place::new();
    let repository = place.repository().await;
    let version = place.publish(&repository).await;
    let path = place.at("models/fashion/1/version.json");
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to, found) in [
        ("\"README.md\"", "\"../../../README.md\"", "../../../README.md"),
        ("\"README.md\"", "\"/etc/passwd\"", "/etc/passwd"),
        ("\"fashion\"", "\"other\"", "version 1 of other"),
        ("\"version\": 1", "\"version\": 2", "version 2 of fashion"),
        (&version.files["brisk.json"].blake3, "00", "\"00\""),
    ] {
        std::fs::write(&path, text.replace(from, to)).unwrap();
        says(repository.version("fashion", 1).await, true, &["version.json: damaged", found]);
    }
    std::fs::write(&path, vec![b' '; 2 << 20]).unwrap();
    says(repository.version("fashion", 1).await, true, &["at most 1048576 bytes"]);
    // One that came another way.
    let json = serde_json::to_string(&version).unwrap().replace("README.md", "../README.md");
    let version = serde_json::from_str(&json).unwrap();
    says(repository.fetch(&version, &place.at("out")).await, true, &["cannot be the name of a file"]);
}

#[tokio::test]
async fn an_alias_with_a_damaged_history_can_be_set_again() {
    let place = Place::new();
    let repository = place.repository().await;
    place.publish(&repository).await;
    place.publish(&repository).await;
    repository.set_alias("fashion", "production", 1).await.unwrap();
    std::fs::write(place.at("models/fashion/aliases/production/00000001.json"), "{").unwrap();
    says(repository.aliases("fashion").await, true, &["production/00000001.json: damaged", "set the alias"]);
    repository.set_alias("fashion", "production", 2).await.unwrap();
    assert_eq!(repository.resolve("fashion", "production").await.unwrap().version, 2);
    says(repository.rollback("fashion", "production").await, true, &["00000001.json: damaged"]);
}

/// A store with these bytes in some file of a model.
fn with(path: &str, bytes: &[u8]) -> Repository {
    let store = Arc::new(InMemory::new());
    for (path, bytes) in [("m/2/claim.json", &b"{}"[..]), (path, bytes)] {
        block_on(store.put(&Path::from(path), bytes.to_vec().into())).unwrap();
    }
    Repository::with_store(store, "memory")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn refused<T: std::fmt::Debug>(result: brisk_registry::Result<T>) {
    if let Err(error) = result {
        let expected = matches!(
            error,
            Error::Damaged { .. } | Error::Newer { .. } | Error::NotFound { .. } | Error::NoEarlier { .. }
        );
        assert!(expected, "{error}");
    }
}

/// JSON that is nearly right.
fn nearly() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("null".to_string()),
        Just("1".to_string()),
        Just("-1".to_string()),
        Just("1e99".to_string()),
        Just("\"x\"".to_string()),
        Just("{}".to_string()),
        Just("{\"a\": {\"bytes\": 18446744073709551615, \"blake3\": \"é\"}}".to_string()),
        Just("[]".to_string()),
    ];
    let keys =
        ["format", "name", "version", "created", "brisk", "files", "metrics", "at", "by", "id", "rollback"];
    proptest::collection::vec((proptest::sample::select(keys.to_vec()), value), 0..12).prop_map(|entries| {
        let entries: Vec<_> = entries.iter().map(|(k, v)| format!("\"{k}\": {v}")).collect();
        format!("{{{}}}", entries.join(", "))
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        nearly().prop_map(String::into_bytes),
    ]) {
        let repository = with("m/1/version.json", &bytes);
        refused(block_on(repository.version("m", 1)));
        refused(block_on(repository.resolve("m", "latest")));
        refused(block_on(repository.models()));
        let repository = with("m/aliases/a/00000001.json", &bytes);
        block_on(async {
            refused(repository.models().await);
            refused(repository.resolve("m", "a").await);
            refused(repository.rollback("m", "a").await);
            refused(repository.alias_history("m", "a").await);
        });
        let repository = with("brisk-repository.json", &bytes);
        refused(block_on(repository.models()));
    }

    #[test]
    fn nor_do_names(name in "\\PC{0,80}", spec in "\\PC{0,20}") {
        let repository = Repository::in_memory();
        assert!(block_on(repository.resolve(&name, &spec)).is_err());
        assert!(block_on(repository.set_alias(&name, &spec, 1)).is_err());
        assert!(block_on(repository.remove(&name, 1)).is_err());
    }

    #[test]
    fn nor_do_strange_paths(path in "[a-z0-9./#]{1,40}") {
        let store = Arc::new(InMemory::new());
        let Ok(path) = Path::parse(&path) else { return Ok(()) };
        block_on(store.put(&path, "{}".into())).unwrap();
        refused(block_on(Repository::with_store(store, "memory").models()));
    }
}
