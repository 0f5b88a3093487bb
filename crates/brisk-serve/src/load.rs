//! A version from its folder to where it can answer.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use brisk_eval::{Asker, Ready};
use brisk_format::{load_tensors, tensor_bytes};
use brisk_runtime::{Cpu, Device};
use serde_json::Value as Json;

use crate::engine::Lane;
use crate::metrics::{Counted, Metrics, Of};
use crate::model::{Embedder, Served, Signature};

/// The file with stored outputs, beside a published model.
pub const SELF_CHECK: &str = "selfcheck.safetensors";

/// The file with the report of a run.
pub const REPORT: &str = "report.html";

/// The files that a version should have beside its model: what it says about made-up samples, so that a server can find out whether it
/// says the same, and the report of its run.
///
/// ```
/// # use brisk_format::{SavedModel, save_model};
/// # use brisk_nn::prelude::*;
/// # let model = Sequential::new([4]).add(Dense::new(2)).build()?;
/// # let task = Task::new(model, Loss::sparse_categorical_crossentropy());
/// # let ready = brisk_eval::Ready::new(SavedModel::new(&task, &task.model.init_state(1)?), "".as_ref())?;
/// let files = brisk_serve::companions(&ready)?;
/// assert_eq!(files[0].0, brisk_serve::SELF_CHECK);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn companions(ready: &Ready) -> brisk_eval::Result<Vec<(String, Vec<u8>)>> {
    let stored = ready.self_check(&Cpu::new(1))?;
    let mut files = vec![(SELF_CHECK.to_string(), tensor_bytes(&stored)?)];
    let report = ready.run.as_ref().and_then(|run| std::fs::read(run.join(REPORT)).ok());
    files.extend(report.map(|page| (REPORT.to_string(), page)));
    Ok(files)
}

/// Loads a version: reads it, checks that this machine computes what was stored with it, and compiles what the version before it was asked for.
pub fn load(
    name: &str,
    version: u64,
    folder: &Path,
    device: &Arc<dyn Device>,
    metrics: &Arc<Metrics>,
    before: Option<&Served>,
) -> brisk_eval::Result<Served> {
    let ready = Ready::open(folder)?;
    let stored = folder.join(SELF_CHECK);
    if stored.is_file() {
        // On a thread of its own, so that requests need not wait for it.
        ready.verify(&Cpu::new(1), &load_tensors(&stored)?)?;
    }
    let counted = Counted::new(metrics, Of { model: name.into(), version });
    let lane = |ready: &Ready, before: Option<&Arc<Lane>>| {
        let mut asker = Asker::new(device.clone(), ready);
        let shapes = before.map(|lane| lane.asker().shapes()).unwrap_or_default();
        asker.compile(&shapes);
        let counted = counted.clone();
        Lane::new(asker, move |facts| counted.batch(facts))
    };
    let own = lane(&ready, before.map(|b| &b.lane));
    let embedder = match ready.embedder() {
        // It gives nothing but vectors already.
        Ok(same) if same.model.model == ready.model.model => {
            Some(Embedder { ready: same, lane: own.clone() })
        }
        Ok(part) => {
            let lane = lane(&part, before.and_then(|b| b.embedder.as_ref()).map(|e| &e.lane));
            Some(Embedder { ready: part, lane })
        }
        Err(_) => None,
    };
    let signature = Signature::of(&ready);
    // Beside a published model, or in the run around it.
    let beside = [Some(folder.join(REPORT)), ready.run.as_ref().map(|run| run.join(REPORT))];
    let report = beside.into_iter().flatten().find_map(|path| std::fs::read_to_string(path).ok());
    Ok(Served {
        name: name.into(),
        version,
        signature,
        lane: own,
        embedder,
        ready,
        loaded: SystemTime::now(),
        about: Json::Null,
        report,
        counted,
    })
}

/// Runs on this thread only when nobody else wants the processor.
pub fn at_low_priority() {
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
    }
}
