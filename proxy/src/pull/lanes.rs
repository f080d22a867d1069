//! What is known of each upstream's connections, and how many of them fills may have.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tidepool_oci::RegistryName;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::tasks::lock;

/// Connections of one upstream beyond the first of each fill.
const MOST_EXTRA: usize = 16;
/// Fills of one upstream: the rest of all slots is for the others.
const MOST_OF_ONE: usize = super::MOST_FILLS * 3 / 4;
/// How long it is believed what a fill found out.
const BELIEVED_FOR: Duration = Duration::from_secs(600);

/// All upstreams'. As many as are configured.
#[derive(Debug, Default)]
pub(super) struct Lanes(Mutex<HashMap<RegistryName, Arc<Lane>>>);

/// One upstream's.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) fills: Arc<Semaphore>,
    extra: Arc<Semaphore>,
    ignores_range: Mutex<Option<Instant>>,
    honours_range: AtomicBool,
    /// How many connections a fill does best with, and when that was found.
    best: Mutex<Option<(usize, Instant)>>,
}

impl Lanes {
    pub(super) fn of(&self, registry: &RegistryName) -> Arc<Lane> {
        let mut lanes = lock(&self.0);
        Arc::clone(lanes.entry(registry.clone()).or_insert_with(|| Arc::new(Lane::new())))
    }
}

impl Lane {
    fn new() -> Self {
        Self {
            fills: Arc::new(Semaphore::new(MOST_OF_ONE)),
            extra: Arc::new(Semaphore::new(MOST_EXTRA)),
            ignores_range: Mutex::default(),
            honours_range: AtomicBool::new(false),
            best: Mutex::default(),
        }
    }

    /// A connection beyond a fill's first; none where there are enough.
    pub(super) fn extra(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.extra).try_acquire_owned().ok()
    }

    /// Notes that it answered a range with the range, or with the whole.
    pub(super) fn answered_range(&self, honoured: bool) {
        self.honours_range.store(honoured, Ordering::Relaxed);
        *lock(&self.ignores_range) = (!honoured).then(Instant::now);
    }

    /// Whether it is known that it answers a range with the whole.
    pub(super) fn ignores_range(&self) -> bool {
        lock(&self.ignores_range).is_some_and(|since| since.elapsed() < BELIEVED_FOR)
    }

    /// Whether it is known to answer a range with the range.
    pub(super) fn honours_range(&self) -> bool {
        self.honours_range.load(Ordering::Relaxed)
    }

    pub(super) fn best(&self) -> Option<usize> {
        lock(&self.best).filter(|(_, since)| since.elapsed() < BELIEVED_FOR).map(|(lines, _)| lines)
    }

    /// Notes how many connections a fill does best with.
    pub(super) fn note_best(&self, lines: usize) {
        *lock(&self.best) = Some((lines, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_upstream_leaves_turns_to_others_and_what_is_known_is_known_for_a_while() {
        let lanes = Lanes::default();
        let (one, other) = (lanes.of(&"a.b".parse().unwrap()), lanes.of(&"c.d".parse().unwrap()));
        let all = Arc::clone(&one.fills).try_acquire_many_owned(u32::try_from(MOST_OF_ONE).unwrap()).unwrap();
        assert!(one.fills.available_permits() == 0 && MOST_OF_ONE < super::super::MOST_FILLS);
        assert!(Arc::ptr_eq(&one, &lanes.of(&"a.b".parse().unwrap())) && other.fills.available_permits() > 0);
        drop(all);
        let extra: Vec<_> = std::iter::from_fn(|| one.extra()).collect();
        assert_eq!(extra.len(), MOST_EXTRA);
        one.answered_range(false);
        one.note_best(4);
        assert!(one.ignores_range() && !other.ignores_range() && one.best() == Some(4));
        tokio::time::advance(BELIEVED_FOR).await;
        assert!(!one.ignores_range() && one.best().is_none(), "asked again");
    }
}
