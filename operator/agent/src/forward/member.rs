//! One member as this node sees it.

use std::{net::SocketAddr, sync::Mutex, time::Duration};

use tokio::time::Instant;

use super::breaker::Breaker;

/// A member: who it is, where it is, and how it has been behaving.
#[derive(Debug)]
pub struct Member {
    id: String,
    address: SocketAddr,
    breaker: Breaker,
    heard: Mutex<Option<Instant>>,
    /// When it was last asked for its health, and what came of it; held by the one that asks.
    pub(super) checked: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

impl Member {
    /// A member that has not been asked yet. `id` outlives its address: content stays with it over restarts.
    #[must_use]
    pub fn new(id: impl Into<String>, address: SocketAddr) -> Self {
        let (breaker, heard, checked) = (Breaker::default(), Mutex::default(), tokio::sync::Mutex::default());
        Self { id: id.into(), address, breaker, heard, checked }
    }

    /// Its stable name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
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

    pub(super) fn answered(&self) {
        *self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
        self.breaker.succeeded();
    }

    pub(super) fn failed(&self) {
        self.breaker.failed();
    }

    fn heard(&self) -> Option<Instant> {
        *self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
