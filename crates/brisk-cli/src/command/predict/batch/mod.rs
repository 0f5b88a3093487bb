//! All rows of a table, answered into a file. A chunk of rows is in memory at a time; what has been answered is kept in a work folder,
//! so that a job that was killed goes on where it stopped, to the same bytes.

mod job;
#[cfg(feature = "parquet")]
mod parquet;
mod sheet;
mod work;

use std::ffi::OsString;
use std::ops::Range;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use brisk_data::{
    Encoded, Encoder, Feature, Features, Notes, Row, Rows, TableFormat, TableSpec, open_tables,
};
use brisk_eval::{Asker, Ready, Said};
use brisk_runtime::Cpu;
use serde_json::{Map, Value as Json, json};

use self::sheet::{Kind, Sheet};
use self::work::{Finals, Work};
use super::answer::{json_of, refuse_vectors, warn};
use super::{Patient, Predict};
use crate::exit::{BAD_INPUT, FAILED, bad_input, code, error_line, message};
use crate::printer::{Printer, thousands};

/// Rows that are answered together.
const CHUNK: usize = 1024;
/// Bytes of pictures that are in memory together: there are fewer rows in a chunk where they are large.
const PICTURES: usize = 64 << 20;

pub fn run(args: &Predict, input: &Path, output: &Path) -> Result<ExitCode> {
    let started = Instant::now();
    let format = format_of(output)?;
    let finals = finals(args, input, output)?;
    // Before anything is read: what changes later is noticed.
    let mut job = job::describe(args, input)?;
    let ready = match args.embed {
        true => Ready::open(&args.run)?.embedder()?,
        false => Ready::open(&args.run)?,
    };
    if !args.embed {
        refuse_vectors(args, &ready)?;
    }
    let rows = open_tables(&TableSpec::at(input))?.train;
    job["rows"] = rows.len().into();
    let device = args.compute.device();
    let sheet = Sheet::new(format, &ready, rows.columns());
    let mut asking = Asking::new(args, &ready, &rows, &device, &sheet)?;

    let mut work = Work::open(finals, &job, args.overwrite, sheet.kinds(), &sheet.header())?;
    let (chunk, mut progress) = (chunk(&ready.features), Patient::new(rows.len() - work.state().rows));
    while work.state().rows < rows.len() {
        let from = work.state().rows;
        let to = (from + chunk).min(rows.len());
        let mut state = work.state().clone();
        let none_yet = state.rows == state.failed;
        let answered = asking.chunk(from..to, none_yet, &mut state.kinds)?;
        state.rows = to;
        state.failed += answered.failed;
        state.add_notes(&answered.notes);
        work.commit(&answered.lines, &answered.errors, state)?;
        progress.add(to - from);
    }
    progress.finish();
    if job::stamp(input)? != job["input"] {
        return Err(bad_input(format!(
            "{}: changed while it was read; run the same command again, which starts again",
            input.display()
        )));
    }
    let kinds = work.state().kinds.clone();
    work.finish(|answers, whole| convert(format, &sheet, &kinds, answers, whole))?;

    let state = work.state().clone();
    let errors = work.errors().to_path_buf();
    work.remove()?;
    warn(&state.notes());
    let (answered, seconds) = (state.rows - state.failed, started.elapsed().as_secs_f64());
    Printer::text().line(format!(
        "{}: {} rows answered, {} failed, in {seconds:.1} s",
        output.display(),
        thousands(answered),
        thousands(state.failed)
    ))?;
    if state.failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    error_line(&bad_input(format!(
        "{}: {} of {} rows could not be answered: {} says why; correct them and ask again for these",
        input.display(),
        thousands(state.failed),
        thousands(state.rows),
        errors.display()
    )));
    Ok(ExitCode::from(BAD_INPUT))
}

/// The format of the output, by its ending.
fn format_of(output: &Path) -> Result<TableFormat> {
    let path = output.display();
    let is_packed = output.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
    match TableFormat::of(output) {
        Some(TableFormat::Parquet) if cfg!(not(feature = "parquet")) => Err(bad_input(format!(
            "{path}: this program was built without the feature `parquet`; write FILE.jsonl or FILE.csv"
        ))),
        Some(format) if !is_packed => Ok(format),
        _ => {
            let ending = if is_packed { "; pack it afterwards" } else { "" };
            Err(bad_input(format!(
                "{path}: with --input expected a file that ends in .jsonl, .csv, .tsv or .parquet{ending}"
            )))
        }
    }
}

/// Where the results go. An error if they would stand in each other's place, or in that of the input.
fn finals(args: &Predict, input: &Path, output: &Path) -> Result<Finals> {
    if input.is_dir() {
        return Err(bad_input(format!(
            "{}: expected a table, found a folder; name its file",
            input.display()
        )));
    }
    let errors = args.errors.clone().unwrap_or_else(|| {
        let mut name = OsString::from(output);
        name.push(".errors.jsonl");
        PathBuf::from(name)
    });
    for path in [output, &errors] {
        if job::resolve(path) == job::resolve(input) {
            return Err(bad_input(format!("{}: this is the input; choose another file", path.display())));
        }
        if path.is_dir() {
            return Err(bad_input(format!("{}: expected a file, found a folder", path.display())));
        }
    }
    if job::resolve(output) == job::resolve(&errors) {
        return Err(bad_input(format!("{}: --errors and --output must differ", output.display())));
    }
    // A link stays one: the file behind it is written.
    let place = |path: &Path| if path.is_symlink() { job::resolve(path) } else { path.to_path_buf() };
    Ok(Finals { output: place(output), errors: place(&errors) })
}

/// Rows that are answered together: the same for a model always, since answers may differ in their last bits with the others.
fn chunk(features: &Features) -> usize {
    let bytes = |feature: &Feature| match feature {
        Feature::Image(f) => f.image.height * f.image.width * f.image.channels,
        _ => 0,
    };
    let bytes: usize = features.inputs.values().map(bytes).sum();
    (PICTURES / bytes.max(1)).clamp(1, CHUNK)
}

/// The file that becomes the output, made of the lines of answers.
fn convert(
    format: TableFormat,
    sheet: &Sheet,
    kinds: &[Kind],
    answers: &Path,
    whole: &Path,
) -> Result<PathBuf> {
    match format {
        #[cfg(feature = "parquet")]
        TableFormat::Parquet => {
            parquet::write(&sheet.names(), kinds, answers, whole)?;
            Ok(whole.into())
        }
        _ => {
            let _ = (sheet, kinds, whole);
            Ok(answers.into())
        }
    }
}

/// A model that is asked about the rows of a table.
struct Asking<'a> {
    ready: &'a Ready,
    rows: &'a Rows,
    /// None if there are no rows: then there may be no columns either.
    encoder: Option<Encoder>,
    asker: Asker<&'a Cpu>,
    sheet: &'a Sheet,
    top: usize,
    threads: usize,
}

/// What came of a chunk of rows.
#[derive(Default)]
struct Answered {
    lines: Vec<u8>,
    errors: Vec<u8>,
    failed: usize,
    notes: Notes,
}

impl<'a> Asking<'a> {
    /// An error if the table lacks a column.
    fn new(
        args: &Predict,
        ready: &'a Ready,
        rows: &'a Rows,
        device: &'a Cpu,
        sheet: &'a Sheet,
    ) -> Result<Asking<'a>> {
        let features = Arc::new(ready.features.clone());
        let encoder = match rows.is_empty() {
            true => None,
            false => Some(Encoder::new(features, rows.clone(), false)?),
        };
        let threads = match args.compute.threads.number() {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        let asker = Asker::new(device, ready);
        Ok(Asking { ready, rows, encoder, asker, sheet, top: args.top as usize, threads })
    }

    /// Answers some rows. An error only if the machine failed, or the model fails at all of them and `none_yet` was answered.
    fn chunk(&mut self, range: Range<usize>, none_yet: bool, kinds: &mut [Kind]) -> Result<Answered> {
        // A row that cannot even be read is the fault of the file, which was changed, or of the disk.
        let rows = range.clone().map(|i| self.rows.row(i)).collect::<brisk_data::Result<Vec<_>>>()?;
        let (mut samples, mut wrong) = (Vec::with_capacity(rows.len()), vec![None; rows.len()]);
        for (encoded, wrong) in self.encode(range.clone()).into_iter().zip(&mut wrong) {
            match encoded {
                Ok(sample) => samples.push(sample),
                Err(error) if error.is_bad_input() => *wrong = Some(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        let mut said = samples.iter().zip(ask(&mut self.asker, &samples, none_yet)?);
        let mut answered = Answered::default();
        for ((i, row), wrong) in range.zip(&rows).zip(wrong) {
            let said = if wrong.is_none() { said.next() } else { None };
            let wrong = match (wrong, said) {
                (None, Some((sample, Ok(said)))) => {
                    let field = |column: &str| self.rows.column(column).ok().map(|c| row.get(c).clone());
                    let answers = self.ready.answers(sample, &said, self.top, &field);
                    self.sheet.line(&mut answered.lines, i + 1, row, answers, kinds)?;
                    answered.notes += sample.notes;
                    continue;
                }
                (None, Some((_, Err(error)))) => message(&error),
                (wrong, _) => wrong.unwrap_or_default(),
            };
            let error = self.error(i, row, &wrong);
            answered.errors.extend(error.to_string().bytes().chain([b'\n']));
            answered.failed += 1;
        }
        Ok(answered)
    }

    /// Rows as samples, read by several threads.
    fn encode(&self, range: Range<usize>) -> Vec<brisk_data::Result<Encoded>> {
        let Some(encoder) = &self.encoder else { return Vec::new() };
        let each = range.len().div_ceil(self.threads).max(1);
        let part = |from: usize| (from..(from + each).min(range.end)).map(|i| encoder.encode(i)).collect();
        if each >= range.len() {
            return part(range.start);
        }
        std::thread::scope(|scope| {
            let starts = range.clone().step_by(each);
            let threads: Vec<_> = starts.map(|from| scope.spawn(move || part(from))).collect();
            let joined = threads.into_iter().map(|t| t.join());
            joined
                .flat_map(|part: std::thread::Result<Vec<_>>| part.unwrap_or_else(|p| resume_unwind(p)))
                .collect()
        })
    }

    /// What is said about a row that has no answer.
    fn error(&self, index: usize, row: &Row, error: &str) -> Json {
        let fields =
            self.rows.columns().iter().enumerate().map(|(c, name)| (name.clone(), json_of(row.get(c))));
        let fields: Map<String, Json> = fields.collect();
        json!({"row": index + 1, "place": self.rows.place(index), "error": error, "fields": fields})
    }
}

/// What the model says about each sample. If it fails at all of them together, they are asked about one by one, so that a text that it
/// cannot take, perhaps too short for its layers, does not stop the others. If it fails at all, and `none_yet` was answered, it is the
/// model's fault.
fn ask(asker: &mut Asker<&Cpu>, samples: &[Encoded], none_yet: bool) -> Result<Vec<Result<Said>>> {
    let error = match asker.ask(samples) {
        Ok(said) => return Ok(said.into_iter().map(Ok).collect()),
        Err(error) => anyhow::Error::from(error),
    };
    if code(&error) == FAILED {
        return Err(error);
    }
    let alone = |sample| Ok(asker.ask(from_ref(sample))?.pop().unwrap_or_default());
    let said: Vec<Result<Said>> = samples.iter().map(alone).collect();
    match none_yet && said.iter().all(Result::is_err) {
        true => Err(error),
        false => Ok(said),
    }
}
