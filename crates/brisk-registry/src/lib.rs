//! Versions of models in a repository: a folder, or a bucket.
//!
//! A repository is the same in a folder and in a bucket, and needs nothing of either but that a file can be created only if
//! it is not there yet:
//!
//! ```text
//! brisk-repository.json         says what the folder is
//! NAME/N/claim.json             the number N is taken, for ever
//! NAME/N/...                    the files of the model, a plain model folder
//! NAME/N/version.json           written last: the version is there, with a checksum of every file
//! NAME/N/removed.json           the version is gone
//! NAME/aliases/ALIAS/K.json     the K-th move of an alias; the highest is where it points
//! ```
//!
//! So a version is there whole, or not at all, however a publisher ends; publishers at the same time get numbers of their
//! own; and an alias that is moved by two at once has both moves in its history.
//!
//! ```
//! # use brisk_format::{SavedModel, save_model};
//! # use brisk_nn::prelude::*;
//! # let model = Sequential::new([4]).add(Dense::new(2)).build()?;
//! # let task = Task::new(model, Loss::sparse_categorical_crossentropy());
//! # let dir = tempfile::tempdir()?;
//! # let folder = dir.path().join("model");
//! # save_model(&folder, &SavedModel::new(&task, &task.model.init_state(1)?))?;
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! use brisk_registry::{Publication, Repository};
//! let repository = Repository::create(&dir.path().join("models").display().to_string()).await?;
//! let first = repository.publish(&Publication::new("fashion", &folder)).await?;
//! let second = repository.publish(&Publication::new("fashion", &folder)).await?;
//! assert_eq!((first.version, second.version), (1, 2));
//!
//! repository.set_alias("fashion", "production", 1).await?;
//! repository.set_alias("fashion", "production", 2).await?;
//! assert_eq!(repository.resolve("fashion", "production").await?.version, 2);
//! let moved = repository.rollback("fashion", "production").await?;
//! assert_eq!((moved.from, moved.to), (Some(2), Some(1)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod alias;
mod error;
mod fetch;
mod layout;
mod listing;
mod name;
mod open;
mod publish;
mod record;
mod remove;
mod repository;
mod upload;

pub use alias::Moved;
pub use error::{Error, Result};
pub use listing::ModelEntry;
pub use name::{check_alias, check_name};
pub use open::{is_free, is_repository};
pub use publish::Publication;
pub use record::{AliasEntry, FileRecord, Version};
pub use repository::Repository;

/// The version of repositories that this Brisk writes. It reads all up to this one.
pub const FORMAT_VERSION: u32 = 1;
