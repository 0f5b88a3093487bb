//! Runs the real program on tiny data: what it prints, what it leaves behind, and how it exits.

mod bad_data;
mod bad_projects;
mod batch;
mod damage;
mod examples;
mod huggingface;
mod kill;
mod models;
mod onnx;
mod path;
mod publish;
mod serve;
mod support;
mod tables;
mod texts;
mod tools;
