//! The Rust of protobuf's messages and services, from their `.proto` files: without protoc, and without a build script.

use std::fs;

use anyhow::{Context, Result};

use crate::venv::root;

/// A `.proto` file and what is made of it; the name of the file is that of its package.
struct Protocol {
    folder: &'static str,
    name: &'static str,
    committed: &'static str,
}

const PROTOCOLS: [Protocol; 2] = [
    Protocol {
        folder: "crates/brisk-serve/proto",
        name: "inference",
        committed: "crates/brisk-serve/src/grpc/inference.rs",
    },
    Protocol {
        folder: "crates/brisk-format/proto",
        name: "tensorflow",
        committed: "crates/brisk-format/src/tensorflow/proto.rs",
    },
];

impl Protocol {
    /// What the committed file is to hold.
    fn generated(&self) -> Result<String> {
        let messages = protox::compile([format!("{}.proto", self.name)], [root().join(self.folder)])?;
        let folder = tempfile::tempdir()?;
        tonic_prost_build::configure()
            .build_client(false)
            .build_transport(false)
            .emit_rerun_if_changed(false)
            .bytes(".")
            .out_dir(folder.path())
            .compile_fds(messages)?;
        let header = format!(
            "// Made by `cargo xtask protocol` from {}/{}.proto; change that instead.\n\n",
            self.folder, self.name
        );
        Ok(header + &fs::read_to_string(folder.path().join(format!("{}.rs", self.name)))?)
    }
}

/// Writes them.
pub fn run() -> Result<()> {
    for protocol in PROTOCOLS {
        let path = root().join(protocol.committed);
        fs::write(&path, protocol.generated()?).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

#[test]
fn what_is_committed_is_what_is_made() {
    for protocol in PROTOCOLS {
        let committed = fs::read_to_string(root().join(protocol.committed)).unwrap();
        assert!(
            committed == protocol.generated().unwrap(),
            "{} has changed: run `cargo xtask protocol`",
            protocol.name
        );
    }
}
