//! The pass over all images: a fingerprint of the pixels of each, its size, or why it cannot be read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Problem, ProblemKind};
use crate::{Dataset, ImageSpec, Part};

/// What is known of an image: its fingerprint and size, or the error.
pub(super) type Seen = Result<(Fingerprint, ImageSpec), String>;

/// Of the decoded pixels, so that the same picture in two file formats counts as the same.
type Fingerprint = [u8; 16];

/// What is known of the images of every part.
pub(super) fn scan(dataset: &Dataset, threads: usize) -> Vec<Vec<Seen>> {
    dataset.parts().iter().map(|(_, part)| scan_part(part, threads)).collect()
}

fn scan_part(part: &Part, threads: usize) -> Vec<Seen> {
    const CHUNK: usize = 64;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut seen = Vec::new();
        loop {
            let from = next.fetch_add(CHUNK, Ordering::Relaxed);
            if from >= part.len() {
                return seen;
            }
            seen.extend((from..(from + CHUNK).min(part.len())).map(|i| (i, look(part, i))));
        }
    };
    let mut all: Vec<(usize, Seen)> = std::thread::scope(|s| {
        let others: Vec<_> = (1..threads.clamp(1, 256)).map(|_| s.spawn(work)).collect();
        let mut all = work();
        for thread in others {
            // A panic of the thread loses its images; they are looked at again below.
            all.extend(thread.join().unwrap_or_default());
        }
        all
    });
    all.sort_by_key(|(i, _)| *i);
    let mut seen = Vec::with_capacity(part.len());
    for (i, s) in all {
        while seen.len() < i {
            seen.push(Err("reading it failed unexpectedly".into()));
        }
        seen.push(s);
    }
    seen.resize(part.len(), Err("reading it failed unexpectedly".into()));
    seen
}

fn look(part: &Part, index: usize) -> Seen {
    let image = part.raw(index).map_err(|e| e.to_string())?;
    let spec = image.spec();
    let mut hasher = blake3::Hasher::new();
    for n in [spec.height, spec.width, spec.channels] {
        hasher.update(&(n as u64).to_le_bytes());
    }
    hasher.update(image.pixels());
    let mut fingerprint = [0; 16];
    fingerprint.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Ok((fingerprint, spec))
}

pub(super) fn unreadable(dataset: &Dataset, scans: &[Vec<Seen>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for ((name, part), seen) in dataset.parts().into_iter().zip(scans) {
        for (i, error) in seen.iter().enumerate().filter_map(|(i, s)| Some((i, s.as_ref().err()?))) {
            let place = part.name(i);
            let detail = error.strip_prefix(&format!("{place}: ")).unwrap_or(error).to_string();
            problems.push(Problem { kind: ProblemKind::Corrupt, part: name.into(), place, detail });
        }
    }
    problems
}

/// One problem for each image that was seen before, with the first place where it was.
pub(super) fn repeated(dataset: &Dataset, scans: &[Vec<Seen>]) -> Vec<Problem> {
    let parts = dataset.parts();
    let mut first: HashMap<Fingerprint, (usize, usize)> = HashMap::new();
    let mut problems = Vec::new();
    for (p, seen) in scans.iter().enumerate() {
        let (name, part) = parts[p];
        for (i, fingerprint) in seen.iter().enumerate().filter_map(|(i, s)| Some((i, s.as_ref().ok()?.0))) {
            let (q, j) = *first.entry(fingerprint).or_insert((p, i));
            if (q, j) == (p, i) {
                continue;
            }
            let (other_name, other) = parts[q];
            let (label, other_label) = (part.label(i), other.label(j));
            let kind = match () {
                () if q != p => ProblemKind::InTwoParts,
                () if label != other_label => ProblemKind::TwoLabels,
                () => ProblemKind::Duplicate,
            };
            let class = |l: u32| dataset.classes().get(l as usize).cloned().unwrap_or_else(|| l.to_string());
            let mut detail = format!("the same as {} ({other_name})", other.name(j));
            if label != other_label {
                detail += &format!(", there {}, here {}", class(other_label), class(label));
            }
            problems.push(Problem { kind, part: name.into(), place: part.name(i), detail });
        }
    }
    problems
}
