//! `brisk new`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use brisk_nn::zoo;
use brisk_train::{DEFAULT_PROJECT, Project};
use clap::Args;

use crate::exit::bad_input;
use crate::printer::{Printer, shell};

/// Start a project: a folder with a commented brisk.yaml
#[derive(Args)]
pub struct New {
    /// The folder; made if there is none, nothing in it is overwritten
    dir: PathBuf,
    /// A ready-made model instead of the small network: mlp, lenet, cifar10-cnn, resnet18-cifar
    #[arg(long)]
    preset: Option<String>,
    /// A known data set, a folder with a folder for each class, or a CSV file instead of the sample
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
}

impl New {
    pub fn run(self) -> Result<ExitCode> {
        if let Some(preset) = &self.preset {
            zoo::preset(preset)?;
        }
        let yaml = self.yaml();
        Project::parse(&yaml, "brisk.yaml")?;
        let files = [("brisk.yaml", yaml), ("README.md", readme(&self.dir))];
        for (name, _) in &files {
            let path = self.dir.join(name);
            if path.exists() {
                return Err(bad_input(format!(
                    "{}: there is such a file already, and it is not overwritten; choose another folder",
                    path.display()
                )));
            }
        }
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot make the folder {}", self.dir.display()))?;
        for (name, text) in &files {
            let path = self.dir.join(name);
            let write = || std::io::Write::write_all(&mut fs::File::create_new(&path)?, text.as_bytes());
            write().with_context(|| format!("cannot write {}", path.display()))?;
        }
        let at = shell(&self.dir.display().to_string());
        Printer::text().line(format!(
            "{at}/brisk.yaml is a project that runs as it is. Look at it, change it, then:\n  cd {at}\n  brisk train"
        ))?;
        Ok(ExitCode::SUCCESS)
    }

    /// The default project with another source or model.
    fn yaml(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        let mut skipping = false;
        for line in DEFAULT_PROJECT.lines().skip_while(|l| l.starts_with('#')) {
            let key = line.trim_start();
            if skipping && (line.is_empty() || !line.starts_with(' ')) {
                skipping = false;
            }
            match (&self.preset, &self.data) {
                _ if skipping => {}
                (Some(preset), _) if key.starts_with("layers:") => {
                    lines.push(format!(
                        "  preset: {preset}   # or `layers:` with a list; `brisk summary` shows them"
                    ));
                    skipping = true;
                }
                (_, Some(source)) if key.starts_with("source:") => {
                    lines.push(format!("  source: {}", quoted(&absolute(source))));
                }
                (_, Some(_)) if key.starts_with("image:") => {
                    lines.push("  image: {type: image}   # with `size: [height, width]` pictures are resized, with `channels: 1` made grey".into());
                }
                _ => lines.push(line.into()),
            }
        }
        format!(
            "# A Brisk project. `brisk train` runs it; `brisk schema` says all that can stand here.\n{}\n",
            lines.join("\n")
        )
    }
}

/// A path is written down as it is found from everywhere.
fn absolute(source: &str) -> String {
    let path = Path::new(source);
    let known = brisk_data::known().iter().any(|k| k.name == source);
    match !known && path.exists() {
        true => std::path::absolute(path).map_or(source.into(), |p| p.display().to_string()),
        false => source.into(),
    }
}

/// As a YAML string: JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    match text.chars().all(plain) && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') {
        true => text.into(),
        false => serde_json::Value::from(text).to_string(),
    }
}

fn readme(dir: &Path) -> String {
    let name =
        std::path::absolute(dir).ok().and_then(|d| Some(d.file_name()?.to_string_lossy().into_owned()));
    let name = name.unwrap_or_else(|| "project".into());
    format!(
        "# {name}\n\n\
         A [Brisk](https://github.com/brisk-ml/brisk) project: `brisk.yaml` says what the data are, what the model is, and how it is trained.\n\n\
         ```sh\n\
         brisk data check SOURCE               # before training: what is wrong with the data?\n\
         brisk summary                         # the layers of the model\n\
         brisk train                           # train it; the result is in runs/{name}\n\
         brisk train --set train.epochs=3      # any key can be set on the way\n\
         brisk train --resume runs/{name}      # go on after a break\n\
         brisk evaluate runs/{name}            # loss, accuracy, a table of the classes\n\
         brisk predict runs/{name} photo.png   # ask the model\n\
         ```\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_project_is_sound() {
        for preset in [None, Some("resnet18-cifar")] {
            for data in [None, Some("cifar10"), Some("my pictures: all")] {
                let new = New { dir: "x".into(), preset: preset.map(Into::into), data: data.map(Into::into) };
                let project = Project::parse(&new.yaml(), "brisk.yaml").unwrap();
                assert_eq!(project.model.preset.as_deref(), preset);
                assert_eq!(project.source_name(), data.unwrap_or("fashion-mnist-sample"));
            }
        }
    }
}
