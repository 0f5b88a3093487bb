//! Learning curves: a chart for each measured value, training and validation together.

use super::{
    RunReport,
    page::{number, table, text},
};
use crate::plot::{LineChart, Series};

/// The most charts on a page.
const MAX_CHARTS: usize = 12;
/// The most epochs in the table.
const MAX_ROWS: usize = 1000;

pub(super) fn render(run: &RunReport) -> String {
    let names = names(run);
    if run.history.is_empty() || names.is_empty() {
        return String::new();
    }
    // `loss` and `val_loss` share a chart.
    let mut bases: Vec<&str> = Vec::new();
    for name in &names {
        let base = name.strip_prefix("val_").unwrap_or(name);
        if !bases.contains(&base) && base != "seconds" && (base != "learning_rate" || varies(run, base)) {
            bases.push(base);
        }
    }
    let mut out = String::from("<div class=\"charts\">\n");
    for base in bases.iter().take(MAX_CHARTS) {
        out.push_str(&format!(
            "<figure><figcaption>{}</figcaption>\n{}</figure>\n",
            text(&spoken(base)),
            chart(run, base)
        ));
    }
    out.push_str("</div>\n<details><summary>All epochs as a table</summary>\n");

    let heads: Vec<String> = names.iter().map(|n| text(n)).collect();
    let head: Vec<&str> = std::iter::once("epoch").chain(heads.iter().map(String::as_str)).collect();
    let best = run.best_epoch().map(|r| r.epoch);
    let skipped = run.history.len().saturating_sub(MAX_ROWS);
    let rows = run.history.iter().skip(skipped).map(|r| {
        let mark = if Some(r.epoch) == best { " <span class=\"best\">best</span>" } else { "" };
        let cells = names.iter().map(|n| r.get(n).map_or_else(String::new, number));
        std::iter::once(format!("{}{mark}", r.epoch)).chain(cells).collect()
    });
    out.push_str(&table("All epochs", &head, rows));
    if skipped > 0 {
        out.push_str(&format!("<p class=\"lead\">The last {MAX_ROWS} epochs; history.csv has all.</p>\n"));
    }
    out + "</details>\n"
}

fn chart(run: &RunReport, base: &str) -> String {
    let points = |name: &str| -> Vec<(f64, f64)> {
        let value = |r: &crate::EpochRecord| r.get(name).map(|v| (r.epoch as f64, v));
        run.history.iter().filter_map(value).collect()
    };
    let validation = format!("val_{base}");
    let mut chart = LineChart::new(format!("{} by epoch", spoken(base))).axes("epoch", spoken(base));
    for (name, points) in [("training", points(base)), ("validation", points(&validation))] {
        if !points.is_empty() {
            let name = if base == "learning_rate" { "learning rate" } else { name };
            chart = chart.series(Series::new(name, points));
        }
    }
    if let Some(best) = run.best_epoch().filter(|_| run.history.len() > 1) {
        chart = chart.mark(best.epoch as f64, format!("best: {}", best.epoch));
    }
    chart.to_inline_svg()
}

/// All names of values, in the order in which they came up.
fn names(run: &RunReport) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in run.history.iter().flat_map(|r| &r.values) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

fn varies(run: &RunReport, name: &str) -> bool {
    let mut values = run.history.iter().filter_map(|r| r.get(name));
    values.next().is_some_and(|first| values.any(|v| v != first))
}

/// `learning_rate` as `Learning rate`.
fn spoken(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect::<String>().replace('_', " ")
    })
}
