//! Disks that are full, at any byte.

use std::fmt;
use std::io::{Error as IoError, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use brisk_registry::Repository;
use futures_util::FutureExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart, local::LocalFileSystem,
};

use crate::support::{Place, says};

/// A store with room for so many bytes.
#[derive(Debug)]
struct Small {
    store: LocalFileSystem,
    room: Arc<AtomicU64>,
}

#[derive(Debug)]
struct SmallUpload {
    upload: Box<dyn MultipartUpload>,
    room: Arc<AtomicU64>,
}

fn take(room: &AtomicU64, bytes: usize) -> Result<()> {
    let less = |left: u64| left.checked_sub(bytes as u64);
    match room.fetch_update(SeqCst, SeqCst, less) {
        Ok(_) => Ok(()),
        Err(_) => {
            room.store(0, SeqCst);
            let source = Box::new(IoError::from(ErrorKind::StorageFull));
            Err(object_store::Error::Generic { store: "Small", source })
        }
    }
}

impl fmt::Display for Small {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("small")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Small {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        take(&self.room, payload.content_length())?;
        self.store.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.store.put_multipart_opts(at, options).await?;
        Ok(Box::new(SmallUpload { upload, room: self.room.clone() }))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(at, options).await
    }

    fn delete_stream(&self, all: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(all)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

#[async_trait::async_trait]
impl MultipartUpload for SmallUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match take(&self.room, data.content_length()) {
            Ok(()) => self.upload.put_part(data),
            Err(error) => async { Err(error) }.boxed(),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.upload.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

#[tokio::test]
async fn no_version_is_made_on_a_full_disk() {
    let place = Place::of_width(1300); // its tensors go in two pieces
    let sound = place.repository().await;
    let whole = place.publish(&sound).await.bytes();
    let room = Arc::new(AtomicU64::new(0));
    let store = LocalFileSystem::new_with_prefix(place.at("models")).unwrap();
    let small = Repository::with_store(Arc::new(Small { store, room: room.clone() }), "small");
    let mut number = 1;
    for share in [0, 1, 20, 80, 95, 99, 100] {
        room.store(whole * share / 100, SeqCst);
        says(
            small.publish(&place.publication()).await,
            false,
            &["small/fashion/", "free some space and try again", "versions that are there are unchanged"],
        );
        assert_eq!(sound.versions("fashion").await.unwrap(), [1]);
        for entry in sound.models().await.unwrap()[0].unfinished.clone() {
            sound.remove("fashion", entry).await.unwrap();
        }
        number += u64::from(share > 0); // with no room at all not even a number is taken
    }
    place.check_whole(&sound, "fashion", 1).await;
    room.store(whole * 2, SeqCst);
    assert_eq!(small.publish(&place.publication()).await.unwrap().version, number + 1);
    let left = |n: u64| std::fs::read_dir(place.at(&format!("models/fashion/{n}"))).unwrap().count();
    assert!((2..=number).all(|n| left(n) == 2), "what was written of them is gone");
}

/// The same with a real limit of the system: files of a process may not be longer than so many blocks.
#[cfg(unix)]
#[test]
fn no_version_is_made_beyond_a_limit_of_the_system() {
    let place = Place::of_width(1300);
    let publisher = crate::kill::publisher(&place, 1);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\""]).arg(publisher.get_program());
    limited.args(publisher.get_args());
    limited.envs(publisher.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = limited.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("model.safetensors"), "{said}");
    assert!(said.contains("free some space and try again"), "{said}");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let repository = place.repository().await;
        assert!(repository.models().await.unwrap().is_empty());
        assert_eq!(place.publish(&repository).await.version, 2);
    });
}
