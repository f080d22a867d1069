//! One member as this node sees it.

use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

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
    /// Tells those who wait for it that nothing will come.
    pub(super) died: Notify,
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
            died: Notify::new(),
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

    /// Whether pulls may go there. One that was never asked is believed to be there: it is Ready.
    #[must_use]
    pub fn may_be_asked(&self) -> bool {
        !self.breaker.is_open()
    }

    /// Whether it answered within the last `time`, and nothing failed since.
    #[must_use]
    pub fn was_heard_within(&self, time: Duration) -> bool {
        self.may_be_asked() && self.heard().is_some_and(|heard| heard.elapsed() < time)
    }

    /// Whether it was ever asked for anything.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        self.heard().is_some() || self.breaker.is_open()
    }

    /// When it is to be asked whether it is back; none while pulls go there.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.breaker.due()
    }

    /// Whether it failed last by not proving who it is, or not believing that we are who we are.
    #[must_use]
    pub fn is_distrusted(&self) -> bool {
        self.distrusted.load(Ordering::Relaxed)
    }

    /// It is to be asked again at once: this agent has another identity.
    pub fn ask_now(&self) {
        self.breaker.ask_now();
    }

    /// It answered: a pull, or about its health.
    pub(super) fn is_well(&self) {
        self.is_heard();
        self.breaker.is_well();
    }

    pub(super) fn failed(&self, distrusted: bool) {
        self.distrusted.store(distrusted, Ordering::Relaxed);
        self.breaker.failed();
    }

    pub(super) fn misbehaved(&self) {
        self.breaker.misbehaved();
    }

    fn is_heard(&self) {
        self.distrusted.store(false, Ordering::Relaxed);
        *self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
    }

    fn heard(&self) -> Option<Instant> {
        *self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
