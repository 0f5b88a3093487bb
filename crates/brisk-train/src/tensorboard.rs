//! TensorBoard event files: scalars by step, as `tensorboard --logdir runs` shows them.
//!
//! A file is a sequence of TFRecords: length, checksum of the length, a protobuf `Event`, checksum of the event.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use crc::{CRC_32_ISCSI, Crc};
use prost::Message;

/// The part of TensorFlow's `event.proto` and `summary.proto` that scalars need; the tags are theirs.
mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Event {
        #[prost(double, tag = "1")]
        pub wall_time: f64,
        #[prost(int64, tag = "2")]
        pub step: i64,
        #[prost(string, optional, tag = "3")]
        pub file_version: Option<String>,
        #[prost(message, optional, tag = "5")]
        pub summary: Option<Summary>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Summary {
        #[prost(message, repeated, tag = "1")]
        pub values: Vec<Value>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Value {
        #[prost(string, tag = "1")]
        pub tag: String,
        #[prost(float, optional, tag = "2")]
        pub simple_value: Option<f32>,
    }
}

/// Writes scalars for TensorBoard.
///
/// ```
/// use brisk_train::EventWriter;
///
/// # let dir = tempfile::tempdir()?;
/// let mut events = EventWriter::create(dir.path())?;
/// events.scalars(1, &[("loss", 0.52), ("val_loss", 0.48)])?;
/// events.flush()?; // once an epoch
///
/// // A resumed run goes on in the same file, at the step after the checkpoint.
/// let mut events = EventWriter::resume(dir.path(), 2)?;
/// events.scalars(2, &[("loss", 0.41)])?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct EventWriter {
    file: BufWriter<File>,
    path: PathBuf,
}

impl EventWriter {
    /// Begins a new `events.out.tfevents.<time>.<host>` in `dir`, which is made if it is missing.
    pub fn create(dir: impl AsRef<Path>) -> io::Result<Self> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir)?;
        let (seconds, host) = (now() as u64, host_name());
        // Two runs in the same second get different files; TensorBoard reads the files in the order of their names.
        let name = |n: u32| if n == 0 { String::new() } else { format!(".{n}") };
        for n in 0.. {
            let path = dir.join(format!("events.out.tfevents.{seconds:010}.{host}{}", name(n)));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let mut writer = EventWriter { file: BufWriter::new(file), path };
                    let file_version = Some("brain.Event:2".to_owned());
                    writer.write(&proto::Event { wall_time: now(), file_version, ..Default::default() })?;
                    writer.flush()?;
                    return Ok(writer);
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        unreachable!("a free number was found")
    }

    /// Goes on in the newest event file of `dir`, or begins one.
    ///
    /// Events of step `from_step` and later are removed, and so is a record that a crash cut off: the resumed run writes them anew.
    pub fn resume(dir: impl AsRef<Path>, from_step: i64) -> io::Result<Self> {
        let dir = dir.as_ref();
        let Some(path) = newest(dir)? else { return Self::create(dir) };
        let bytes = fs::read(&path)?;
        let keep =
            records(&bytes).take_while(|(_, event)| event.step < from_step).last().map_or(0, |(end, _)| end);
        if keep == 0 {
            return Self::create(dir); // nothing of worth in it, not even the version
        }
        let file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(keep as u64)?;
        let mut writer = EventWriter { file: BufWriter::new(file), path };
        io::Seek::seek(&mut writer.file, io::SeekFrom::End(0))?;
        Ok(writer)
    }

    /// Adds one value.
    pub fn scalar(&mut self, step: i64, tag: &str, value: f64) -> io::Result<()> {
        self.scalars(step, &[(tag, value)])
    }

    /// Adds several values of one step.
    pub fn scalars(&mut self, step: i64, values: &[(&str, f64)]) -> io::Result<()> {
        let value =
            |&(tag, v): &(&str, f64)| proto::Value { tag: tag.to_owned(), simple_value: Some(v as f32) };
        let summary = Some(proto::Summary { values: values.iter().map(value).collect() });
        self.write(&proto::Event { wall_time: now(), step, summary, ..Default::default() })
    }

    /// Hands everything to the operating system, so that a running TensorBoard sees it.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// The file written to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, event: &proto::Event) -> io::Result<()> {
        self.file.write_all(&frame(&event.encode_to_vec()))
    }
}

/// One TFRecord.
fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length).to_le_bytes(), data, &masked_crc(data).to_le_bytes()].concat()
}

/// The whole and undamaged records from the start, each with the offset of its end.
fn records(bytes: &[u8]) -> impl Iterator<Item = (usize, proto::Event)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (head, rest) = bytes.get(at..)?.split_at_checked(12)?;
        let (length, crc) = head.split_at(8);
        let size = usize::try_from(u64::from_le_bytes(length.try_into().ok()?)).ok()?;
        let (data, rest) = rest.split_at_checked(size)?;
        let data_crc = rest.get(..4)?;
        if masked_crc(length).to_le_bytes() != crc || masked_crc(data).to_le_bytes() != data_crc {
            return None;
        }
        at += 12 + size + 4;
        Some((at, proto::Event::decode(data).ok()?))
    })
}

/// CRC-32C, rotated and offset, because a checksum of data that holds its own checksum is weak.
fn masked_crc(data: &[u8]) -> u32 {
    const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
    CRC.checksum(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn newest(dir: &Path) -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let names = entries.map(|e| Ok(e?.file_name())).collect::<io::Result<Vec<_>>>()?;
    let events = names.into_iter().filter(|n| n.to_string_lossy().starts_with("events.out.tfevents."));
    Ok(events.max().map(|name| dir.join(name)))
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// The machine's name, of which only letters, digits, `-` and `_` go into the file name.
fn host_name() -> String {
    let named = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let named = named.or_else(|| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok());
    let name: String = named.unwrap_or_default().trim().chars().take(64).collect();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    if name.is_empty() { "localhost".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(path: &Path) -> Vec<i64> {
        records(&fs::read(path).unwrap()).map(|(_, e)| e.step).collect()
    }

    /// The bytes that TensorBoard's own writer makes for `Event(wall_time=1.5, step=3, summary=[loss: 0.25])`.
    #[test]
    fn known_bytes() {
        let summary =
            proto::Summary { values: vec![proto::Value { tag: "loss".into(), simple_value: Some(0.25) }] };
        let event = proto::Event { wall_time: 1.5, step: 3, summary: Some(summary), ..Default::default() };
        let hex: String = frame(&event.encode_to_vec()).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "1a00000000000000129bd82d09000000000000f83f10032a0d0a0b0a046c6f7373150000803ed054b255"
        );
    }

    #[test]
    fn resuming_drops_what_will_be_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = EventWriter::create(dir.path().join("made")).unwrap();
        for step in 1..=5 {
            events.scalars(step, &[("loss", 1.0 / step as f64), ("accuracy", f64::NAN)]).unwrap();
        }
        events.flush().unwrap();
        let path = events.path().to_owned();
        drop(events);

        // A crash in the middle of the last record.
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 7]).unwrap();
        assert_eq!(steps(&path), [0, 1, 2, 3, 4]);

        let mut events = EventWriter::resume(path.parent().unwrap(), 4).unwrap();
        assert_eq!(events.path(), path);
        events.scalar(4, "loss", 0.2).unwrap();
        drop(events);
        assert_eq!(steps(&path), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn no_damaged_file_is_a_panic() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = EventWriter::resume(dir.path(), 0).unwrap(); // nothing there: begins one
        events.scalar(1, "loss", 0.5).unwrap();
        events.flush().unwrap();
        let bytes = fs::read(events.path()).unwrap();
        for cut in 0..bytes.len() {
            assert!(records(&bytes[..cut]).count() < 2);
            let mut damaged = bytes.clone();
            damaged[cut] ^= 0x40;
            assert!(records(&damaged).count() < 2, "damage at {cut} was not noticed");
        }
        fs::write(dir.path().join("events.out.tfevents.9999999999.x"), [0xff; 40]).unwrap();
        let again = EventWriter::resume(dir.path(), 1).unwrap();
        assert_eq!(steps(again.path()), [0]);
    }
}
