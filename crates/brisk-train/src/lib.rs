//! The training loop: callbacks, checkpoints, progress and logs.

mod history;
mod progress;
mod tensorboard;

pub use history::History;
pub use progress::{Progress, Task, Unit};
pub use tensorboard::EventWriter;
