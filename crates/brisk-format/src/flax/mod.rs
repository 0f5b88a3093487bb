//! Flax and JAX: parameters as `flax.serialization` writes them (MessagePack).
//!
//! Orbax's folders are not read: tensors in them are chunks of Zarr, compressed with Zstandard, within a database (OCDBT). The library
//! for Zarr brings a hundred crates, some of them in C, and none reads the database.

mod msgpack;

use std::path::Path;

use brisk_runtime::State;

use crate::source::Source;
use crate::{Error, Result};

/// Files and folders by which a folder of Orbax is known.
const ORBAX: [&str; 3] = ["_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt"];

/// Tensors of a Flax model or training state.
///
/// ```no_run
/// let checkpoint = brisk_format::read_flax("flax_model.msgpack".as_ref())?;
/// let kernel = checkpoint.tensors.get("params.Dense_0.kernel");
/// assert!(kernel.is_some());
/// # Ok::<(), brisk_format::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlaxCheckpoint {
    /// Arrays and numbers by the names of what holds them, with points between: `params.Dense_0.kernel`, `opt_state.0.count`.
    pub tensors: State,
    /// The names of texts, which are not read.
    pub texts: Vec<String>,
}

/// Reads a file of `flax.serialization.to_bytes` or `msgpack_serialize`. f16, bf16 and f64 become f32; i8, i16 and u16 become i32;
/// u32, u64 and Python's whole numbers become i64; bool becomes u8. A value that does not fit is an error, as are complex
/// numbers. A folder of Orbax is an error too: it is to be saved in this way first, or as safetensors.
pub fn read_flax(path: &Path) -> Result<FlaxCheckpoint> {
    if path.is_dir() && ORBAX.iter().any(|name| path.join(name).exists()) {
        return Err(Error::content(
            path,
            "this is a folder of Orbax, which is not read; restore it in Python and save the parameters with \
             safetensors.flax.save_file, or with flax.serialization.to_bytes",
        ));
    }
    let mut file = Source::open(path, "a checkpoint of Flax (MessagePack)")?;
    msgpack::read(&mut file).map_err(|f| f.malformed(path, "checkpoint of Flax (MessagePack)"))
}
