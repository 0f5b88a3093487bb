//! `docs/onnx.md`, which `examples/onnx_suite` writes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use brisk_onnx::operators;

#[test]
fn the_page_lists_the_operators() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/onnx.md");
    let text = fs::read_to_string(path).unwrap();
    let head = include_str!("../../../examples/onnx_suite/head.md").trim();
    assert!(text.starts_with(head), "docs/onnx.md does not begin with examples/onnx_suite/head.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|l| l.starts_with("| `"))
        .map(|l| l.split('|').map(str::trim).collect())
        .collect();
    let listed: BTreeSet<_> = rows.iter().map(|r| (r[2], r[1].trim_matches('`'), r[5])).collect();
    let own: BTreeSet<_> = operators().map(|o| (o.domain, o.name, o.remark().unwrap_or_default())).collect();
    assert_eq!(listed.len(), rows.len(), "an operator is listed twice");
    let differ: Vec<_> = listed.symmetric_difference(&own).collect();
    assert!(differ.is_empty(), "docs/onnx.md is behind the table: make it anew as it says; {differ:?}");
    // What is claimed passes all of its cases.
    let claimed: Vec<_> = rows.iter().filter(|r| r[3] == "yes").collect();
    let whole = |r: &Vec<&str>| r[4].split_once(" of ").is_some_and(|(passed, all)| passed == all);
    assert!(claimed.iter().all(|r| whole(r)) && claimed.len() >= 150, "{} are claimed", claimed.len());
}
