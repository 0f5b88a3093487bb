//! Memory of versions that are gone.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::app::App;

/// By then requests that had begun on the old version are answered.
const LATER: Duration = Duration::from_secs(1);

impl App {
    /// Gives the memory of a version that was dropped back to the system, a little later.
    pub fn give_back(self: &Arc<App>) {
        if self.giving_back.swap(true, Relaxed) {
            return;
        }
        let app = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LATER).await;
            app.giving_back.store(false, Relaxed);
            let device = app.device.clone();
            tokio::task::spawn_blocking(move || {
                device.trim();
                trim();
            });
        });
    }
}

/// The allocator of glibc keeps what was freed, for allocations to come; as much as a version needs is too much for that.
fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> i32;
        }
        // SAFETY: a function of glibc that may be called at any time, by any thread; memory in use stays where it is.
        unsafe { malloc_trim(0) };
    }
}

/// Tells glibc's allocator to keep what threads allocate in few places, so that versions which come and go leave no gaps in many. For a
/// program whose business is serving: it holds for the whole process, from before its threads start.
///
/// ```
/// brisk_serve::keep_memory_together();
/// ```
pub fn keep_memory_together() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// `M_ARENA_MAX` of `malloc.h`.
        const ARENA_MAX: i32 = -8;
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        unsafe extern "C" {
            fn mallopt(param: i32, value: i32) -> i32;
        }
        // SAFETY: a function of glibc that may be called at any time; it sets a number.
        unsafe { mallopt(ARENA_MAX, i32::try_from(threads * 2).unwrap_or(i32::MAX)) };
    }
}
