//! Tests of layers, losses, optimizers and models: against PyTorch and Keras, and of what happens with bad configurations.

mod config;
mod errors;
mod fine_tuning;
mod init;
mod layers;
mod losses;
mod models;
mod optimizers;
mod plans;
mod run;
mod schedules;
mod sequences;
mod summary;
