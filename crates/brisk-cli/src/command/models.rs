//! `brisk models`

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use brisk_registry::{ModelEntry, Moved, Repository, Version};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::printer::{Printer, thousands};
use crate::repository::{arrow, signed, table, wait};

/// The models of a repository: look, point aliases, go back, remove
#[derive(Args)]
pub struct Models {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// List the models
    List {
        #[command(flatten)]
        at: At,
    },
    /// Show the versions of a model, or one of them
    Show {
        /// The model
        name: String,
        /// A number, an alias, or `latest`
        version: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// Point an alias to a version
    Alias {
        /// The model
        name: String,
        /// The alias: production, canary, ...
        alias: String,
        /// A number, another alias, or `latest`
        #[arg(required_unless_present = "remove")]
        version: Option<String>,
        /// Remove the alias; its history stays
        #[arg(long, conflicts_with = "version")]
        remove: bool,
        #[command(flatten)]
        at: At,
    },
    /// Point an alias to the version that it pointed to before; again, and it goes further back
    Rollback {
        /// The model
        name: String,
        /// The alias
        #[arg(default_value = "production")]
        alias: String,
        #[command(flatten)]
        at: At,
    },
    /// Remove a version, for ever; or what is left of one that was never finished
    Remove {
        /// The model
        name: String,
        /// The number of the version
        version: u64,
        #[command(flatten)]
        at: At,
    },
}

#[derive(Args)]
struct At {
    /// The repository: a folder, or s3://BUCKET/PREFIX
    #[arg(long, visible_alias = "to", default_value = "models", env = "BRISK_REPOSITORY")]
    repository: String,
    /// JSON
    #[arg(long)]
    json: bool,
}

impl At {
    async fn open(&self) -> Result<Repository> {
        Ok(signed(Repository::open(&self.repository).await?))
    }
}

impl Models {
    pub fn run(self) -> Result<ExitCode> {
        match self.what {
            What::List { at } => list(&at)?,
            What::Show { name, version: None, at } => show(&at, &name)?,
            What::Show { name, version: Some(version), at } => show_version(&at, &name, &version)?,
            What::Alias { name, alias, version, at, .. } => {
                let moved = wait(async {
                    let repository = at.open().await?;
                    let Some(version) = version else {
                        return Ok(repository.remove_alias(&name, &alias).await?);
                    };
                    let version = repository.resolve(&name, &version).await?;
                    // A bucket would have to be fetched for that; servers do so, and refuse what is damaged.
                    if repository.local_path(&version).is_some() {
                        repository.verify(&version).await?;
                    }
                    Ok(repository.set_alias(&name, &alias, version.version).await?)
                })?;
                say_moved(&at, &name, &alias, &moved)?;
            }
            What::Rollback { name, alias, at } => {
                let moved = wait(async { Ok(at.open().await?.rollback(&name, &alias).await?) })?;
                say_moved(&at, &name, &alias, &moved)?;
            }
            What::Remove { name, version, at } => {
                wait(async { Ok(at.open().await?.remove(&name, version).await?) })?;
                let printer = Printer::new(at.json);
                match at.json {
                    true => printer.json(&json!({"name": name, "removed": version}))?,
                    false => printer.line(format!("{name} {version} is removed"))?,
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn say_moved(at: &At, name: &str, alias: &str, moved: &Moved) -> Result<()> {
    let printer = Printer::new(at.json);
    match at.json {
        true => {
            printer.json(&json!({"name": name, "alias": alias, "from": moved.from, "to": moved.to}))?;
        }
        false => printer.line(format!("{name}: {alias}: {}", arrow(moved)))?,
    }
    Ok(())
}

fn list(at: &At) -> Result<()> {
    let models = wait(async { Ok(at.open().await?.models().await?) })?;
    let printer = Printer::new(at.json);
    if at.json {
        return Ok(printer.json(&models)?);
    }
    if models.is_empty() {
        return Ok(printer.line(format!("{} holds no models yet; `brisk publish` adds one", at.repository))?);
    }
    let row = |m: &ModelEntry| {
        let latest = m.versions.last().map(u64::to_string).unwrap_or_default();
        let aliases: Vec<_> = m.aliases.iter().map(|(alias, version)| format!("{alias}={version}")).collect();
        [m.name.clone(), m.versions.len().to_string(), latest, aliases.join(" ")]
    };
    let rows: Vec<_> = models.iter().map(row).collect();
    Ok(printer.line(table(["MODEL", "VERSIONS", "LATEST", "ALIASES"], &rows))?)
}

fn show(at: &At, name: &str) -> Result<()> {
    let (model, versions) = wait(async {
        let repository = at.open().await?;
        let model = repository.model(name).await?;
        let mut versions = Vec::new();
        for &number in &model.versions {
            versions.push(repository.version(name, number).await?);
        }
        Ok((model, versions))
    })?;
    let printer = Printer::new(at.json);
    if at.json {
        return Ok(printer.json(&json!({
            "name": model.name,
            "aliases": model.aliases,
            "versions": versions,
            "unfinished": model.unfinished,
        }))?);
    }
    let row = |v: &Version| {
        [
            v.version.to_string(),
            v.created.clone(),
            pointing(&model.aliases, v.version).join(" "),
            headline(&v.metrics),
            v.source.clone(),
            v.note.replace(['\n', '\r'], " "),
        ]
    };
    let rows: Vec<_> = versions.iter().map(row).collect();
    printer.line(table(["VERSION", "CREATED", "ALIASES", "METRICS", "SOURCE", "NOTE"], &rows))?;
    for number in &model.unfinished {
        printer.line(format!(
            "{number} is not finished: it is being published now, or its publisher has died; then `brisk models remove {name} {number}` clears it away"
        ))?;
    }
    Ok(())
}

fn show_version(at: &At, name: &str, spec: &str) -> Result<()> {
    let (version, aliases) = wait(async {
        let repository = at.open().await?;
        Ok((repository.resolve(name, spec).await?, repository.aliases(name).await?))
    })?;
    let aliases = pointing(&aliases, version.version);
    let printer = Printer::new(at.json);
    if at.json {
        let mut data = json!(version);
        data["aliases"] = json!(aliases);
        return Ok(printer.json(&data)?);
    }
    printer.line(format!("{} {}", version.name, version.version))?;
    let facts = [
        ("created", version.created.clone()),
        ("by Brisk", version.brisk.clone()),
        ("source", version.source.clone()),
        ("aliases", aliases.join(" ")),
        ("note", version.note.clone()),
    ];
    for (what, fact) in facts.iter().filter(|f| !f.1.is_empty()) {
        printer.line(format!("{what:<10}{fact}"))?;
    }
    let required = version.required.iter().map(|(metric, r)| (metric.clone(), r.clone())).collect();
    for (head, rows) in
        [("metrics", metrics(&version)), ("required, and met", required), ("files", files(&version))]
    {
        let width = rows.iter().map(|r| r.0.len()).max().unwrap_or(0);
        if width > 0 {
            printer.line(format!("\n{head}"))?;
        }
        for (name, value) in rows {
            printer.line(format!("  {name:<width$}  {value}"))?;
        }
    }
    Ok(())
}

fn metrics(version: &Version) -> Vec<(String, String)> {
    version.metrics.iter().map(|(name, value)| (name.clone(), format!("{value:.4}"))).collect()
}

fn files(version: &Version) -> Vec<(String, String)> {
    let line = |bytes: u64| format!("{:>15} bytes", thousands(bytes as usize));
    version.files.iter().map(|(name, file)| (name.clone(), line(file.bytes))).collect()
}

fn pointing(aliases: &BTreeMap<String, u64>, version: u64) -> Vec<&str> {
    aliases.iter().filter(|a| *a.1 == version).map(|a| a.0.as_str()).collect()
}

/// The two metrics that say most.
fn headline(metrics: &BTreeMap<String, f64>) -> String {
    const FIRST: [&str; 6] = ["test_accuracy", "val_accuracy", "test_r2", "val_r2", "test_loss", "val_loss"];
    let found = FIRST.iter().filter_map(|name| Some(format!("{name} {:.4}", metrics.get(*name)?)));
    found.take(2).collect::<Vec<_>>().join(", ")
}
