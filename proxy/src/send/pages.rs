//! Reads that do not wait for the disk, and the waiting for it elsewhere.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    num::NonZeroU64,
    os::unix::fs::FileExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    fs::{Advice, fadvise},
    io::{Errno, ReadWriteFlags, preadv2},
};
use tidepool_oci::Window;

/// The kernel reads at least so much of a file at once: one byte of each brings all.
const STRIDE: usize = 128 << 10;

/// Set where reads without waiting are not to be had: an old file system, or a seccomp profile older than they are.
static ALWAYS_WAIT: AtomicBool = AtomicBool::new(false);

/// Reads what is in the page cache; `None` when nothing of it is. Fewer bytes than asked for when more is not there, 0 at
/// the file's end.
pub(crate) fn read_now(file: &File, into: &mut [u8], at: u64) -> io::Result<Option<usize>> {
    if ALWAYS_WAIT.load(Ordering::Relaxed) {
        return Ok(None);
    }
    match preadv2(file, &mut [IoSliceMut::new(into)], at, ReadWriteFlags::NOWAIT) {
        Ok(count) => Ok(Some(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
            ALWAYS_WAIT.store(true, Ordering::Relaxed);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes sure that the window, as far as one byte of each stride tells, is in the page cache.
pub(crate) async fn bring(file: &Arc<File>, window: Window) -> io::Result<()> {
    for at in probes(window) {
        match read_now(file, &mut [0], at)? {
            Some(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends too early")),
            Some(_) => {}
            None => {
                let file = Arc::clone(file);
                let reading = tokio::task::spawn_blocking(move || wait_for(&file, window));
                return reading.await.map_err(io::Error::other)?;
            }
        }
    }
    Ok(())
}

/// A byte of each stride, and the last.
fn probes(window: Window) -> impl Iterator<Item = u64> {
    (window.start..window.end).step_by(STRIDE).chain([window.end - 1])
}

/// Blocks until the disk has given these bytes; has it begin with those behind them.
fn wait_for(file: &File, window: Window) -> io::Result<()> {
    // A hint that may be ignored.
    let _ = fadvise(file, window.start, NonZeroU64::new(2 * window.len()), Advice::WillNeed);
    for at in probes(window) {
        file.read_exact_at(&mut [0], at)?;
    }
    Ok(())
}
