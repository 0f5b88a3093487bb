//! Opening a data set: from a name or a path, through the detection of its kind, to its checked parts.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bytes::Input;
use crate::error::nearest;
use crate::known::{Known, SAMPLE, data_dir, known};
use crate::source::{cifar, csv, folder, idx};
use crate::{Dataset, Error, FileSpec, ImageSpec, Kind, Part, Result, Source, SourceSpec};

/// How to open a data set.
///
/// ```
/// use brisk_data::{Checks, OpenOptions};
/// let options = OpenOptions { size: Some([32, 32]), channels: Some(3), ..OpenOptions::default() };
/// assert_eq!(options.checks, Checks::Training);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Height and width to which every image is resized; left out: the size of the images
    /// (of the first, for files of their own).
    pub size: Option<[usize; 2]>,
    /// 1 for grey, 3 for RGB; left out: as stored.
    pub channels: Option<usize>,
    /// What must hold.
    pub checks: Checks,
}

/// What must hold for a data set to open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checks {
    /// Labels are in range, and every class has a training sample.
    #[default]
    Training,
    /// Labels are in range, and there is something to evaluate on.
    Evaluation,
    /// Nothing: for [`check`](crate::check()), which reports all that is wrong.
    None,
}

/// Opens a data set. Images are read when they are asked for, not here.
///
/// ```
/// use brisk_data::{OpenOptions, open};
/// let error = open(&"fashion-mist".into(), &OpenOptions::default()).unwrap_err();
/// assert!(error.to_string().contains("did you mean `fashion-mnist`?"));
/// ```
pub fn open(spec: &SourceSpec, options: &OpenOptions) -> Result<Dataset> {
    let dataset = open_unchecked(spec, options)?.with_name(spec.to_string());
    if options.checks != Checks::None {
        dataset.validate_labels()?;
    }
    match options.checks {
        Checks::Training => dataset.validate_for_training()?,
        Checks::Evaluation if dataset.for_evaluation().is_empty() => return Err(empty(spec.to_string())),
        Checks::Evaluation | Checks::None => {}
    }
    Ok(dataset)
}

fn open_unchecked(spec: &SourceSpec, options: &OpenOptions) -> Result<Dataset> {
    let files = match spec {
        SourceSpec::Files(files) => files.clone(),
        SourceSpec::Name(name) => match known().iter().find(|k| k.name == name) {
            Some(k) => match embedded(k) {
                Some(files) => return open_idx(files, k.names(), options),
                None => FileSpec { kind: Some(k.kind), ..FileSpec::at(locate(k)?) },
            },
            None => FileSpec::at(path_of(name)?),
        },
    };
    let dataset = open_files(&files, options)?;
    let Some(test) = &files.test else { return Ok(dataset) };
    let other = FileSpec { path: test.clone(), test: None, ..files.clone() };
    let other = open_files(&other, options)?.for_model(dataset.image_spec(), dataset.classes())?;
    Ok(dataset.with_test(other.for_evaluation().clone()))
}

/// The sample, if it is part of the program.
fn embedded(k: &Known) -> Option<idx::Files> {
    #[cfg(feature = "sample")]
    if k.name == SAMPLE {
        macro_rules! file {
            ($name:literal) => {
                Input::Static(
                    concat!("fashion-mnist-sample/", $name),
                    include_bytes!(concat!("../../../data/fashion-mnist-sample/", $name)),
                )
            };
        }
        return Some(idx::Files {
            train: Some((file!("train-images-idx3-ubyte.gz"), file!("train-labels-idx1-ubyte.gz"))),
            test: Some((file!("t10k-images-idx3-ubyte.gz"), file!("t10k-labels-idx1-ubyte.gz"))),
        });
    }
    let _ = k;
    None
}

/// Where a known data set lies.
fn locate(k: &Known) -> Result<PathBuf> {
    if k.name == SAMPLE {
        let places = [PathBuf::from("data"), Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data")];
        return places.iter().map(|p| p.join(SAMPLE)).find(|p| p.is_dir()).ok_or_else(|| Error::Missing {
            path: places[0].join(SAMPLE),
            remedy: "The sample lies in the folder `data` of Brisk's repository: run there".into(),
        });
    }
    let dir = data_dir()?.join(k.name);
    if dir.is_dir() {
        return Ok(dir);
    }
    let mut remedy =
        format!("Get it with `brisk data get {}`, or give the path of a folder that holds it", k.name);
    if Path::new(k.name).exists() {
        remedy = format!("{remedy} (there is one here: `./{}`)", k.name);
    }
    Err(Error::Missing { path: dir, remedy })
}

/// A name that is not known must be a path.
fn path_of(name: &str) -> Result<PathBuf> {
    let path = PathBuf::from(name);
    if path.exists() {
        return Ok(path);
    }
    if name.contains(['/', '\\', '.']) {
        let remedy = "Check the path of the data, which is relative to the working folder".into();
        return Err(Error::Missing { path, remedy });
    }
    let names: Vec<String> = known().iter().map(|k| k.name.to_string()).collect();
    let suggestion = nearest(name, names.iter().map(String::as_str));
    Err(Error::UnknownName { name: name.into(), suggestion, known: names })
}

fn open_files(spec: &FileSpec, options: &OpenOptions) -> Result<Dataset> {
    let path = &spec.path;
    if !path.exists() {
        let remedy = "Check the path of the data, which is relative to the working folder".into();
        return Err(Error::Missing { path: path.clone(), remedy });
    }
    match spec.kind.map_or_else(|| detect(path), Ok)? {
        Kind::Csv => open_csv(spec, options),
        Kind::Folder => open_folder(spec, options),
        Kind::Idx => {
            let dir = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let classes = spec.classes.clone().or_else(|| names_beside(path)).or_else(|| {
                known().iter().find(|k| k.kind == Kind::Idx && k.name == dir).and_then(Known::names)
            });
            open_idx(idx::Files::find(path)?, classes, options)
        }
        kind @ (Kind::Cifar10 | Kind::Cifar100) => open_cifar(spec, kind, options),
    }
}

/// The kind of data at a path, by the names of its files.
fn detect(path: &Path) -> Result<Kind> {
    let expected = "a folder for each class, train-images-idx3-ubyte(.gz) and its kin, the .bin files of CIFAR, \
                    or a .csv file";
    let unknown =
        |found: String| Err(Error::UnknownKind { path: path.into(), expected: expected.into(), found });
    if path.is_file() {
        return match path.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
            Some("csv") => Ok(Kind::Csv),
            Some(other) => unknown(format!("a .{other} file")),
            None => unknown("a file without an ending".into()),
        };
    }
    let holds = |dir: &Path, names: &[&str]| names.iter().any(|n| dir.join(n).is_file());
    if holds(&cifar::folder(path, Kind::Cifar10), &["data_batch_1.bin", "test_batch.bin"]) {
        return Ok(Kind::Cifar10);
    }
    if holds(&cifar::folder(path, Kind::Cifar100), &["train.bin", "test.bin"]) {
        return Ok(Kind::Cifar100);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(Error::io(path))? {
        let name = entry.map_err(Error::io(path))?.file_name().to_string_lossy().into_owned();
        if name.contains("-ubyte") && (name.contains("images") || name.contains("labels")) {
            return Ok(Kind::Idx);
        }
        found.push(name);
    }
    if !folder::folders(path)?.is_empty() {
        return Ok(Kind::Folder);
    }
    found.sort();
    found.truncate(5);
    unknown(if found.is_empty() { "an empty folder".into() } else { format!("only {}", found.join(", ")) })
}

/// Class names from a file `labels.txt`, one a line.
fn names_beside(dir: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(dir.join("labels.txt")).ok()?;
    let names: Vec<String> = text.lines().map(str::trim).filter(|l| !l.is_empty()).map(Into::into).collect();
    (!names.is_empty()).then_some(names)
}

/// The size that images get.
fn image_spec(own: ImageSpec, options: &OpenOptions) -> Result<ImageSpec> {
    let [height, width] = options.size.unwrap_or([own.height, own.width]);
    let spec = ImageSpec { height, width, channels: options.channels.unwrap_or(own.channels) };
    spec.validate()?;
    Ok(spec)
}

fn empty(place: impl Into<String>) -> Error {
    let remedy = "Check the path, or add images (PNG, JPEG, WebP or BMP)".into();
    Error::Empty { place: place.into(), remedy }
}

/// A data set of the parts that there are; the training part may be without samples.
fn dataset<S: Source + 'static>(
    classes: &[String],
    image: ImageSpec,
    train: S,
    validation: Option<S>,
    test: Option<S>,
) -> Result<Dataset> {
    let part = |source| Part::new(source, classes.to_vec(), image);
    let mut dataset = Dataset::new(part(train)?);
    if let Some(source) = validation.filter(|s| !s.is_empty()) {
        dataset = dataset.with_validation(part(source)?);
    }
    if let Some(source) = test.filter(|s| !s.is_empty()) {
        dataset = dataset.with_test(part(source)?);
    }
    Ok(dataset)
}

fn open_idx(files: idx::Files, names: Option<Vec<String>>, options: &OpenOptions) -> Result<Dataset> {
    let read = |pair: Option<(Input, Input)>| pair.map(|(i, l)| idx::Idx::open(&i, &l)).transpose();
    // Both at once: unpacking is what takes the time.
    let (train, test) = std::thread::scope(|s| {
        let test = s.spawn(|| read(files.test));
        (read(files.train), test.join())
    });
    let (train, test) = (train?, test.unwrap_or(Ok(None))?);
    let counted = [&train, &test].into_iter().flatten().map(idx::Idx::classes).max().unwrap_or(0);
    let classes = names.unwrap_or_else(|| (0..counted).map(|i| i.to_string()).collect());
    let own = train.as_ref().or(test.as_ref()).map(|s| s.image);
    let image = image_spec(own.ok_or_else(|| empty("IDX files"))?, options)?;
    match (train, test) {
        (Some(train), test) => dataset(&classes, image, train, None, test),
        (None, Some(test)) => only_test(&classes, image, test),
        (None, None) => Err(empty("IDX files")),
    }
}

/// A test part without anything to train on.
fn only_test(classes: &[String], image: ImageSpec, test: impl Source + 'static) -> Result<Dataset> {
    let nothing = Part::new(folder::Files::default(), classes.to_vec(), image)?;
    Ok(Dataset::new(nothing).with_test(Part::new(test, classes.to_vec(), image)?))
}

fn open_cifar(spec: &FileSpec, kind: Kind, options: &OpenOptions) -> Result<Dataset> {
    let layout = cifar::Layout::new(kind, spec.coarse);
    let dir = cifar::folder(&spec.path, kind);
    let (train, test) = cifar::files(&dir, kind)?;
    let names = spec
        .classes
        .clone()
        .or_else(|| layout.names(&dir))
        .or_else(|| known().iter().find(|k| k.kind == kind).and_then(Known::names));
    let classes = names.unwrap_or_else(|| (0..layout.classes).map(|i| i.to_string()).collect());
    let train = cifar::Cifar::open(train, layout)?;
    let test = test.map(|t| cifar::Cifar::open(vec![t], layout)).transpose()?;
    dataset(&classes, image_spec(cifar::IMAGE, options)?, train, None, test)
}

fn open_folder(spec: &FileSpec, options: &OpenOptions) -> Result<Dataset> {
    let layout = folder::Layout::find(&spec.path);
    let first = layout.train.as_ref().or(layout.test.as_ref()).unwrap_or(&spec.path);
    let classes = match &spec.classes {
        Some(classes) => classes.clone(),
        None => folder::folders(first)?,
    };
    let read = |dir: &Option<PathBuf>| dir.as_ref().map(|d| folder::read(d, &classes)).transpose();
    let parts = (read(&layout.train)?.unwrap_or_default(), read(&layout.validation)?, read(&layout.test)?);
    file_dataset(spec, &classes, parts.0, parts.1, parts.2, options)
}

fn open_csv(spec: &FileSpec, options: &OpenOptions) -> Result<Dataset> {
    let lenient = options.checks == Checks::None;
    let table = csv::read(spec, &spec.path, spec.classes.as_deref(), lenient)?;
    let (train, validation, test) = (table.train, Some(table.validation), Some(table.test));
    file_dataset(spec, &table.classes, train, validation, test, options)
}

fn file_dataset(
    spec: &FileSpec,
    classes: &[String],
    train: folder::Files,
    validation: Option<folder::Files>,
    test: Option<folder::Files>,
    options: &OpenOptions,
) -> Result<Dataset> {
    let any =
        [Some(&train), test.as_ref(), validation.as_ref()].into_iter().flatten().find(|f| !f.is_empty());
    let any = any.ok_or_else(|| empty(spec.path.display().to_string()))?;
    let own = match options {
        OpenOptions { size: Some([height, width]), channels: Some(channels), .. } => {
            ImageSpec { height: *height, width: *width, channels: *channels }
        }
        _ => any.guess_image()?.ok_or_else(|| empty(spec.path.display().to_string()))?,
    };
    dataset(classes, image_spec(own, options)?, train, validation, test)
}
