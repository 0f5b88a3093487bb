//! A part of ONNX's conformance suite; `examples/onnx_suite` runs all of it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use brisk_onnx::operators;
use brisk_runtime::Cpu;

use super::case::Case;

/// The cases' folders, in order, in a folder that they live in.
pub fn cases() -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx/cases.zip");
    zip::ZipArchive::new(File::open(archive).unwrap()).unwrap().extract(dir.path()).unwrap();
    let mut found = Vec::new();
    for kind in ["node", "simple"] {
        found.extend(fs::read_dir(dir.path().join(kind)).unwrap().map(|e| e.unwrap().path()));
    }
    found.sort();
    (dir, found)
}

#[test]
fn cases_of_every_operator_yield_what_the_suite_expects() {
    let (dir, cases) = cases();
    let device = Cpu::new(1);
    let mut failed = Vec::new();
    let mut seen = HashSet::new();
    for path in &cases {
        let run = || {
            let case = Case::read(path)?;
            seen.extend(case.file.model.graph.nodes.iter().map(|n| (n.domain.clone(), n.op.clone())));
            case.run(&device)
        };
        if let Err(message) = { run }() {
            failed.push(format!("{}: {message}", path.strip_prefix(dir.path()).unwrap().display()));
        }
    }
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
    let untested = operators().filter(|o| !seen.contains(&(o.domain.to_string(), o.name.to_string())));
    let mut untested: Vec<_> = untested.map(|o| o.name).collect();
    untested.sort_unstable();
    assert_eq!(untested, UNTESTED, "operators without a case in tests/onnx/cases.zip");
}

/// Their results are random, or the suite has no case that calls them outside of inner graphs.
const UNTESTED: &[&str] = &[
    "Bernoulli",
    "CategoryMapper",
    "FeatureVectorizer",
    "GlobalLpPool",
    "Imputer",
    "LinearClassifier",
    "LinearRegressor",
    "MaxRoiPool",
    "Multinomial",
    "Normalizer",
    "OneHotEncoder",
    "Optional",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Scaler",
    "TreeEnsembleClassifier",
    "TreeEnsembleRegressor",
];
