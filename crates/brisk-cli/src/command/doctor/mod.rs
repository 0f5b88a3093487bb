//! `brisk doctor`

mod machine;
mod speed;

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use brisk_data::{data_dir, known};
use clap::Args;
use serde::Serialize;

use crate::printer::Printer;

/// Look at this machine: processor, memory, measured speed, data, and what is missing
#[derive(Args)]
pub struct Doctor {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// All that was found out.
#[derive(Serialize)]
struct Findings {
    version: &'static str,
    target: &'static str,
    profile: &'static str,
    machine: machine::Machine,
    speed: speed::Speed,
    data: Data,
    missing: Vec<String>,
}

#[derive(Serialize)]
struct Data {
    folder: Option<String>,
    present: Vec<&'static str>,
    absent: Vec<&'static str>,
}

impl Doctor {
    pub fn run(self) -> Result<ExitCode> {
        let machine = machine::Machine::find();
        let speed = speed::Speed::measure(machine.threads)?;
        let data = Data::find();
        let missing = missing(&machine, &data);
        let (version, target, profile) =
            (env!("CARGO_PKG_VERSION"), env!("BRISK_TARGET"), env!("BRISK_PROFILE"));
        Printer::new(self.json).data(&Findings {
            version,
            target,
            profile,
            machine,
            speed,
            data,
            missing,
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Data {
    fn find() -> Data {
        let folder = data_dir().ok();
        let here = |name: &str| folder.as_ref().is_some_and(|d| d.join(name).is_dir());
        let (present, absent): (Vec<_>, Vec<_>) =
            known().iter().partition(|k| k.downloads.is_empty() || here(k.name));
        let names = |all: Vec<&brisk_data::Known>| all.iter().map(|k| k.name).collect();
        Data {
            present: names(present),
            absent: names(absent),
            folder: folder.map(|d| d.display().to_string()),
        }
    }
}

/// What would make Brisk faster or more useful here.
fn missing(machine: &machine::Machine, data: &Data) -> Vec<String> {
    let mut missing = Vec::new();
    if cfg!(debug_assertions) {
        missing.push("optimization: this is a development build; build with `cargo build --release`".into());
    }
    if machine.simd == "scalar" {
        missing.push("AVX2 (x86-64-v3): without it, training is several times slower".into());
    }
    if machine.memory.available_mb.is_some_and(|mb| mb < 512) {
        missing.push("memory: less than 512 MB are free".into());
    }
    if data.folder.is_none() {
        missing.push("a home folder for data sets: set BRISK_DATA to a folder".into());
    }
    if let Some(first) = data.absent.first() {
        missing.push(format!("data sets: {} (get one: brisk data get {first})", data.absent.join(", ")));
    }
    missing
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (m, s) = (&self.machine, &self.speed);
        let mut row = |name: &str, value: String| writeln!(f, "{name:<11}{value}");
        row("Brisk", format!("{} ({}, {})", self.version, self.target, self.profile))?;
        row("Processor", m.cpu.clone().unwrap_or_else(|| "unknown".into()))?;
        row(
            "Features",
            if m.features.is_empty() { "none that matter".into() } else { m.features.join(" ") },
        )?;
        row("SIMD", format!("{} (chosen at run time)", m.simd))?;
        row("Threads", m.threads.to_string())?;
        if !m.caches.is_empty() {
            row(
                "Caches",
                m.caches.iter().map(|c| format!("{} {}", c.name, c.size)).collect::<Vec<_>>().join(", "),
            )?;
        }
        if let (Some(total), Some(available)) = (m.memory.total_mb, m.memory.available_mb) {
            row("Memory", format!("{total} MB, {available} MB of it free"))?;
        }
        let all = format!("{:.0} GFLOP/s on {} threads", s.matmul_gflops, m.threads);
        row("Products", format!("{:.0} GFLOP/s on 1 thread, {all}", s.matmul_gflops_one_thread))?;
        row("Bandwidth", format!("{:.1} GB/s of memory, read and written", s.memory_gb_per_second))?;
        let folder = self.data.folder.as_deref().unwrap_or("no folder");
        row("Data", format!("{} ({folder})", self.data.present.join(", ")))?;
        match self.missing.is_empty() {
            true => row("Missing", "nothing".into()),
            false => self.missing.iter().try_for_each(|m| row("Missing", m.clone())),
        }
    }
}
