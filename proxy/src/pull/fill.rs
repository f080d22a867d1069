//! A fill: one transfer of one blob, which any number of readers follow.

use std::{fs::File, sync::Arc};

use tidepool_oci::Digest;
use tokio::{sync::watch, time::Instant};

use super::{PullError, Source, segments::SegmentMap};

/// One transfer of one blob, seen by its readers. The transfer itself is a task of its own: readers come and go.
#[derive(Debug)]
pub(crate) struct Fill {
    pub(super) digest: Digest,
    /// Which repository it is asked from.
    pub(super) source: Source,
    progress: watch::Sender<Progress>,
}

/// How far a fill is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// How many bytes the blob has, once known.
    pub(super) size: Option<u64>,
    /// Where they are written, once open.
    pub(super) file: Option<Arc<File>>,
    /// Those that are there.
    pub(super) present: SegmentMap,
    pub(super) state: State,
}

/// Whether a fill's bytes can be trusted.
#[derive(Clone, Debug, Default)]
pub(super) enum State {
    /// Not known yet.
    #[default]
    Running,
    /// Whole, and the digest's content.
    Verified,
    /// It came to nothing.
    Failed(PullError),
}

/// A fill that is open: readers can start.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) size: u64,
    pub(super) file: Arc<File>,
}

impl Fill {
    pub(super) fn new(digest: Digest, source: Source) -> Arc<Self> {
        Arc::new(Self { digest, source, progress: watch::Sender::new(Progress::default()) })
    }

    pub(super) fn follow(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_modify(change);
    }

    pub(super) fn present(&self, start: u64, end: u64) {
        self.update(|progress| progress.present.add(start, end));
    }

    /// The blob's size and file, as soon as both are known.
    pub(super) async fn opened(&self, until: Instant) -> Result<Opened, PullError> {
        let mut progress = self.follow();
        let open = |progress: &Progress| match (&progress.state, progress.size, &progress.file) {
            (State::Failed(error), ..) => Some(Err(error.clone())),
            (_, Some(size), Some(file)) => Some(Ok(Opened { size, file: Arc::clone(file) })),
            _ => None,
        };
        let waited = tokio::time::timeout_at(until, progress.wait_for(|progress| open(progress).is_some())).await;
        let now = waited.map_err(|_| PullError::Late)?.map_err(|_| PullError::Stopped)?;
        open(&now).unwrap_or(Err(PullError::Stopped))
    }
}
