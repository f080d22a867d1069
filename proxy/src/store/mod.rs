//! What a proxy keeps, in plain files.
//!
//! ```text
//! <store>/VERSION                              layout, "1"
//! <store>/LOCK                                 held by the one process that uses the store
//! <store>/blobs/sha256/ab/abcd…                a blob's bytes, nothing else
//! <store>/blobs/sha256/ab/abcd….sums           checksums of its blocks, where it has more than one; see `blocks`
//! <store>/manifests/sha256/ab/abcd…            one line with the media type, then the manifest's bytes, verbatim
//! <store>/tags/<registry>/<repository>/_tags/<tag>   JSON: digest and when it was last asked of the upstream
//! <store>/tags/<registry>/<repository>/_public     JSON: when it was last read without credentials, and where
//! <store>/tags/_origins/sha256/ab/abcd…        of content that needed credentials: the repositories it is in and where they
//!                                              are reached, a line each
//! <store>/tmp/fill-sha256-<hex>                a blob on its way, sparse until it is whole
//! <store>/tmp/fill-sha256-<hex>.sums           checksums of those of its blocks that are there
//! <store>/tmp/<process>-<n>                    files being written
//! ```
//!
//! **Durability.** Every file is written in `tmp` and renamed into place when it is whole and its digest was checked; a
//! blob's checksums before the blob. So a process killed at any instant leaves whole files, blobs on their way, which are
//! gone on with ([`resume`]), and leftovers, which the next process removes while it already serves ([`leftovers`]).
//! Cached content can be had again, so it is not synced: what a power loss or a bad disk tears is found when it is read.
//! Synced are `VERSION` and, with the folders above it, what is noted in `_origins`, before the content that it is of takes
//! its place; and that content's removal before its note goes. Without a note content is everybody's, so no loss of power
//! may take it alone ([`origins`]). A tag's or a `_public` record that is lost is asked for again; a torn one is none. A
//! manifest is hashed whenever it is read from the disk. A blob's blocks are compared with their checksums before
//! this process first serves them and whenever its inode, size or times changed since ([`soundness`]); one without usable
//! checksums is hashed whole, which makes them ([`rehash`]). What does not match is removed and counts as missing, so it is
//! filled again.
//!
//! **Stop.** Work that blocks for long, a count or a hash, ends soon after the process is told to. The lock is held for as
//! long as anybody writes: the next process waits for it.
//!
//! **Memory.** No index is kept in memory or on disk, so there is none to repair, and starting takes the same time whatever
//! is kept. A blob that was found sound costs less than 32 bytes ([`verified`]); a few hundred stay open ([`opened`]).
//! Besides, memory holds 8 MiB of manifests that were read lately, and 8192 records each of tags and of public repositories.
//!
//! **Room.** A blob's or manifest's modification time is its last pull, to ten minutes. Beyond the limit those blobs on
//! their way go that nobody fills, and then the least recently pulled, down to nine tenths of it ([`room`]); before a blob
//! comes room is made for it, and a disk that fills up before that loses a tenth of the content. Checksums and tags are not
//! counted. Files are unlinked, never truncated: whoever reads one goes on. What an administrator wants gone goes by
//! [`purge`].

mod ages;
mod blobs;
mod blocks;
mod claims;
mod files;
mod layout;
mod leftovers;
mod manifests;
mod named;
mod opened;
mod origins;
mod partial;
mod public;
mod purge;
mod rehash;
mod resume;
mod room;
mod soundness;
mod tags;
#[cfg(test)]
mod tests;
mod unfinished;
mod verified;
mod walk;

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

pub(crate) use blobs::Kept;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use blocks::fuzz_sums;
pub(crate) use blocks::{BLOCK, sum_of};
pub(crate) use manifests::Manifest;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use named::names_in as fuzz_names;
pub(crate) use opened::StoredBlob;
pub(crate) use partial::Partial;
pub(crate) use public::PublicRecord;
pub(crate) use purge::{Purge, Purged};
pub(crate) use rehash::Unchecked;
pub(crate) use room::Reservation;
pub(crate) use tags::TagRecord;

use crate::tasks::{Flights, Tasks};
use layout::Layout;
use tidepool_oci::Digest;

/// A proxy's store; see the module's text for what lies where and what it survives.
#[derive(Debug)]
pub(crate) struct Store {
    layout: Layout,
    scratches: files::ScratchNames,
    opened: Arc<opened::OpenBlobs>,
    verifying: Flights<Digest, Option<StoredBlob>>,
    damaged: Counter,
    tasks: Tasks,
    room: Arc<room::Room>,
    origins: Arc<origins::Origins>,
    recent_tags: tags::RecentTags,
    recent_public: public::RecentPublic,
    /// Unlocked when the last user of the store is gone: whoever writes a blob has it, too.
    lock: Arc<File>,
}

/// What a store tells of itself.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    /// How much is kept.
    pub(crate) bytes: Gauge<u64, AtomicU64>,
    /// Blobs that were found damaged.
    pub(crate) damaged: Counter,
}

impl From<Gauge<u64, AtomicU64>> for Meters {
    fn from(bytes: Gauge<u64, AtomicU64>) -> Self {
        Self { bytes, ..Self::default() }
    }
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made, read or written.
    #[error("cannot use store {path}")]
    Folder {
        /// The store's folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds other things.
    #[error("{path} is no store: it holds {entry}; name an empty or missing folder")]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Something in it that is not ours.
        entry: String,
    },
    /// A newer program wrote it.
    #[error("store {path} has layout {found:?}, this program knows {known:?}", known = layout::VERSION)]
    Version {
        /// The store's folder.
        path: PathBuf,
        /// What its `VERSION` says.
        found: String,
    },
    /// Another process uses it.
    #[error("store {path} is in use by another process")]
    Taken {
        /// The store's folder.
        path: PathBuf,
    },
}

impl Store {
    /// Opens the store in `path`, making it where it is missing. Never scans it.
    ///
    /// `limit` is in bytes of blobs and manifests; `meters` show how many there are, and more.
    pub(crate) async fn open(
        path: PathBuf,
        limit: Option<u64>,
        meters: impl Into<Meters>,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, OpenError> {
        let Meters { bytes, damaged } = meters.into();
        let layout = Layout::new(path);
        let lock = Arc::new(layout.open().await?);
        let scratches = files::ScratchNames::new(layout.scratch());
        let origins = Arc::new(origins::Origins::new(layout.clone(), scratches.clone()));
        let opened = Arc::new(opened::OpenBlobs::new());
        let (held, kept) = (Arc::clone(&origins), Arc::clone(&opened));
        let room = room::Room::new(layout.clone(), held, kept, limit, bytes, (tasks.clone(), Arc::downgrade(&lock)));
        let room = Arc::new(room);
        tasks.spawn(leftovers::remove_leftovers(layout.clone(), scratches.clone(), room.claims.clone()));
        tasks.spawn(Arc::clone(&room).keep());
        let verifying = Flights::new(tasks.clone());
        let (tasks, recent_tags) = (tasks.clone(), tags::RecentTags::default());
        Ok(Arc::new(Self {
            layout,
            scratches,
            opened,
            verifying,
            damaged,
            tasks,
            room,
            origins,
            recent_tags,
            recent_public: public::RecentPublic::default(),
            lock,
        }))
    }

    /// Room for a blob while it is being filled: none at first, it grows.
    pub(crate) fn reserve(&self) -> Reservation {
        self.room.reserve()
    }

    /// Changes how many bytes may be kept.
    pub(crate) fn set_limit(&self, limit: Option<u64>) {
        self.room.set_limit(limit);
    }

    /// How many bytes may be kept; none where the disk is the limit.
    pub(crate) fn limit(&self) -> Option<u64> {
        Some(self.room.limit()).filter(|limit| *limit < u64::MAX)
    }

    /// Whether a blob of that many bytes can be kept at all, when all else goes; `there` of them are on the disk already.
    pub(crate) fn could_hold(&self, size: u64, there: u64) -> bool {
        self.room.could_hold(size, there)
    }

    /// Says that the disk is full: old content goes even where the limit is not reached.
    pub(crate) fn disk_is_full(&self) {
        self.room.disk_is_full();
    }
}

/// Runs file work where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
