//! From bytes to a file of the repository, hashed on the way.

use std::io::{self, Read};

use futures_util::TryStreamExt;
use futures_util::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, UploadPart};

use crate::FileRecord;

/// The least that goes at once; a bucket wants 5 MiB and more.
const PIECE: u64 = 8 << 20;
/// The most pieces that a bucket takes are 10,000.
const PIECES: u64 = 9_000;
/// Pieces on their way at once.
const ABREAST: usize = 4;

/// What did not work.
pub(crate) enum Fault {
    Read(io::Error),
    Write(object_store::Error),
}

/// Writes a file of about this length. It is there whole, or not at all.
pub(crate) async fn upload(
    store: &dyn ObjectStore,
    path: &Path,
    from: &mut (dyn Read + Send),
    length: u64,
) -> Result<FileRecord, Fault> {
    let piece = PIECE.max(length / PIECES + 1);
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    let mut next = || -> io::Result<Vec<u8>> {
        let mut buffer = Vec::with_capacity(piece.min(length + 1) as usize);
        Read::take(&mut *from, piece).read_to_end(&mut buffer)?;
        hasher.update(&buffer);
        bytes += buffer.len() as u64;
        Ok(buffer)
    };
    let first = next().map_err(Fault::Read)?;
    if (first.len() as u64) < piece {
        store.put(path, first.into()).await.map_err(Fault::Write)?;
    } else {
        let mut upload = store.put_multipart(path).await.map_err(Fault::Write)?;
        let done = in_pieces(&mut *upload, first, next).await;
        if done.is_err() {
            let _ = upload.abort().await;
        }
        done?;
    }
    Ok(FileRecord { bytes, blake3: hasher.finalize().to_hex().to_string() })
}

/// Some pieces at once, each read only when there is room for it.
async fn in_pieces(
    upload: &mut dyn MultipartUpload,
    first: Vec<u8>,
    mut next: impl FnMut() -> io::Result<Vec<u8>>,
) -> Result<(), Fault> {
    let mut on_the_way = FuturesUnordered::<UploadPart>::new();
    let mut piece = first;
    while !piece.is_empty() {
        if on_the_way.len() >= ABREAST {
            on_the_way.try_next().await.map_err(Fault::Write)?;
        }
        on_the_way.push(upload.put_part(piece.into()));
        piece = next().map_err(Fault::Read)?;
    }
    while on_the_way.try_next().await.map_err(Fault::Write)?.is_some() {}
    upload.complete().await.map_err(Fault::Write)?;
    Ok(())
}
