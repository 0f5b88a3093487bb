//! Repositories of models, for commands.

use anyhow::Result;
use brisk_registry::{Moved, Repository};

/// Waits for a repository to answer.
pub fn wait<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(answer)
}

/// Says who changes it, if the system tells.
pub fn signed(repository: Repository) -> Repository {
    let name = ["USER", "USERNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    match name.filter(|n| !n.is_empty()) {
        Some(name) => repository.acting_as(name),
        None => repository,
    }
}

/// `2 -> 3`.
pub fn arrow(moved: &Moved) -> String {
    let version = |v: Option<u64>| v.map_or("nothing".into(), |v| v.to_string());
    match moved.from {
        from if from == moved.to => version(from),
        from => format!("{} -> {}", version(from), version(moved.to)),
    }
}

/// Rows under their headings, in columns as wide as they must be.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let width =
        |i: usize| rows.iter().map(|r| r[i].chars().count()).chain([head[i].len()]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: [&str; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    let rows = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    std::iter::once(line(head)).chain(rows).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [["fashion".into(), "3".into(), String::new()], ["a".into(), "12".into(), "好".into()]];
        let expected = "MODEL    N   NOTE\nfashion  3\na        12  好";
        assert_eq!(table(["MODEL", "N", "NOTE"], &rows), expected);
    }
}
