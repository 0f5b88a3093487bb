//! `docs/onnx.md`

use std::fmt::{Error, Write};

use brisk_onnx::{OPSETS, operators};

use crate::{Count, Found};

/// The page, with the operators and how many of their cases pass.
pub(crate) fn write(found: &Found) -> Result<String, Error> {
    let mut rows = Vec::new();
    let mut claimed = 0;
    for operator in operators() {
        let key = (operator.domain.to_string(), operator.name.to_string());
        let Count { passed, all } = found.operators.get(&key).copied().unwrap_or_default();
        let whole = all > 0 && passed == all;
        claimed += usize::from(whole);
        let claim = if whole { "yes" } else { "" };
        let cases = if all > 0 { format!("{passed} of {all}") } else { "none".into() };
        let remark = operator.remark().unwrap_or_default();
        rows.push(format!("| `{}` | {} | {claim} | {cases} | {remark} |", operator.name, operator.domain));
    }
    rows.sort();
    let mut text = String::new();
    writeln!(text, "{}", HEAD.trim())?;
    let (first, last) = (OPSETS.start(), OPSETS.end());
    writeln!(text, "\n## Operators\n")?;
    writeln!(
        text,
        "Of the {} operators here {claimed} are claimed: all of their cases in ONNX's conformance suite (of ONNX 1.23.2, versions 1 to {last} of \
         the operators) pass, at the suite's tolerance, on a CPU. The others have cases that fail, or none: `crates/brisk-onnx/tests` has cases for most of the latter. A model with versions {first} to \
         {last} is expected to work; an older one is tried, and a newer one refused.\n",
        rows.len()
    )?;
    for (kind, Count { passed, all }) in &found.kinds {
        writeln!(text, "- {kind}: {passed} of {all} cases pass")?;
    }
    let missing: Vec<_> = found.missing.iter().map(|(name, n)| format!("`{name}` ({n} cases)")).collect();
    writeln!(text, "\nThe suite also has operators that Brisk has not: {}.", missing.join(", "))?;
    writeln!(text, "\n| operator | domain | claimed | cases that pass | remark |\n|---|---|---|---|---|")?;
    rows.iter().try_for_each(|row| writeln!(text, "{row}"))?;
    Ok(text)
}

const HEAD: &str = include_str!("head.md");
