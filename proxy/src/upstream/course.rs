//! What one request meets on its way, for who judges what came of it.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::StatusCode;

use super::{error::retry_after, token::Who};
use crate::tasks::lock;

/// The course of one request.
#[derive(Debug, Default)]
pub(super) struct Course {
    insists: bool,
    answered: AtomicBool,
    retry_after: Mutex<Option<Duration>>,
    as_nobody: AtomicBool,
}

impl Course {
    /// Of a request that may ask also who failed a moment ago.
    pub(super) fn new(insists: bool) -> Self {
        Self { insists, ..Self::default() }
    }

    pub(super) fn insists(&self) -> bool {
        self.insists
    }

    /// Takes note of as whom it goes from here.
    pub(super) fn go_as(&self, who: Who) {
        self.as_nobody.store(who == Who::Nobody, Ordering::Relaxed);
    }

    /// Whether it went as anybody could, at last.
    pub(super) fn is_as_nobody(&self) -> bool {
        self.as_nobody.load(Ordering::Relaxed)
    }

    /// Takes note of what the registry itself answered.
    pub(super) fn hear(&self, answer: &reqwest::Response) {
        self.answered.store(answer.status() != StatusCode::UNAUTHORIZED, Ordering::Relaxed);
        *lock(&self.retry_after) = retry_after(answer.headers());
    }

    /// Whether the registry itself answered, and not with a challenge: then a failure is that of a host it redirected to.
    pub(super) fn answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// How long the registry wants to be left alone, where it said so.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        *lock(&self.retry_after)
    }
}
