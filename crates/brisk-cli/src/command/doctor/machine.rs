//! What the system says about itself.

use std::fs;

use brisk_kernels::simd;
use serde::Serialize;

/// Processor and memory.
#[derive(Serialize)]
pub struct Machine {
    pub cpu: Option<String>,
    pub features: Vec<&'static str>,
    /// What kernels use.
    pub simd: &'static str,
    pub threads: usize,
    pub caches: Vec<Cache>,
    pub memory: Memory,
}

#[derive(Serialize)]
pub struct Cache {
    /// `L1d`, `L2`.
    pub name: String,
    /// `32K`, as the system says.
    pub size: String,
}

#[derive(Serialize)]
pub struct Memory {
    pub total_mb: Option<u64>,
    pub available_mb: Option<u64>,
}

impl Machine {
    pub fn find() -> Machine {
        Machine {
            cpu: field("/proc/cpuinfo", "model name"),
            features: features(),
            simd: simd::level().name(),
            threads: std::thread::available_parallelism().map_or(1, |n| n.get()),
            caches: caches(),
            memory: Memory { total_mb: megabytes("MemTotal"), available_mb: megabytes("MemAvailable") },
        }
    }
}

/// The value of the first line `name : value`.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let value = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_string())
    };
    text.lines().find_map(value)
}

fn megabytes(name: &str) -> Option<u64> {
    let kilobytes: u64 = field("/proc/meminfo", name)?.split(' ').next()?.parse().ok()?;
    Some(kilobytes / 1024)
}

fn caches() -> Vec<Cache> {
    let read = |index: usize, name: &str| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{name}");
        fs::read_to_string(path).ok().map(|s| s.trim().to_string())
    };
    let cache = |index| {
        let kind = read(index, "type")?;
        let suffix = match kind.as_str() {
            "Data" => "d",
            "Instruction" => "i",
            _ => "",
        };
        Some(Cache { name: format!("L{}{suffix}", read(index, "level")?), size: read(index, "size")? })
    };
    (0..8).map_while(cache).collect()
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    macro_rules! found {
        ($($name:tt),*) => {
            [$(($name, std::arch::is_x86_feature_detected!($name))),*]
        };
    }
    let all =
        found!("avx", "fma", "avx2", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512vnni", "avx512bf16");
    all.into_iter().filter(|f| f.1).map(|f| f.0).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    Vec::new()
}
