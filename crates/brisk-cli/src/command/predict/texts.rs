//! Where texts and rows come from: the command line, a file, or stdin.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::Path;

use anyhow::{Context, Result};
use brisk_data::{Features, MemoryTable, Rows, TableFormat, TableSpec, open_tables};

use super::Predict;
use crate::exit::bad_input;

/// Rows that are held in memory together.
const CHUNK: usize = 1024;

/// Rows, some at a time.
pub struct Samples {
    /// Their number, if it is known before they are read; otherwise 0.
    pub total: usize,
    /// The rows.
    pub chunks: Box<dyn Iterator<Item = Result<Rows>>>,
}

impl Samples {
    /// What the command line says to ask about.
    pub fn open(args: &Predict, features: &Features) -> Result<Samples> {
        if !args.inputs.is_empty() {
            let texts = args.inputs.iter().map(|text| match text.to_str() {
                Some(text) => Ok(text.to_string()),
                None => Err(bad_input(format!("{}: expected a text in UTF-8", text.display()))),
            });
            let texts = texts.collect::<Result<Vec<_>>>()?;
            let rows = Rows::new(MemoryTable::texts(only_column(features)?, texts))?;
            return Ok(Samples { total: rows.len(), chunks: Box::new(chunks(rows)) });
        }
        match &args.file {
            Some(path) if TableFormat::of(path).is_some() => {
                let rows = open_tables(&TableSpec::at(path))?.train;
                Ok(Samples { total: rows.len(), chunks: Box::new(chunks(rows)) })
            }
            Some(path) => {
                let file = File::open(path).with_context(|| path.display().to_string())?;
                lines(path, BufReader::new(file), features)
            }
            None if std::io::stdin().is_terminal() => {
                Err(bad_input("give texts, a file with --file, or lines on stdin"))
            }
            None => lines("stdin".as_ref(), BufReader::new(std::io::stdin()), features),
        }
    }
}

/// Where a text alone is enough: the one column that the model reads.
fn only_column(features: &Features) -> Result<String> {
    let columns: BTreeSet<&str> = features.inputs.values().flat_map(|f| f.columns()).collect();
    match columns.iter().collect::<Vec<_>>()[..] {
        [column] => Ok(column.to_string()),
        _ => {
            let columns = columns.into_iter().collect::<Vec<_>>().join(", ");
            Err(bad_input(format!(
                "this model reads the columns {columns}: give a table that has them with --file"
            )))
        }
    }
}

fn chunks(rows: Rows) -> impl Iterator<Item = Result<Rows>> {
    let n = rows.len();
    (0..n).step_by(CHUNK).map(move |from| {
        let to = (from + CHUNK).min(n);
        Ok(rows.select((from as u32..to as u32).collect())?)
    })
}

/// A text a line. The end of the last line may be missing; a mark of UTF-8 at the beginning does not count.
fn lines(path: &Path, mut reader: impl BufRead + 'static, features: &Features) -> Result<Samples> {
    let (column, name) = (only_column(features)?, path.display().to_string());
    let mut line = 0;
    let mut next = move || -> Result<Option<Rows>> {
        let mut texts = Vec::new();
        while texts.len() < CHUNK {
            let mut bytes = Vec::new();
            if reader.read_until(b'\n', &mut bytes).with_context(|| name.clone())? == 0 {
                break;
            }
            line += 1;
            let text = String::from_utf8(bytes).map_err(|e| {
                let at = e.utf8_error().valid_up_to() + 1;
                bad_input(format!("{name}: line {line}: byte {at} is not UTF-8; save the file as UTF-8"))
            })?;
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            texts.push(if line == 1 { text.trim_start_matches('\u{feff}') } else { text }.to_string());
        }
        match texts.is_empty() {
            true => Ok(None),
            false => Ok(Some(Rows::new(MemoryTable::texts(column.as_str(), texts))?)),
        }
    };
    Ok(Samples { total: 0, chunks: Box::new(std::iter::from_fn(move || next().transpose())) })
}
