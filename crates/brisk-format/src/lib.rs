//! The model folder and checkpoints: atomic, checksummed, and free of code.
