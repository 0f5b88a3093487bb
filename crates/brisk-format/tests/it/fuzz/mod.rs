//! The readers of files from outside that stand below meet files that were changed by chance: a few each time, and for so many seconds a reader if
//! `BRISK_FUZZ_SECONDS` says so:
//!
//! ```sh
//! BRISK_FUZZ_SECONDS=300 cargo test -p brisk-format fuzz -- --nocapture --test-threads 1
//! ```
//!
//! A file that breaks a reader is named by a seed; `BRISK_FUZZ_SEED` begins with it. `BRISK_FUZZ_CORPUS` names a folder into which the
//! good files are written instead, for the fuzzing that follows coverage: the folder `fuzz` at the root says how.

mod mutate;
mod readers;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use brisk_format::*;
use brisk_graph::Tensor;

use self::mutate::{Random, mutated, packed};

/// How many files are tried if no time is given.
const FEW: u64 = 25;
/// The longest that one file may take, in seconds.
const PATIENCE: u64 = 60;
/// The most memory that the process may have taken, in KiB.
const MOST_MEMORY: u64 = 512 << 10;

/// A file as it should be, with those that belong beside it.
#[derive(Clone)]
struct Good {
    name: String,
    bytes: Vec<u8>,
    beside: Vec<(String, Vec<u8>)>,
}

impl Good {
    fn alone(path: &Path) -> Good {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        Good { name, bytes: fs::read(path).unwrap(), beside: Vec::new() }
    }

    /// A file in a folder; the others, also in folders of it, belong beside it.
    fn within(folder: &Path, name: &str) -> Good {
        let mut beside = Vec::new();
        let mut open = vec![PathBuf::new()];
        while let Some(part) = open.pop() {
            for entry in fs::read_dir(folder.join(&part)).unwrap() {
                let path = part.join(entry.unwrap().file_name());
                match folder.join(&path).is_dir() {
                    true => open.push(path),
                    false => beside
                        .push((path.to_string_lossy().into_owned(), fs::read(folder.join(&path)).unwrap())),
                }
            }
        }
        beside.retain(|(other, _)| other != name);
        Good { name: name.into(), bytes: fs::read(folder.join(name)).unwrap(), beside }
    }

    /// The file alone, where what is beside it is not read.
    fn without_others(self) -> Good {
        Good { beside: Vec::new(), ..self }
    }

    /// The file, or an archive that begins with it if others belong beside it.
    fn whole(self) -> Vec<u8> {
        match self.beside.is_empty() {
            true => self.bytes,
            false => packed([vec![(self.name, self.bytes)], self.beside].concat()),
        }
    }
}

/// Says which file it is that makes a reader panic, or takes for ever.
struct Watch(Arc<Mutex<(u64, String)>>);

impl Watch {
    fn new() -> Watch {
        let current = Arc::new(Mutex::new((0, String::new())));
        let watched = Arc::downgrade(&current);
        thread::spawn(move || {
            while let Some(current) = watched.upgrade() {
                let mut file = current.lock().unwrap();
                // Not the clock, which goes on while the process is stopped.
                file.0 += 1;
                if file.0 > PATIENCE {
                    eprintln!("{} takes more than {PATIENCE} s", file.1);
                    std::process::abort();
                }
                drop(file);
                drop(current);
                thread::sleep(Duration::from_secs(1));
            }
        });
        Watch(current)
    }

    fn file(&self, what: String) {
        *self.0.lock().unwrap() = (0, what);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.0.lock().unwrap().1);
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}: expected a whole number, found {value:?}")))
}

fn fuzz(reader: &str, good: Vec<Good>, read: fn(&Path) -> Result<()>) {
    assert!(!good.is_empty());
    if let Ok(corpus) = std::env::var("BRISK_FUZZ_CORPUS") {
        let folder = Path::new(&corpus).join(reader);
        fs::create_dir_all(&folder).unwrap();
        good.into_iter()
            .enumerate()
            .for_each(|(i, good)| fs::write(folder.join(i.to_string()), good.whole()).unwrap());
        return;
    }
    let seconds = setting("BRISK_FUZZ_SECONDS");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let first = setting("BRISK_FUZZ_SEED").unwrap_or(if seconds.is_some() { now >> 10 } else { 1 });
    let (start, watch) = (Instant::now(), Watch::new());
    let (mut count, mut sound, mut memory) = (0, 0, None);
    let more = |count: u64| match seconds {
        Some(seconds) => start.elapsed() < Duration::from_secs(seconds),
        None => count < FEW,
    };
    while more(count) {
        let seed = first + count;
        let mut random = Random::new(seed);
        let own = &good[random.below(good.len())];
        let other = &good[random.below(good.len())];
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in
            own.beside.iter().chain([&(own.name.clone(), mutated(&own.bytes, &other.bytes, &mut random))])
        {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        watch.file(format!("{reader}: BRISK_FUZZ_SEED={seed} ({})", own.name));
        match read(&dir.path().join(&own.name)) {
            Ok(()) => sound += 1,
            Err(error) => assert!(!error.is_io() && !error.to_string().is_empty(), "{error}"),
        }
        count += 1;
        memory = peak();
        assert!(memory.is_none_or(|kib| kib < MOST_MEMORY), "{memory:?} KiB of memory are taken");
    }
    println!(
        "{reader}: {count} files from seed {first} on in {:.0} s, {sound} of them understood, {} MiB at most",
        start.elapsed().as_secs_f64(),
        memory.unwrap_or(0) >> 10
    );
}

/// The most memory that the process has had, in KiB, where the system says so.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn goldens(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../brisk-testkit/goldens").join(folder)
}

/// The files of a folder with one of these endings.
fn files(folder: &str, endings: &[&str]) -> Vec<Good> {
    let mut paths: Vec<PathBuf> = fs::read_dir(goldens(folder)).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|path| endings.iter().any(|end| path.to_string_lossy().ends_with(end)));
    paths.sort();
    paths.iter().map(|path| Good::alone(path)).collect()
}

/// What is in the archives of a folder, unpacked, if it has a file of this name.
fn archives(folder: &str, name: &str) -> Vec<Good> {
    let unpacked = files(folder, &[".zip"]).into_iter().map(|archive| {
        let dir = tempfile::tempdir().unwrap();
        zip::ZipArchive::new(std::io::Cursor::new(archive.bytes)).unwrap().extract(dir.path()).unwrap();
        dir.path().join(name).is_file().then(|| Good::within(dir.path(), name))
    });
    unpacked.flatten().collect()
}

fn tensors() -> Vec<(&'static str, Tensor)> {
    vec![
        ("a.weight", Tensor::new([2, 3], vec![0.5f32; 6]).unwrap()),
        ("b", Tensor::new([4], vec![1i64, 2, 3, -4]).unwrap()),
        ("c", Tensor::new([0, 2], Vec::<i32>::new()).unwrap()),
    ]
}

/// A file that is written here.
fn written(name: &str, write: impl Fn(&Path)) -> Vec<Good> {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join(name));
    vec![Good::alone(&dir.path().join(name))]
}

#[test]
fn onnx() {
    let (_dir, cases) = crate::onnx::cases();
    let good = cases.iter().map(|case| Good::alone(&case.join("model.onnx")));
    fuzz("onnx", good.collect(), readers::onnx);
}

#[test]
fn keras() {
    fuzz("keras", files("keras_models", &[".keras", ".h5"]), readers::keras);
}

#[test]
fn torch() {
    let good = [files("torch", &[".pt"]), files("torch/models", &[".pt"])].concat();
    fuzz("torch", good, readers::torch);
}

#[test]
fn saved_model() {
    fuzz("saved_model", archives("tensorflow_graphs", "saved_model.pb"), readers::saved_model);
}

#[test]
fn frozen_graph() {
    let good = archives("tensorflow_graphs", "frozen.pb").into_iter().map(Good::without_others);
    fuzz("frozen_graph", good.collect(), readers::frozen_graph);
}

#[test]
fn tensorflow_checkpoint() {
    let good = vec![
        Good::within(&goldens("tensorflow/partitioned"), "model.ckpt.index"),
        Good::within(&goldens("tensorflow/partitioned"), "model.ckpt.data-00000-of-00002"),
        Good::within(&goldens("tensorflow/training"), "ckpt-1.index"),
        Good::within(&goldens("tensorflow/slots"), "ckpt.index"),
    ];
    fuzz("tensorflow_checkpoint", good, readers::tensorflow_checkpoint);
}

#[test]
fn tflite() {
    let good = archives("tflite_models", "model.tflite").into_iter().map(Good::without_others);
    fuzz("tflite", good.collect(), readers::tflite);
}

#[test]
fn mxnet() {
    let good = ["layers", "network", "operators"].into_iter().flat_map(|name| {
        let whole = |end: &str| format!("{name}{end}");
        [("-symbol.json", ".params"), (".params", "-symbol.json")].map(|(changed, kept)| Good {
            beside: vec![(whole(kept), fs::read(goldens("mxnet_graphs").join(whole(kept))).unwrap())],
            ..Good::alone(&goldens("mxnet_graphs").join(whole(changed)))
        })
    });
    fuzz("mxnet", good.collect(), readers::mxnet);
}

#[test]
fn flax() {
    fuzz("flax", files("flax", &[".msgpack"]), readers::flax);
}

#[test]
fn npz() {
    let tensors = tensors();
    let tensors: Vec<(&str, &Tensor)> = tensors.iter().map(|(n, t)| (*n, t)).collect();
    fuzz("npz", written("t.npz", |path| save_npz(path, &tensors).unwrap()), readers::npz);
}

#[test]
fn safetensors() {
    let good = [
        written("t.safetensors", |path| save_tensors(path, &crate::state()).unwrap()),
        files("huggingface/bert", &["model.safetensors"]),
    ];
    fuzz("safetensors", good.concat(), readers::safetensors);
}
