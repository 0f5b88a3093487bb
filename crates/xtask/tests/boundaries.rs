//! Which crate may depend on which. An edge that is not in this list is a mistake in the architecture, or a decision to be
//! made in ARCHITECTURE.md first.

use std::collections::BTreeSet;
use std::process::Command;

/// Each crate with the crates of this workspace that it may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("brisk-kernels", &[]),
    ("brisk-graph", &["brisk-kernels"]),
    ("brisk-runtime", &["brisk-graph", "brisk-kernels"]),
    ("brisk-onnx", &["brisk-graph", "brisk-runtime"]),
    ("brisk-nn", &["brisk-graph", "brisk-kernels", "brisk-onnx", "brisk-runtime"]),
    ("brisk-data", &["brisk-graph"]),
    ("brisk-format", &["brisk-graph", "brisk-nn", "brisk-onnx", "brisk-runtime"]),
    ("brisk-registry", &["brisk-format"]),
    ("brisk-eval", &["brisk-data", "brisk-format", "brisk-graph", "brisk-nn", "brisk-runtime"]),
    (
        "brisk-train",
        &["brisk-data", "brisk-eval", "brisk-format", "brisk-graph", "brisk-nn", "brisk-runtime"],
    ),
    (
        "brisk-serve",
        &[
            "brisk-data",
            "brisk-eval",
            "brisk-format",
            "brisk-graph",
            "brisk-nn",
            "brisk-registry",
            "brisk-runtime",
        ],
    ),
    (
        "brisk",
        &[
            "brisk-data",
            "brisk-eval",
            "brisk-format",
            "brisk-graph",
            "brisk-nn",
            "brisk-registry",
            "brisk-runtime",
            "brisk-serve",
            "brisk-train",
        ],
    ),
    (
        "brisk-cli",
        &[
            "brisk-data",
            "brisk-eval",
            "brisk-format",
            "brisk-graph",
            "brisk-kernels",
            "brisk-nn",
            "brisk-onnx",
            "brisk-registry",
            "brisk-runtime",
            "brisk-serve",
            "brisk-train",
        ],
    ),
    ("brisk-testkit", &["brisk-graph", "brisk-kernels"]),
    ("xtask", &[]),
];

#[test]
fn crates_depend_only_downwards() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |v: &serde_json::Value| v["name"].as_str().unwrap_or_default().to_string();
    let members: BTreeSet<String> = packages.iter().map(name).collect();
    let listed: BTreeSet<String> = ALLOWED.iter().map(|a| a.0.to_string()).collect();
    assert_eq!(members, listed, "every crate stands in the list");
    for package in packages {
        let from = name(package);
        let allowed = ALLOWED.iter().find(|a| a.0 == from).map_or(&[][..], |a| a.1);
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = name(dependency);
            let in_tests = dependency["kind"].as_str() == Some("dev");
            if members.contains(&to) && !in_tests {
                assert!(allowed.contains(&to.as_str()), "{from} must not depend on {to}");
            }
        }
    }
}
