//! `history.csv`: one line an epoch, for spreadsheets and for resuming.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use brisk_eval::EpochRecord;

/// The measured values of all epochs, kept in a CSV file.
///
/// The first epoch decides the columns: `epoch`, then its names in their order. Later epochs may lack a value (an empty cell);
/// names that have no column are not written. Each [`push`](Self::push) replaces the file in one step, so that a crash leaves
/// either the old file or the new one.
///
/// ```
/// use brisk_eval::EpochRecord;
/// use brisk_train::History;
///
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("history.csv");
/// let mut history = History::open(&path)?; // a missing file is an empty history
/// history.push(EpochRecord::new(1).with("loss", 0.52).with("val_loss", 0.48))?;
/// assert_eq!(std::fs::read_to_string(&path)?, "epoch,loss,val_loss\n1,0.52,0.48\n");
///
/// let resumed = History::open(&path)?;
/// assert_eq!(resumed.records()[0].get("val_loss"), Some(0.48));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    path: PathBuf,
    columns: Vec<String>, // without `epoch`
    records: Vec<EpochRecord>,
}

impl History {
    /// An empty history that will replace whatever is at `path`.
    pub fn create(path: impl Into<PathBuf>) -> Self {
        History { path: path.into(), columns: Vec::new(), records: Vec::new() }
    }

    /// Reads the history at `path`, to go on with it; empty if there is no such file.
    ///
    /// A last line that was not written to its end is dropped. Anything else that is not a history is an error
    /// ([`io::ErrorKind::InvalidData`]) that names file and line.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let mut history = History::create(path);
        match fs::read(&history.path) {
            Ok(bytes) => history.parse(&bytes)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(in_file(&history.path, e)),
        }
        Ok(history)
    }

    /// All epochs so far.
    pub fn records(&self) -> &[EpochRecord] {
        &self.records
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an epoch and writes the file. On an error the epoch is kept in memory, and the former file stays as it was.
    pub fn push(&mut self, record: EpochRecord) -> io::Result<()> {
        if self.records.is_empty() {
            self.columns = record.values.iter().map(|(name, _)| name.clone()).collect();
        }
        self.records.push(record);
        self.save()
    }

    /// Forgets the epochs after number `epoch` and writes the file, as when resuming from an older checkpoint.
    pub fn truncate(&mut self, epoch: usize) -> io::Result<()> {
        let before = self.records.len();
        self.records.retain(|r| r.epoch <= epoch);
        if self.records.len() < before { self.save() } else { Ok(()) }
    }

    fn save(&self) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        let header = std::iter::once("epoch").chain(self.columns.iter().map(String::as_str));
        csv.write_record(header)?;
        for record in &self.records {
            let cell = |name: &String| record.get(name).map_or_else(String::new, |v| v.to_string());
            csv.write_record(std::iter::once(record.epoch.to_string()).chain(self.columns.iter().map(cell)))?;
        }
        let bytes = csv.into_inner().map_err(|e| io::Error::other(e.to_string()))?;
        write_atomically(&self.path, &bytes).map_err(|e| in_file(&self.path, e))
    }

    fn parse(&mut self, bytes: &[u8]) -> io::Result<()> {
        // We end every line; what follows the last line end was cut off, even if it looks whole (`0.51` may have been `0.5123`).
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        let mut csv = csv::ReaderBuilder::new().flexible(true).from_reader(&bytes[..whole]);
        let header = csv.headers().map_err(|e| invalid(&self.path, 1, e))?.clone();
        if header.is_empty() {
            return Ok(());
        }
        if &header[0] != "epoch" {
            let found = &header[0];
            return Err(invalid(
                &self.path,
                1,
                format!("expected the column `epoch` first, found `{found}`"),
            ));
        }
        self.columns = header.iter().skip(1).map(str::to_owned).collect();
        for row in csv.records() {
            let row = row.map_err(|e| invalid(&self.path, e.position().map_or(0, csv::Position::line), e))?;
            let line = row.position().map_or(0, csv::Position::line);
            if row.len() != header.len() {
                let problem = format!("{} values for {} columns", row.len(), header.len());
                return Err(invalid(&self.path, line, problem));
            }
            let bad = |text: &str| invalid(&self.path, line, format!("`{text}` is not a number"));
            let mut record = EpochRecord::new(row[0].trim().parse().map_err(|_| bad(&row[0]))?);
            for (name, cell) in self.columns.iter().zip(row.iter().skip(1)) {
                if !cell.trim().is_empty() {
                    record.set(name, cell.trim().parse().map_err(|_| bad(cell))?);
                }
            }
            self.records.push(record);
        }
        Ok(())
    }
}

fn in_file(path: &Path, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

fn invalid(path: &Path, line: u64, problem: impl std::fmt::Display) -> io::Error {
    let path = path.display();
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{path}, line {line}: {problem}; mend or remove the file"),
    )
}

/// Writes beside the file, waits for the disk, and renames over it.
fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&temporary)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(n: usize) -> EpochRecord {
        EpochRecord::new(n).with("loss", 0.1 * n as f64).with("seconds", 1.5)
    }

    fn read(text: &str) -> io::Result<History> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.csv");
        fs::write(&path, text).unwrap();
        History::open(path)
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::create(dir.path().join("history.csv"));
        history.push(epoch(1)).unwrap();
        history.push(EpochRecord::new(2).with("loss", f64::NAN).with("surplus", 1.0)).unwrap();
        history.push(epoch(3).with("loss", f64::NEG_INFINITY)).unwrap();

        let mut back = History::open(history.path()).unwrap();
        assert_eq!(back.records()[0], epoch(1));
        assert!(back.records()[1].get("loss").unwrap().is_nan());
        assert_eq!((back.records()[1].get("seconds"), back.records()[1].get("surplus")), (None, None));
        assert_eq!(back.records()[2].get("loss"), Some(f64::NEG_INFINITY));

        back.truncate(1).unwrap();
        back.push(epoch(2)).unwrap();
        assert_eq!(History::open(history.path()).unwrap().records(), [epoch(1), epoch(2)]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn cut_off_at_any_byte_keeps_the_whole_lines() {
        let text = "epoch,loss\n1,0.5123\n2,0.4123\n";
        for cut in 0..=text.len() {
            let history = read(&text[..cut]).unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
            let lines = text[..cut].matches('\n').count();
            assert_eq!(history.records().len(), lines.saturating_sub(1), "cut at {cut}");
        }
    }

    #[test]
    fn other_files_are_refused_with_the_place() {
        for (text, expected) in [
            ("name,loss\na,1\n", "line 1: expected the column `epoch` first, found `name`"),
            ("epoch,loss\n1,0.5\n2,a lot\n3,0.3\n", "line 3: `a lot` is not a number"),
            ("epoch,loss\n1,0.5,7\n", "line 2: 3 values for 2 columns"),
            ("epoch,loss\n-1,0.5\n", "line 2: `-1` is not a number"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_failed_write_keeps_the_former_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::create(dir.path().join("history.csv"));
        history.push(epoch(1)).unwrap();
        fs::create_dir(dir.path().join("history.csv.tmp")).unwrap(); // the temporary file cannot be made
        assert!(history.push(epoch(2)).unwrap_err().to_string().contains("history.csv"));
        assert_eq!(History::open(history.path()).unwrap().records(), [epoch(1)]);
    }
}
