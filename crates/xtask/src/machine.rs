//! What the figures were measured on.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Instruction sets that matter for the speed of training, as `/proc/cpuinfo` spells them.
const FEATURES: [&str; 9] =
    ["avx2", "fma", "f16c", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "sve"];

/// The machine in one line: processor, cores, instruction sets, caches, memory; Linux only, and little elsewhere.
pub fn name() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |names: &[&str]| {
        cpuinfo.lines().find_map(|l| {
            let (name, value) = l.split_once(':')?;
            names.contains(&name.trim()).then(|| value.trim().to_owned())
        })
    };
    let flags = field(&["flags", "Features"]).unwrap_or_default();
    let features: Vec<_> = FEATURES.into_iter().filter(|f| flags.split(' ').any(|g| g == *f)).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = field(&["model name"]).unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let family = match (field(&["cpu family"]), field(&["model"])) {
        (Some(family), Some(model)) => format!(" (family {family}, model {model})"),
        _ => String::new(),
    };
    let parts = [format!("{model}{family}, {cores} cores"), features.join(" "), caches(), memory()];
    parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join("; ")
}

fn caches() -> String {
    let read = |index: usize, file: &str| {
        fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}"))
            .map(|s| s.trim().to_owned())
    };
    let line = |i| -> std::io::Result<String> {
        let kind = match read(i, "type")?.as_str() {
            "Data" => "d",
            "Instruction" => "i",
            _ => "",
        };
        Ok(format!("L{}{kind} {}", read(i, "level")?, read(i, "size")?))
    };
    (0..).map_while(|i| line(i).ok()).collect::<Vec<_>>().join(", ")
}

fn memory() -> String {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kb = meminfo.split_whitespace().nth(1).and_then(|s| s.parse::<f64>().ok());
    kb.map(|kb| format!("{:.0} GiB", kb / f64::from(1 << 20))).unwrap_or_default()
}

/// What a command prints, or nothing.
pub fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(crate::venv::root()).output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}

/// Today, as 2026-11-23 (UTC).
pub fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    date(seconds / 86_400)
}

/// The civil date of a day since 1970-01-01.
fn date(mut days: u64) -> String {
    let mut year = 1970;
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates() {
        for (days, expected) in
            [(0, "1970-01-01"), (59, "1970-03-01"), (19_782, "2024-02-29"), (20_780, "2026-11-23")]
        {
            assert_eq!(date(days), expected);
        }
    }
}
