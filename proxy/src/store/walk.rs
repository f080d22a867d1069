//! All files of blobs and manifests, one after the other: nothing is gathered in memory.

use std::{
    fs::{self, DirEntry, Metadata, ReadDir},
    io,
    path::{Path, PathBuf},
};

use tidepool_oci::Digest;

use super::layout::{Layout, SUMS};
use crate::tasks::Tasks;

/// What lies there.
#[derive(Debug)]
pub(super) enum Found {
    /// A blob or a manifest.
    Content(Digest, PathBuf, Metadata),
    /// The checksums of a blob, which may be gone.
    Sums(PathBuf),
}

/// Visits every file of a blob or manifest until the process stops; passes over what else lies there. Files may come and go
/// meanwhile.
pub(super) fn walk(layout: &Layout, stop: &Tasks, visit: &mut dyn FnMut(Found)) {
    for folder in [layout.blobs(), layout.manifests()] {
        for prefix in folders(&folder).flat_map(|algorithm| folders(&algorithm)) {
            let entries = entries(&prefix).take_while(|_| !stop.are_stopping());
            entries.filter_map(|entry| found(&entry)).for_each(&mut *visit);
        }
    }
}

fn found(entry: &DirEntry) -> Option<Found> {
    let path = entry.path();
    if path.extension().is_some_and(|end| end == SUMS) {
        return Layout::digest_of(&path.with_extension("")).map(|_| Found::Sums(path));
    }
    let digest = Layout::digest_of(&path)?;
    let meta = entry.metadata().ok().filter(Metadata::is_file)?;
    Some(Found::Content(digest, path, meta))
}

/// The folders in a folder; two levels hold at most 256 of them, the third what chance spreads over them.
fn folders(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let is_folder = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries(folder).filter(is_folder).map(|entry| entry.path())
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    let cannot = |error: &io::Error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!(folder = %folder.display(), %error, "cannot read a folder of the store");
        }
    };
    let listing: Option<ReadDir> = fs::read_dir(folder).inspect_err(cannot).ok();
    // What cannot be listed ends the listing: the next count sees it again.
    listing.into_iter().flatten().map_while(Result::ok)
}
