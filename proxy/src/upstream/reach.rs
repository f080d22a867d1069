//! What came of asking an upstream last, for who looks from outside.

use std::{
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use tidepool_config::{Failure, Reach};
use tidepool_runtime::with_causes;

use super::UpstreamError;
use crate::tasks::lock;

/// The last word on whether an upstream is well.
#[derive(Debug, Default)]
pub(super) struct LastWord(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    reach: Reach,
    message: Option<String>,
    /// Stays when it is well again.
    failure: Option<Failure>,
}

impl LastWord {
    pub(super) fn note(&self, error: Option<&UpstreamError>) {
        let reach = match error {
            // These say nothing about it.
            Some(
                UpstreamError::Resting
                | UpstreamError::ElsewhereResting
                | UpstreamError::Stopped
                | UpstreamError::CredentialsRefused
                | UpstreamError::Crowded
                | UpstreamError::Redirect(_)
                | UpstreamError::Cut(_),
            ) => return,
            Some(UpstreamError::Limited { .. }) => Reach::RateLimited,
            Some(UpstreamError::Failing(status) | UpstreamError::ElsewhereFailing(status))
                if status.is_server_error() =>
            {
                Reach::Unreachable
            }
            Some(
                UpstreamError::Unreachable(_)
                | UpstreamError::Elsewhere(_)
                | UpstreamError::Realm(_)
                | UpstreamError::Silent(_),
            ) => Reach::Unreachable,
            None
            | Some(
                UpstreamError::Failing(_)
                | UpstreamError::ElsewhereFailing(_)
                | UpstreamError::Gone(_)
                | UpstreamError::Refused(_)
                | UpstreamError::Garbage(_),
            ) => Reach::Reachable,
        };
        let message = error.filter(|_| reach != Reach::Reachable).map(|error| with_causes(error));
        let failure = message.clone().map(|message| Failure { at: seconds_now(), message });
        let mut said = lock(&self.0);
        said.failure = failure.or(said.failure.take());
        (said.reach, said.message) = (reach, message);
    }

    pub(super) fn get(&self) -> (Reach, Option<String>) {
        let said = lock(&self.0);
        (said.reach, said.message.clone())
    }

    /// The last failure, also when it is well again.
    pub(super) fn failure(&self) -> Option<Failure> {
        lock(&self.0).failure.clone()
    }
}

/// Unix time.
pub(super) fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
