//! A place with tiny data, and the program in it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use image::GrayImage;
use tempfile::TempDir;

/// Side of the images.
pub const SIDE: usize = 8;
/// Names of the classes.
pub const CLASSES: [&str; 3] = ["left", "middle", "right"];

/// A folder of its own, with data in IDX files.
pub struct Place {
    dir: TempDir,
}

/// What the program did.
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Place {
    /// With IDX files in `idx/` and a project `tiny.yaml` that uses them.
    pub fn new() -> Place {
        let place = Place::empty();
        place.idx("idx", 60, 12);
        place.write("tiny.yaml", tiny("idx", ""));
        place
    }

    /// Without anything.
    pub fn empty() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.at(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    pub fn text(&self, path: &str) -> String {
        String::from_utf8(self.read(path)).unwrap()
    }

    /// The program, to be run here.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brisk"));
        command.args(args).current_dir(self.dir.path());
        command.env("BRISK_DATA", self.at("data-sets")).env_remove("RUST_BACKTRACE");
        command
    }

    pub fn brisk(&self, args: &[&str]) -> Done {
        Done::of(self.command(args).output().unwrap())
    }

    /// With something on stdin.
    pub fn brisk_with(&self, args: &[&str], stdin: impl AsRef<[u8]>) -> Done {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A program that has seen enough closes its end.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_ref());
        Done::of(child.wait_with_output().unwrap())
    }

    /// Through a shell, which may limit something first.
    pub fn limited(&self, limit: &str, args: &[&str]) -> Done {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{limit}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_brisk")]);
        Done::of(command.args(args).current_dir(self.dir.path()).output().unwrap())
    }

    /// Trains `tiny.yaml` into a folder.
    pub fn train(&self, out: &str, more: &[&str]) -> Done {
        self.brisk(&[&["train", "tiny.yaml", "--out", out], more].concat()).good()
    }

    /// IDX files of so many training and test images.
    pub fn idx(&self, dir: &str, train: usize, test: usize) {
        for (name, n, offset) in [("train", train, 0), ("t10k", test, 7)] {
            let labels: Vec<u8> = (0..n).map(|i| (i % CLASSES.len()) as u8).collect();
            let pixels: Vec<u8> = (0..n).flat_map(|i| pixels(labels[i].into(), i + offset)).collect();
            self.write(&format!("{dir}/{name}-images-idx3-ubyte"), idx(&[n, SIDE, SIDE], &pixels));
            self.write(&format!("{dir}/{name}-labels-idx1-ubyte"), idx(&[n], &labels));
        }
        self.write(&format!("{dir}/labels.txt"), CLASSES.join("\n"));
    }

    /// A folder of PNG files for each class.
    pub fn folders(&self, dir: &str, each: usize) {
        for (label, class) in CLASSES.iter().enumerate() {
            for i in 0..each {
                self.png(&format!("{dir}/{class}/{i}.png"), label, i);
            }
        }
    }

    pub fn png(&self, path: &str, label: usize, number: usize) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let image = GrayImage::from_raw(SIDE as u32, SIDE as u32, pixels(label, number)).unwrap();
        image.save(path).unwrap();
    }
}

impl Done {
    fn of(output: Output) -> Done {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// It went well.
    #[track_caller]
    pub fn good(self) -> Done {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self
    }

    /// It failed with this exit code, and one message that says all this.
    #[track_caller]
    pub fn fails(self, code: i32, says: &[&str]) -> Done {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        let errors = self.err.lines().filter(|line| line.starts_with("error: "));
        assert_eq!(errors.count(), 1, "{}", self.err);
        assert!(!self.err.contains("panicked") && !self.err.contains("backtrace"), "{}", self.err);
        for part in says {
            assert!(self.err.contains(part), "expected {part:?} in: {}", self.err);
        }
        self
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

/// A project that takes a moment.
pub fn tiny(source: &str, train: &str) -> String {
    format!(
        "data: {{source: {source}, validation_split: 0.2}}
model:
  layers:
    - Conv2D: {{filters: 4, kernel_size: 3, activation: relu}}
    - MaxPooling2D: {{pool_size: 2}}
    - Flatten
    - Dropout: {{rate: 0.1}}
    - Dense: {{units: 3}}
train: {{optimizer: {{adam: {{learning_rate: 0.01}}}}, batch_size: 8, epochs: 2{train}}}
"
    )
}

/// Reviews in Chinese and English with their labels, as CSV.
pub fn reviews(n: usize) -> String {
    const TEXTS: [(&str, &str); 6] = [
        ("这部电影很好看", "good"),
        ("the film was not good", "bad"),
        ("我不看这部电影", "bad"),
        ("\"good, very good\"", "good"),
        ("very bad film", "bad"),
        ("你是很好的", "good"),
    ];
    let row = |i: usize| {
        let (text, label) = TEXTS[i % TEXTS.len()];
        let end = "很".repeat(i / TEXTS.len() % 4);
        format!("{},{label}\n", if text.ends_with('"') { text.to_string() } else { format!("{text}{end}") })
    };
    std::iter::once("text,label\n".to_string()).chain((0..n).map(row)).collect()
}

/// A project over `reviews.csv` that takes a moment.
pub fn of_reviews(model: &str, train: &str) -> String {
    format!(
        "inputs: {{text: {{type: text}}}}
outputs: {{label: {{type: category}}}}
data: {{table: {{path: reviews.csv}}, validation_split: 0.2, test_split: 0.2}}
model: {model}
train: {{optimizer: {{adam: {{learning_rate: 0.01}}}}, batch_size: 4, epochs: 1{train}}}
"
    )
}

/// Layers for texts of characters.
pub const LSTM: &str = "{layers: [{Embedding: {output_dim: 8, mask_zero: true}}, {LSTM: {units: 8}}, {Dropout: {rate: 0.1}}, {Dense: {units: 2}}]}";

/// A Hugging Face folder of the goldens.
pub fn golden(name: &str) -> String {
    of_goldens(&format!("huggingface/{name}")).display().to_string()
}

/// What other frameworks wrote.
pub fn of_goldens(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../brisk-testkit/goldens").join(path)
}

/// A bright bar on the left, in the middle, or on the right, with some noise.
pub fn pixels(label: usize, number: usize) -> Vec<u8> {
    let pixel = |i: usize| {
        let noise = (i * 31 + number * 17) * 2654435761 % 97;
        let bar = (i % SIDE) / 3 == label;
        (noise + if bar { 150 } else { 0 }) as u8
    };
    (0..SIDE * SIDE).map(pixel).collect()
}

/// An IDX file of bytes.
pub fn idx(shape: &[usize], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|&n| file.extend((n as u32).to_be_bytes()));
    file.extend(bytes);
    file
}

/// Turns one bit in the middle of a file.
pub fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() * 2 / 3;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}
