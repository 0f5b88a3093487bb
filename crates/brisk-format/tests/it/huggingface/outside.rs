//! Checks with models that are not in the repository, run by hand:
//! `BRISK_HF_FOLDER=... cargo nextest run -p brisk-format --run-ignored only huggingface::outside`

use std::path::{Path, PathBuf};

use brisk_format::{HfExport, HfFolder, save_huggingface};

use super::golden;

fn folder(name: &str) -> PathBuf {
    std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set")).into()
}

/// Loads `BRISK_HF_FOLDER` and prints how much memory it took at the most, against the size of its tensors.
#[test]
#[ignore = "needs a folder in BRISK_HF_FOLDER"]
#[cfg(target_os = "linux")]
fn loading_takes_little_more_memory_than_the_file() {
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    };
    let before = peak();
    let start = std::time::Instant::now();
    let hf = HfFolder::open(&folder("BRISK_HF_FOLDER")).unwrap();
    let (state, report) = hf.load_state(hf.head()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let bytes: usize = state.iter().map(|(_, t)| t.elements() * t.dtype().size()).sum();
    let taken = peak() - before;
    println!(
        "{report}\n{bytes} bytes in {seconds:.2} s, {taken} bytes of memory: {:.3}",
        taken as f64 / bytes as f64
    );
    assert!(taken < bytes as u64 * 6 / 5);
}

/// Reads each tiny folder, and `BRISK_HF_FOLDER` if it is set, and writes it into `BRISK_HF_OUTPUT`, for
/// `goldens/check_huggingface.py` to compare.
#[test]
#[ignore = "writes folders into BRISK_HF_OUTPUT"]
fn folders_are_written_for_others() {
    let output = folder("BRISK_HF_OUTPUT");
    let goldens = std::fs::read_dir(golden("")).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
    for path in goldens.chain(std::env::var_os("BRISK_HF_FOLDER").map(PathBuf::from)) {
        let name = path.file_name().unwrap();
        rewrite(&path, &output.join(name));
    }
}

fn rewrite(from: &Path, to: &Path) {
    let folder = HfFolder::open(from).unwrap();
    let (state, report) = folder.load_state(folder.head()).unwrap();
    println!("{}: {report}", from.display());
    let tokenizer = folder.tokenizer_files();
    let export = HfExport {
        config: folder.config(),
        state: &state,
        tokenizer: &tokenizer,
        sentences: folder.sentences(),
    };
    save_huggingface(to, &export).unwrap();
}
