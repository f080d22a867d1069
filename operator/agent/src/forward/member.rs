//! One member as this node sees it.

use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::breaker::Breaker;

/// A member: who it is, where it is, and how it has been behaving.
#[derive(Debug)]
pub struct Member {
    id: String,
    mirror_uid: String,
    address: SocketAddr,
    breaker: Breaker,
    heard: Mutex<Option<Instant>>,
    distrusted: AtomicBool,
    /// When it was last asked for its health, and what came of it; held by the one that asks.
    pub(super) checked: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

impl Member {
    /// A member that has not been asked yet. `id` outlives its address: content stays with it over restarts. What
    /// answers there is believed when it proves to serve the mirror with that uid.
    #[must_use]
    pub fn new(id: impl Into<String>, mirror_uid: impl Into<String>, address: SocketAddr) -> Self {
        Self {
            id: id.into(),
            mirror_uid: mirror_uid.into(),
            address,
            breaker: Breaker::default(),
            heard: Mutex::default(),
            distrusted: AtomicBool::default(),
            checked: tokio::sync::Mutex::default(),
        }
    }

    /// Its stable name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The mirror it serves.
    #[must_use]
    pub fn mirror_uid(&self) -> &str {
        &self.mirror_uid
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it answered within the last `time`, and nothing failed since.
    #[must_use]
    pub fn was_heard_within(&self, time: Duration) -> bool {
        !self.breaker.is_open() && self.heard().is_some_and(|heard| heard.elapsed() < time)
    }

    /// Whether it was ever asked for anything.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        self.heard().is_some() || self.breaker.is_open()
    }

    pub(super) fn may_be_asked(&self) -> bool {
        self.breaker.may_be_asked()
    }

    /// Whether it failed last by not proving who it is, or not believing that we are who we are.
    #[must_use]
    pub fn is_distrusted(&self) -> bool {
        self.distrusted.load(Ordering::Relaxed)
    }

    pub(super) fn answered(&self) {
        self.distrusted.store(false, Ordering::Relaxed);
        *self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
        self.breaker.succeeded();
    }

    pub(super) fn failed(&self, distrusted: bool) {
        self.distrusted.store(distrusted, Ordering::Relaxed);
        self.breaker.failed();
    }

    fn heard(&self) -> Option<Instant> {
        *self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
