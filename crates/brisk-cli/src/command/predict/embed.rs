//! A vector for each text, as a file.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use brisk_data::{Notes, Rows};
use brisk_eval::{Asker, Ready};
use brisk_format::write_atomic;

use super::answer::{encode, warn};
use super::texts::Samples;
use super::{Patient, Predict};
use crate::exit::bad_input;
use crate::printer::{Printer, thousands};

pub fn run(args: &Predict, ready: &Ready, output: &Path) -> Result<ExitCode> {
    let ending = output.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    let as_parquet = match ending.as_str() {
        "npy" => false,
        "parquet" if cfg!(feature = "parquet") => true,
        "parquet" => {
            return Err(bad_input(format!(
                "{}: this program was built without the feature `parquet`; write FILE.npy",
                output.display()
            )));
        }
        _ => {
            let path = output.display();
            return Err(bad_input(format!("{path}: expected a file that ends in .npy or .parquet")));
        }
    };
    let ready = ready.embedder()?;
    // The shape stands at the front of the file: all texts are there before the first vector is.
    let samples = Samples::open(args, &ready.features)?;
    let chunks = samples.chunks.collect::<Result<Vec<_>>>()?;
    let texts: usize = chunks.iter().map(Rows::len).sum();
    let size = ready.model.model.output_shape().last();
    let features = Arc::new(ready.features.clone());
    let device = args.compute.device();
    let (mut asker, mut notes) = (Asker::new(&device, &ready), Notes::default());
    let mut progress = Patient::new(texts);
    let mut vectors = chunks.iter().map(|rows| -> Result<Vec<f32>> {
        let said = asker.ask(&encode(&features, rows, &mut notes)?)?;
        progress.add(rows.len());
        Ok(said.into_iter().flat_map(|s| s.into_iter().take(1).flatten()).collect())
    });
    match as_parquet {
        false => write(output, |w| {
            w.write_all(&npy_header(texts, size))?;
            for chunk in &mut vectors {
                let bytes: Vec<u8> = chunk?.into_iter().flat_map(f32::to_le_bytes).collect();
                w.write_all(&bytes)?;
            }
            Ok(())
        })?,
        #[cfg(feature = "parquet")]
        true => {
            let column = features.inputs.values().flat_map(|f| f.columns()).next().unwrap_or_default();
            let file = super::parquet::write(column, &chunks, &mut vectors, size)?;
            write(output, |w| Ok(w.write_all(&file)?))?;
        }
        #[cfg(not(feature = "parquet"))]
        true => {}
    }
    drop(vectors);
    progress.finish();
    warn(&notes);
    Printer::text().line(format!("{}: {} vectors of {size} numbers", output.display(), thousands(texts)))?;
    Ok(ExitCode::SUCCESS)
}

/// A file that is there whole or not at all; an error that is not one of writing comes back as it is.
fn write(path: &Path, content: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut failed = None;
    let written = write_atomic(path, |w| {
        content(w).map_err(|e| match e.downcast::<io::Error>() {
            Ok(error) => error,
            Err(error) => {
                failed = Some(error);
                io::Error::other("no vectors")
            }
        })
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(written?),
    }
}

/// The front of a .npy file, version 1.0, of f32 `[rows, columns]`.
fn npy_header(rows: usize, columns: usize) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    // The data begin at a multiple of 64 bytes: 10 before the header, a line end after it.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header.extend(std::iter::repeat_n(' ', length - 1 - header.len()));
    header.push('\n');
    [b"\x93NUMPY\x01\x00", &(length as u16).to_le_bytes()[..], header.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_header_is_numpys() {
        let header = super::npy_header(3, 384);
        assert_eq!(header.len(), 128);
        assert_eq!(&header[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let text = std::str::from_utf8(&header[10..]).unwrap();
        assert!(text.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 384), }  "));
        assert!(text.ends_with(" \n"));
    }
}
