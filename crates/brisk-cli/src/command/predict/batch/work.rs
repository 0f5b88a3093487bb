//! The work folder `.OUTPUT.part` beside the output. It holds the lines of the rows that are done, and says how far they go:
//!
//! | file | what |
//! |---|---|
//! | `state.json` | the job, the rows that are done, and how long the other files are; replaced as a whole after each chunk |
//! | `answers`, `errors` | lines, appended; what stands behind the lengths of `state.json` does not count |
//! | `whole` | the output, where it is not the answers as they are |
//! | `lock` | locked by the process that works here |
//!
//! The job is done when `state.json` is gone.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use brisk_data::Notes;
use brisk_format::{write_atomic, write_text};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::job;
use super::sheet::Kind;
use crate::exit::bad_input;
use crate::printer::thousands;

const STATE: &str = "state.json";
const ANSWERS: &str = "answers";
const ERRORS: &str = "errors";
const COPY: &str = "errors.copy";
const WHOLE: &str = "whole";
const LOCK: &str = "lock";

/// Where the results go.
pub struct Finals {
    pub output: PathBuf,
    pub errors: PathBuf,
}

/// How far the job is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    job: Json,
    /// Rows that are done.
    pub rows: usize,
    /// Those of them that could not be answered.
    pub failed: usize,
    /// What stands in the columns.
    pub kinds: Vec<Kind>,
    /// Bytes of the answers and of the errors.
    answers: u64,
    errors: u64,
    /// The sums of [`Notes`], in their order.
    notes: [u64; 5],
    /// Files that stand in the places of the results are replaced.
    overwrite: bool,
    /// All rows are done, and what stands in the places of the results may be ours.
    placing: bool,
}

/// A job at work, alone.
pub struct Work {
    finals: Finals,
    folder: PathBuf,
    state: State,
    /// None if they have become the output already: only the work folder is left.
    answers: Option<File>,
    errors: File,
    _lock: File,
}

impl State {
    /// Adds what happened to some rows.
    pub fn add_notes(&mut self, n: &Notes) {
        let more = [n.truncated, n.cut_tokens, n.empty_texts, n.unknown_categories, n.missing];
        self.notes.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }

    /// What happened to the rows.
    pub fn notes(&self) -> Notes {
        let [truncated, cut_tokens, empty_texts, unknown_categories, missing] = self.notes;
        Notes { truncated, cut_tokens, empty_texts, unknown_categories, missing }
    }
}

impl Work {
    /// Begins a job, or goes on with the same one. An error if another process works on it, or if the results would replace files that
    /// are not its own.
    pub fn open(finals: Finals, job: &Json, overwrite: bool, kinds: Vec<Kind>, header: &str) -> Result<Work> {
        let folder = folder_of(&finals.output);
        if !folder.exists() {
            finals.refuse(overwrite)?; // and leaves nothing behind
        }
        let lock = lock(&folder, &finals.output)?;
        let old = State::read(&folder);
        let changed = old.as_ref().and_then(|old| job::difference(&old.job, job));
        let own = old.as_ref().filter(|_| changed.is_none()).is_some_and(|old| old.overwrite || old.placing);
        if let Err(error) = finals.refuse(overwrite || own) {
            if old.is_none() {
                clear(&folder); // of a job that is done
            }
            return Err(error);
        }
        let output = finals.output.display();
        if let Some(mut state) = old {
            let parts = if changed.is_none() { parts(&folder, &state, &finals)? } else { None };
            if let Some((answers, errors)) = parts {
                if state.rows > 0 {
                    eprintln!("{output}: going on after row {}", thousands(state.rows));
                }
                state.overwrite |= overwrite;
                return Ok(Work { finals, folder, state, answers, errors, _lock: lock });
            }
            let why = changed.unwrap_or("its work folder is damaged");
            eprintln!("{output}: starting again: {why} since {} rows were done", thousands(state.rows));
        }
        // Without a state nothing counts.
        remove_file(&folder.join(STATE))?;
        remove_file(&folder.join(WHOLE))?;
        let mut answers = create(&folder.join(ANSWERS))?;
        append(&mut answers, header.as_bytes(), &folder)?;
        let state = State {
            job: job.clone(),
            rows: 0,
            failed: 0,
            kinds,
            answers: header.len() as u64,
            errors: 0,
            notes: [0; 5],
            overwrite,
            placing: false,
        };
        let errors = create(&folder.join(ERRORS))?;
        let work = Work { finals, folder, state, answers: Some(answers), errors, _lock: lock };
        work.save()?;
        Ok(work)
    }

    /// How far it is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Where rows without an answer go.
    pub fn errors(&self) -> &Path {
        &self.finals.errors
    }

    /// Adds the lines of rows that are done, and how far it is with them. They count when this has returned, also if the power fails.
    pub fn commit(&mut self, answers: &[u8], errors: &[u8], state: State) -> Result<()> {
        if let Some(file) = &mut self.answers {
            append(file, answers, &self.folder)?;
        }
        append(&mut self.errors, errors, &self.folder)?;
        self.state = State {
            answers: self.state.answers + answers.len() as u64,
            errors: self.state.errors + errors.len() as u64,
            ..state
        };
        self.save()
    }

    fn save(&self) -> Result<()> {
        Ok(write_text(&self.folder.join(STATE), &serde_json::to_string(&self.state)?)?)
    }

    /// Puts the results in their places. `convert` is given the file of the answers and a path that is free, and says which of them
    /// becomes the output.
    pub fn finish(&mut self, convert: impl FnOnce(&Path, &Path) -> Result<PathBuf>) -> Result<()> {
        if self.answers.is_none() {
            return Ok(());
        }
        if !self.state.placing {
            self.finals.refuse(self.state.overwrite)?; // there may be new ones
            self.state.placing = true;
            self.save()?;
        }
        let ready = convert(&self.folder.join(ANSWERS), &self.folder.join(WHOLE))?;
        self.answers = None; // closed
        let Finals { output, errors } = &self.finals;
        match self.state.errors {
            0 => remove_file(errors)?, // of an earlier job
            _ => {
                let (part, copy) = (self.folder.join(ERRORS), self.folder.join(COPY));
                write_atomic(&copy, |w| io::copy(&mut File::open(&part)?, w).map(drop))?;
                // Another disk, or a folder that is not there yet: then a process that is killed just now leaves a copy there.
                if fs::rename(&copy, errors).is_err() {
                    write_atomic(errors, |w| io::copy(&mut File::open(&part)?, w).map(drop))?;
                }
            }
        }
        fs::rename(&ready, output).with_context(|| format!("{}: cannot be written", output.display()))?;
        // The name too is on the disk before the work folder goes.
        match job::resolve(output).parent() {
            Some(parent) if cfg!(unix) => {
                let synced = File::open(parent).and_then(|folder| folder.sync_all());
                synced.with_context(|| parent.display().to_string())
            }
            _ => Ok(()),
        }
    }

    /// The end of the job: removes the work folder.
    pub fn remove(self) -> Result<()> {
        remove_file(&self.folder.join(STATE))?;
        clear(&self.folder);
        Ok(())
    }
}

impl Finals {
    /// An error if there is a file in one of the places.
    fn refuse(&self, may_replace: bool) -> Result<()> {
        match [&self.output, &self.errors].into_iter().find(|path| !may_replace && path.exists()) {
            Some(path) => Err(bad_input(format!(
                "{}: exists already; choose another file, or replace it with --overwrite",
                path.display()
            ))),
            None => Ok(()),
        }
    }
}

/// `.OUTPUT.part` beside the output.
fn folder_of(output: &Path) -> PathBuf {
    let name = output.file_name().unwrap_or_default();
    output.with_file_name(format!(".{}.part", name.display()))
}

impl State {
    /// None if there is none that can be read.
    fn read(folder: &Path) -> Option<State> {
        serde_json::from_slice(&fs::read(folder.join(STATE)).ok()?).ok()
    }
}

/// Makes the folder if need be, and locks it for as long as the file is open.
fn lock(folder: &Path, output: &Path) -> Result<File> {
    let (path, place) = (folder.join(LOCK), || folder.display().to_string());
    loop {
        fs::create_dir_all(folder).with_context(place)?;
        let file = match File::options().create(true).truncate(false).write(true).open(&path) {
            Ok(file) => file,
            // A process that is done has just removed the folder.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(place),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(bad_input(format!(
                    "{}: another process is writing it; wait until it is done, or choose another file",
                    output.display()
                )));
            }
            // On a file system without locks two processes at once are not noticed.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error).with_context(place),
        }
        if is_at(&file, &path) {
            return Ok(file);
        }
    }
}

/// False if a process that is done has removed the file since it was opened.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (open, there) = (file.metadata(), fs::metadata(path));
        matches!((open, there), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// The files of a job as they were when its state was written; none if they are not there any more. No answers if they have become
/// the output.
fn parts(folder: &Path, state: &State, finals: &Finals) -> Result<Option<(Option<File>, File)>> {
    let Some(errors) = reopen(&folder.join(ERRORS), state.errors)? else { return Ok(None) };
    let path = folder.join(ANSWERS);
    let answers = reopen(&path, state.answers)?;
    let placed = state.placing && !path.exists() && finals.output.is_file();
    Ok((answers.is_some() || placed).then_some((answers, errors)))
}

/// A file without what was appended after a length was noted; none if it is shorter.
fn reopen(path: &Path, bytes: u64) -> Result<Option<File>> {
    let open = || -> io::Result<Option<File>> {
        let mut file = File::options().write(true).open(path)?;
        if file.metadata()?.len() < bytes {
            return Ok(None);
        }
        file.set_len(bytes)?;
        file.seek(io::SeekFrom::End(0))?;
        Ok(Some(file))
    };
    match open() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.with_context(|| path.display().to_string()),
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| path.display().to_string())
}

/// Writes to the end of a file, and to the disk.
fn append(file: &mut File, bytes: &[u8], folder: &Path) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    file.write_all(bytes).and_then(|()| file.sync_data()).with_context(|| {
        format!("{}: cannot be written; run the same command again to go on", folder.display())
    })
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}: cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a folder that is locked: the lock last, so that nobody else comes in before.
fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name() != LOCK {
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = fs::remove_file(folder.join(LOCK));
    let _ = fs::remove_dir(folder);
}
