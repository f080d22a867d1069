//! Blobs on their way that nobody fills: worth their room for a day, and the first to go.

use std::{os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use tidepool_oci::Digest;

use super::{claims::Claims, files, layout::Layout};

/// Whoever wanted the blob has had it by then, or does not want it.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// One of them.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// When a byte was last written.
    written: i64,
    digest: Digest,
    /// What it takes on the disk.
    bytes: u64,
}

/// What a file takes on the disk, which of a sparse one is less than its length.
pub(super) fn taken(path: &Path) -> u64 {
    path.symlink_metadata().map_or(0, |meta| meta.blocks() * 512)
}

impl Unfinished {
    /// That of one digest, if there is one; somebody may fill it.
    pub(super) fn of(layout: &Layout, digest: &Digest) -> Option<Self> {
        let meta = layout.fill(digest).symlink_metadata().ok()?;
        Some(Self { written: meta.mtime(), digest: digest.clone(), bytes: meta.blocks() * 512 })
    }

    /// Those that nobody fills, the oldest first. There are as many as fills that failed within a day.
    pub(super) fn all(layout: &Layout, claims: &Claims) -> Vec<Self> {
        let mut all: Vec<_> = files::entries(&layout.scratch())
            .iter()
            .filter_map(|entry| {
                let digest = Layout::filled(&entry.path()).filter(|digest| layout.fill(digest) == entry.path())?;
                claims.take(&digest)?;
                let written = entry.metadata().ok()?.mtime();
                Some(Self { written, digest, bytes: taken(&entry.path()) })
            })
            .collect();
        all.sort_unstable_by_key(|one| one.written);
        all
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_old(&self, now: i64) -> bool {
        now.saturating_sub_unsigned(KEPT_FOR.as_secs()) > self.written
    }

    /// Removes it unless a fill goes on with it; gives the bytes that are free then.
    pub(super) fn remove(&self, layout: &Layout, claims: &Claims) -> u64 {
        let Some(_claim) = claims.take(&self.digest) else { return 0 };
        let gone = files::remove(&layout.fill(&self.digest)) && files::remove(&layout.fill_sums(&self.digest));
        if gone { self.bytes } else { 0 }
    }
}
