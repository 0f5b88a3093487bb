//! The training loop: callbacks, checkpoints, progress and logs.
