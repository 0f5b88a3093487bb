//! The Rust of gRPC's messages and service, from their `.proto` file: without protoc, and without a build script.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::venv::root;

const HEADER: &str = "// Made by `cargo xtask protocol` from crates/brisk-serve/proto/inference.proto; change that instead.\n\n";

/// The committed file.
fn committed() -> PathBuf {
    root().join("crates/brisk-serve/src/grpc/inference.rs")
}

/// What it is to hold.
fn generated() -> Result<String> {
    let messages = protox::compile(["inference.proto"], [root().join("crates/brisk-serve/proto")])?;
    let folder = tempfile::tempdir()?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .bytes(".")
        .out_dir(folder.path())
        .compile_fds(messages)?;
    Ok(HEADER.to_owned() + &fs::read_to_string(folder.path().join("inference.rs"))?)
}

/// Writes it.
pub fn run() -> Result<()> {
    let path = committed();
    fs::write(&path, generated()?).with_context(|| path.display().to_string())
}

#[test]
fn what_is_committed_is_what_is_made() {
    let committed = fs::read_to_string(committed()).unwrap();
    assert!(committed == generated().unwrap(), "the protocol has changed: run `cargo xtask protocol`");
}
