//! The model server: batches, protocols, reload, keys, console.
//!
//! A [`Source`] is a run, a model folder, or a repository of versions; [`Server`] answers questions about its models over HTTP
//! (KServe V2, TensorFlow Serving, OpenAI's embeddings, plain `/predict`) and gRPC.
//!
//! ```
//! use brisk_format::{SavedModel, save_model};
//! use brisk_nn::prelude::*;
//! use brisk_serve::{Options, Server, Source};
//! let model = Sequential::new([2]).add(Dense::new(3)).build()?;
//! let task = Task::new(model, Loss::sparse_categorical_crossentropy());
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("iris");
//! save_model(&path, &SavedModel::new(&task, &task.model.init_state(1)?))?;
//!
//! let runtime = tokio::runtime::Runtime::new()?;
//! runtime.block_on(async {
//!     let source = Source::open(&path.display().to_string()).await?;
//!     let server = Server::bind(Options { port: 0, ..Options::default() }, source).await?;
//!     let (done, stop) = tokio::sync::oneshot::channel::<()>();
//!     let ready = |server: &Server| {
//!         println!("http://{}", server.http());
//!         drop(done); // here it stops as soon as it is ready
//!     };
//!     server.run(ready, async { drop(stop.await) }).await?;
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod app;
mod catalog;
mod engine;
mod fault;
mod grpc;
mod http;
mod keys;
mod listen;
mod load;
mod memory;
mod metrics;
mod model;
mod options;
mod repository;
mod server;
mod trace;

pub use engine::Batching;
pub use fault::{Answered, Fault, FaultKind};
pub use keys::{Keys, Scope, StoredKey};
pub use load::{REPORT, SELF_CHECK, companions};
pub use memory::keep_memory_together;
pub use options::Options;
pub use repository::{PRODUCTION, Source};
pub use server::{Error, Result, Server};
pub use trace::TARGET as TRACE_TARGET;
