//! Image folders: a folder for each class, or `train/`, `test/`, `val/` with a folder for each class.

use std::fs;
use std::path::{Path, PathBuf};

use crate::decode::{EXTENSIONS, read_file, read_header};
use crate::{Error, ImageSpec, Pixels, Result, Source};

/// How deep folders in a class folder are searched.
const MAX_DEPTH: usize = 16;

/// Image files and their classes.
#[derive(Default)]
pub(crate) struct Files {
    pub paths: Vec<PathBuf>,
    pub labels: Vec<u32>,
    /// For labels that stand in another file: its path and the line of each.
    pub lines: Option<(PathBuf, Vec<u64>)>,
}

impl Source for Files {
    fn len(&self) -> usize {
        self.paths.len()
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    fn raw(&self, index: usize) -> Result<Pixels> {
        read_file(&self.paths[index]).map_err(|e| self.explain(index, e))
    }

    fn name(&self, index: usize) -> String {
        self.paths[index].display().to_string()
    }

    fn label_place(&self, index: usize) -> String {
        match &self.lines {
            Some((path, lines)) => format!("{}, line {}", path.display(), lines[index]),
            None => self.name(index),
        }
    }
}

impl Files {
    /// Says which line of a list names a file that is not there.
    fn explain(&self, index: usize, error: Error) -> Error {
        match (error, &self.lines) {
            (Error::Missing { path, .. }, Some((list, lines))) => {
                let remedy = format!("{}, line {} names it: correct the path", list.display(), lines[index]);
                Error::Missing { path, remedy }
            }
            (error, _) => error,
        }
    }

    /// The size of the first image that can be read; three channels if any of some has colour.
    pub fn guess_image(&self) -> Result<Option<ImageSpec>> {
        let step = (self.paths.len() / 16).max(1);
        let mut error = None;
        let mut guess: Option<ImageSpec> = None;
        for (i, path) in self.paths.iter().enumerate().step_by(step) {
            match read_header(path) {
                Ok(spec) => {
                    let g = guess.get_or_insert(spec);
                    g.channels = g.channels.max(spec.channels);
                }
                Err(e) => error = error.or(Some(self.explain(i, e))),
            }
        }
        match (guess, error) {
            (None, Some(e)) => Err(e),
            (guess, _) => Ok(guess),
        }
    }
}

/// The parts of an image folder, with the folder of each.
pub(crate) struct Layout {
    pub train: Option<PathBuf>,
    pub validation: Option<PathBuf>,
    pub test: Option<PathBuf>,
}

impl Layout {
    /// Divided if there are folders that are called so and hold folders; otherwise all is one training part.
    pub fn find(dir: &Path) -> Layout {
        let part = |names: &[&str]| {
            let holds_folders = |p: &PathBuf| folders(p).is_ok_and(|f| !f.is_empty());
            names.iter().map(|n| dir.join(n)).find(holds_folders)
        };
        let (train, test) = (part(&["train", "training"]), part(&["test", "testing"]));
        let validation = part(&["val", "valid", "validation"]);
        match (&train, &test) {
            (None, None) => Layout { train: Some(dir.into()), validation: None, test: None },
            _ => Layout { train, validation, test },
        }
    }
}

/// The folders in a folder that are not hidden, sorted by name (by number, if all are numbers).
pub(crate) fn folders(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let entry = entry.map_err(Error::io(dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && entry.path().is_dir() {
            names.push(name);
        }
    }
    sort_classes(&mut names);
    Ok(names)
}

/// By number if all names are numbers, otherwise by name.
pub(crate) fn sort_classes(names: &mut [String]) {
    match names.iter().map(|n| n.parse::<i64>()).collect::<Result<Vec<_>, _>>() {
        Ok(_) => names.sort_by_key(|n| n.parse::<i64>().unwrap_or(0)),
        Err(_) => names.sort(),
    }
}

/// The images of a folder for each class. A folder for which there is no class is an error.
pub(crate) fn read(dir: &Path, classes: &[String]) -> Result<Files> {
    let mut files = Files::default();
    for folder in folders(dir)? {
        let Some(label) = classes.iter().position(|c| *c == folder) else {
            let suggestion = crate::error::nearest(&folder, classes.iter().map(String::as_str));
            let place = dir.join(&folder).display().to_string();
            return Err(Error::UnknownClass { place, label: folder, suggestion, known: classes.to_vec() });
        };
        let before = files.paths.len();
        collect(&dir.join(&folder), 0, &mut files.paths)?;
        files.paths[before..].sort();
        files.labels.resize(files.paths.len(), label as u32);
    }
    Ok(files)
}

fn collect(dir: &Path, depth: usize, out: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        if hidden {
            continue;
        } else if path.is_dir() {
            if depth < MAX_DEPTH {
                collect(&path, depth + 1, out)?;
            }
        } else if extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str())) {
            out.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradient, plain, write, write_image};

    #[test]
    fn reads_classes_in_order_and_skips_what_is_no_image() {
        let dir = tempfile::tempdir().unwrap();
        let at = |p: &str| dir.path().join(p);
        write_image(&at("dog/b.jpg"), &gradient(4, 4, 3));
        write_image(&at("dog/deep/a.PNG"), &gradient(4, 4, 3));
        write_image(&at("cat/c.bmp"), &plain(5, 4, 1, 9));
        write(&at("cat/readme.txt"), b"no image");
        write(&at("cat/.hidden.png"), b"no image");
        fs::create_dir(at(".git")).unwrap();
        let classes = folders(dir.path()).unwrap();
        assert_eq!(classes, ["cat", "dog"]);
        let files = read(dir.path(), &classes).unwrap();
        assert_eq!(files.labels, [0, 1, 1]);
        assert_eq!(files.guess_image().unwrap(), Some(ImageSpec { height: 5, width: 4, channels: 3 }));
        assert!(
            read(dir.path(), &["cat".into(), "dogs".into()])
                .map(|_| ())
                .unwrap_err()
                .to_string()
                .contains("did you mean `dogs`")
        );
    }

    #[test]
    fn sorts_numbers_as_numbers() {
        let mut names = ["10", "9", "1"].map(String::from);
        sort_classes(&mut names);
        assert_eq!(names, ["1", "9", "10"]);
    }
}
