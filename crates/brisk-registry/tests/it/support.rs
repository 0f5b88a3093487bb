//! A place with a model to publish and a repository to publish it in.

use std::path::PathBuf;

use brisk_format::{SavedModel, load_model, save_model};
use brisk_nn::prelude::*;
use brisk_registry::{Publication, Repository, Version};
use tempfile::TempDir;

pub struct Place {
    dir: TempDir,
}

impl Place {
    /// With a small model.
    pub fn new() -> Place {
        Place::of_width(4)
    }

    /// With a model of about `width * 2048 * 4` bytes.
    pub fn of_width(width: usize) -> Place {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        let model = Sequential::new([width]).add(Dense::new(2048)).build().unwrap();
        let task = Task::new(model, Loss::MeanSquaredError);
        let mut saved = SavedModel::new(&task, &task.model.init_state(1).unwrap());
        saved.card = "# A model\n".into();
        save_model(&place.model(), &saved).unwrap();
        place
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub fn model(&self) -> PathBuf {
        self.at("model")
    }

    pub fn location(&self) -> String {
        self.at("models").display().to_string()
    }

    pub async fn repository(&self) -> Repository {
        Repository::create(&self.location()).await.unwrap()
    }

    pub fn publication(&self) -> Publication {
        Publication {
            extra: vec![("selfcheck.safetensors".into(), b"answers".to_vec())],
            metrics: [("test_accuracy".to_string(), 0.1 + 0.2), ("test_loss".to_string(), f64::NAN)].into(),
            source: "runs/one".into(),
            note: "好, first".into(),
            ..Publication::new("fashion", self.model())
        }
    }

    pub async fn publish(&self, repository: &Repository) -> Version {
        repository.publish(&self.publication()).await.unwrap()
    }

    /// A version that is there is whole, and a model.
    pub async fn check_whole(&self, repository: &Repository, name: &str, version: u64) {
        let found = repository.version(name, version).await.unwrap();
        repository.verify(&found).await.unwrap();
        let folder = repository.local_path(&found).unwrap();
        assert_eq!(load_model(&folder).unwrap(), load_model(&self.model()).unwrap());
    }
}

/// It failed, and says all this.
#[track_caller]
pub fn says<T: std::fmt::Debug>(result: brisk_registry::Result<T>, bad_input: bool, parts: &[&str]) {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert!(parts.iter().all(|p| text.contains(p)), "expected {parts:?} in: {text}");
    assert_eq!(error.is_bad_input(), bad_input, "{text}");
}
