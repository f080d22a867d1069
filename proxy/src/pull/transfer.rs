//! Runs one fill: asks, receives by as many connections as it takes, checks, keeps.

use std::{
    collections::HashMap,
    fs::File,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize},
    },
    time::Duration,
};

use tidepool_oci::{Digest, Window};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    FIRST_BYTE_WITHIN, PullError, Puller, blob_path,
    connection::Shared,
    fill::{Fill, State},
    lanes::Lane,
    planner::{Plan, Sizes},
    segments::SegmentMap,
    sink::Sink,
};
use crate::{
    hash::Hasher,
    metrics::FillResult,
    store::{Kept, Partial, Unchecked},
    tasks::lock,
    upstream::UpstreamError,
};

/// How long a fill waits for its turn: who asked hears soon that there are too many, and goes elsewhere.
const TURN_WITHIN: Duration = Duration::from_secs(2);
/// The longest wait for others whose checksums are being made.
const HASHED_WITHIN: Duration = Duration::from_secs(600);

/// Readers of what is hashed hear of progress after so many bytes.
const TELL_EVERY: u64 = 1 << 20;

/// The end of a fill, however it comes: also when the proxy stops or the transfer panics, nobody waits for it for ever.
struct Ending<'a> {
    fills: &'a Mutex<HashMap<Digest, Arc<Fill>>>,
    fill: &'a Fill,
    state: State,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        // First forgotten, then told: who hears of the end and asks again finds the store or starts anew.
        lock(self.fills).remove(&self.fill.digest);
        let state = std::mem::take(&mut self.state);
        self.fill.update(|progress| progress.state = state);
    }
}

impl Puller {
    /// Runs `fill` to its end and tells its readers.
    pub(super) async fn run_fill(self: Arc<Self>, fill: Arc<Fill>) {
        let counted = self.metrics.fill(fill.source.upstream.name());
        let mut ending = Ending { fills: &self.fills, fill: &fill, state: State::Failed(PullError::Stopped) };
        let result = self.transfer(&fill).await;
        if let Err(error) = &result {
            let (cause, source) = (error as &dyn std::error::Error, &fill.source);
            let present = fill.look(|progress| progress.present.bytes());
            tracing::warn!(digest = %fill.digest, registry = %source.upstream.name(), repository = %source.repository, present, error = cause, "fill failed");
        }
        counted.ended(FillResult::of(&result));
        ending.state = result.map_or_else(State::Failed, |()| State::Verified);
    }

    async fn transfer(self: &Arc<Self>, fill: &Arc<Fill>) -> Result<(), PullError> {
        // Before the look into the store: what is there may go meanwhile, and what is noted of it too.
        if let Some(origins) = self.store.origins(&fill.digest).await {
            fill.note_origins(origins);
        }
        if self.follow_kept(fill).await? {
            return Ok(());
        }
        let lane = self.lanes.of(fill.source.upstream.name());
        let _turns = (turn(&lane.fills).await?, turn(&self.fill_slots).await?);
        let partial = Arc::new(self.partial(&fill.digest).await?);
        let (result, origin) = self.fill_partial(fill, lane, &partial).await;
        let result = result.map_err(|error| self.cannot_write(error));
        let Ok(partial) = Arc::try_unwrap(partial) else { return Err(PullError::Stopped) }; // the sink has ended
        self.settle(partial, &fill.digest, &result, origin).await;
        result.map(|size| fill.update(|progress| progress.size = Some(size)))
    }

    async fn partial(&self, digest: &Digest) -> Result<Partial, PullError> {
        let error = match self.store.partial(digest).await {
            Ok(partial) => return Ok(partial),
            Err(error) => self.cannot_write(error.into()),
        };
        if matches!(error, PullError::NoSpace) {
            self.store.disk_is_full();
        }
        Err(error)
    }

    /// Keeps what was filled, or leaves it for a later fill, or gives it up.
    async fn settle(&self, partial: Partial, digest: &Digest, result: &Result<u64, PullError>, origin: Option<String>) {
        match result {
            Ok(_) => {
                if let Err(error) = self.store.commit_partial(partial, digest, origin).await {
                    self.not_kept(&error, "blob"); // its readers have it all the same
                }
                return;
            }
            // Wrong, or in the way, or nothing.
            Err(PullError::WrongDigest | PullError::NoSpace | PullError::NoRoom) => partial.discard(),
            Err(_) if partial.present().is_empty() => partial.discard(),
            Err(_) => {}
        }
        let _ = tokio::task::spawn_blocking(move || drop(partial)).await; // removes files, perhaps large ones
        if matches!(result, Err(PullError::NoSpace)) {
            self.store.disk_is_full();
        }
    }

    /// What a store that takes nothing means to a pull: the blob is passed on, as one is for which it has no room.
    fn cannot_write(&self, error: PullError) -> PullError {
        let PullError::Store(error) = error else { return error };
        self.not_kept(&error, "blob");
        PullError::NoRoom
    }

    /// Lets readers follow what is kept, where it is: no upstream is needed for that, nor its turn.
    async fn follow_kept(self: &Arc<Self>, fill: &Arc<Fill>) -> Result<bool, PullError> {
        let Some(kept) = self.store.kept(&fill.digest).await else { return Ok(false) };
        if let Kept::Unchecked(found) = kept {
            // Readers go when they must; for the others it is sooner than from the upstream, whoever is before it.
            let turn = timeout(HASHED_WITHIN, self.hash_slots.acquire()).await;
            let _turn = turn.map_err(|_| PullError::Crowded)?.map_err(|_| PullError::Stopped)?;
            return self.hash_kept(fill, found).await.map(|()| true);
        }
        // Another fill of the same may have ended between the look into the store and the start of this one.
        // All of it checked: who follows a fill does not look at the store's checksums.
        let Some(kept) = self.store.sound_blob(&fill.digest).await else { return Ok(false) };
        begin_kept(fill, kept.size, kept.file, SegmentMap::up_to(kept.size));
        Ok(true)
    }

    /// A blob that is here without checksums: readers follow its hash, and nothing is asked of the upstream.
    async fn hash_kept(&self, fill: &Arc<Fill>, found: Unchecked) -> Result<(), PullError> {
        begin_kept(fill, found.size, Arc::clone(&found.file), SegmentMap::default());
        let (store, fill) = (Arc::clone(&self.store), Arc::clone(fill));
        let hash = move || {
            let mut told = 0;
            store.rehash(&fill.digest, &found, |at| {
                if at - told >= TELL_EVERY || at == found.size {
                    fill.present(&[Window { start: told, end: at }]);
                    told = at;
                }
            })
        };
        let sound = tokio::task::spawn_blocking(hash).await.map_err(|_| PullError::Stopped)??;
        // Who read of it is broken off; it is removed, and the next request fills it.
        if sound.is_some() { Ok(()) } else { Err(PullError::WrongDigest) }
    }

    /// Fills `partial` to its end; gives the blob's size, and the origin to note of it.
    async fn fill_partial(
        self: &Arc<Self>,
        fill: &Arc<Fill>,
        lane: Arc<Lane>,
        partial: &Arc<Partial>,
    ) -> (Result<u64, PullError>, Option<String>) {
        let opened = Shared::new(self, fill, lane).open(partial).await;
        let (shared, answer) = match opened {
            Ok(opened) => opened,
            Err(PullError::Upstream(error)) => {
                return (Err(self.noting_absence(&fill.source, &blob_path(&fill.digest), error)), None);
            }
            Err(error) => return (Err(error), None),
        };
        let origin = match self.begin(&shared, partial).await {
            Ok(origin) => origin,
            Err(error) => return (Err(error), None),
        };
        let present = fill.look(|progress| progress.present.clone());
        let sink = Sink::start(Arc::clone(fill), Arc::clone(partial), present);
        let received = shared.receive(answer, &sink).await;
        let written = sink.finish(received.is_ok()).await;
        (judge(&shared, received, written), origin)
    }

    /// Lets readers follow, once it is noted where the blob comes from.
    async fn begin(self: &Arc<Self>, shared: &Shared, partial: &Arc<Partial>) -> Result<Option<String>, PullError> {
        let fill = &shared.fill;
        let origin = self.origin_of(&fill.source, &fill.digest).await;
        if let Some(origin) = &origin {
            self.store.add_origin(&fill.digest, origin.clone()).await?; // before anybody can follow
            fill.note_origins(origin.clone());
        }
        let size = shared.plan().size();
        let there = shared.plan().received();
        if let Some(size) = size.filter(|size| !self.store.could_hold(*size, there)) {
            self.too_large.insert(fill.digest.clone(), size);
            return Err(PullError::NoRoom);
        }
        shared.make_room(size.unwrap_or_default())?;
        if let Some(size) = size {
            partial.set_size(size)?;
        }
        fill.update(|progress| {
            (progress.size, progress.file) = (size, Some(partial.file()));
            progress.present = shared.plan().got().clone(); // one truth of what is there
        });
        Ok(origin)
    }
}

/// Lets readers follow what is kept: whether they may have it was not asked for this fill.
fn begin_kept(fill: &Fill, size: u64, file: Arc<File>, present: SegmentMap) {
    fill.found_in_store();
    fill.update(|progress| {
        (progress.size, progress.file, progress.present) = (Some(size), Some(file), present);
    });
}

fn judge(
    shared: &Shared,
    received: Result<(), PullError>,
    written: Result<Option<(Hasher, u64)>, PullError>,
) -> Result<u64, PullError> {
    let written = written?;
    received?;
    let Some((hasher, hashed)) = written else { return Err(PullError::Stopped) };
    if shared.plan().size() == Some(hashed) && hasher.matches(&shared.fill.digest) {
        Ok(hashed)
    } else {
        Err(PullError::WrongDigest)
    }
}

async fn turn(turns: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, PullError> {
    let waited = timeout(TURN_WITHIN, Arc::clone(turns).acquire_owned()).await;
    waited.map_err(|_| PullError::Crowded)?.map_err(|_| PullError::Stopped)
}

/// What an earlier fill left. Never all of it: the store sees to it that the upstream is asked before anybody follows.
fn taken_over(partial: &Partial) -> SegmentMap {
    let mut map = SegmentMap::default();
    partial.present().iter().for_each(|window| map.add(window.start, window.end));
    map
}

impl Shared {
    fn new(puller: &Puller, fill: &Arc<Fill>, lane: Arc<Lane>) -> Self {
        Self {
            fill: Arc::clone(fill),
            lane,
            plan: Mutex::new(Plan::new(None, SegmentMap::default(), Sizes::default())),
            room: Mutex::new(puller.store.reserve()),
            steady: AtomicUsize::new(1),
            received: AtomicU64::new(0),
        }
    }

    /// Asks for the first bytes that are missing; for all of them, where that is refused or what is here is of another
    /// size. Then nothing is taken over, for the answer brings all of it.
    async fn open(self, partial: &Partial) -> Result<(Self, reqwest::Response), PullError> {
        let there = taken_over(partial);
        if there.bytes() > 0 {
            *self.plan() = Plan::new(partial.size(), there, Sizes::default());
            match self.open_at_gap().await {
                Err(error) if begins_anew(&error) => {}
                other => return other.map(|answer| (self, answer)),
            }
            *self.plan() = Plan::new(None, SegmentMap::default(), Sizes::default());
        }
        let answer = self.open_at_gap().await?;
        if self.plan().received() == 0 {
            partial.forget()?;
        }
        Ok((self, answer))
    }

    async fn open_at_gap(&self) -> Result<reqwest::Response, PullError> {
        let task = self.plan().claim(0, &[], 1);
        let window = task.map_or(Window { start: 0, end: u64::MAX }, |task| task.window);
        let answer = self.ask(window, FIRST_BYTE_WITHIN, false).await?;
        self.accept(0, window, &answer)?;
        self.note_accepts(&answer);
        Ok(answer)
    }
}

/// Whether the whole may be given where a part was not: what says so is the host that gives the bytes.
fn begins_anew(error: &PullError) -> bool {
    match error {
        PullError::Garbage(_) => true,
        PullError::Upstream(UpstreamError::Failing(status) | UpstreamError::ElsewhereFailing(status)) => {
            status.is_client_error()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
