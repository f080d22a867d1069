//! What came of asking an upstream last, for who looks from outside.

use std::sync::Mutex;

use tidepool_config::Reach;
use tidepool_runtime::with_causes;

use super::UpstreamError;
use crate::tasks::lock;

/// The last word on whether an upstream is well.
#[derive(Debug, Default)]
pub(super) struct LastWord(Mutex<(Reach, Option<String>)>);

impl LastWord {
    pub(super) fn note(&self, error: Option<&UpstreamError>) {
        let reach = match error {
            // These say nothing about it.
            Some(
                UpstreamError::Resting
                | UpstreamError::Stopped
                | UpstreamError::CredentialsRefused
                | UpstreamError::Crowded
                | UpstreamError::Redirect(_)
                | UpstreamError::Cut(_),
            ) => return,
            Some(UpstreamError::Limited { .. }) => Reach::RateLimited,
            Some(UpstreamError::Failing(status)) if status.is_server_error() => Reach::Unreachable,
            Some(UpstreamError::Unreachable(_) | UpstreamError::Elsewhere(_) | UpstreamError::Silent(_)) => {
                Reach::Unreachable
            }
            None
            | Some(
                UpstreamError::Failing(_)
                | UpstreamError::Gone(_)
                | UpstreamError::Refused(_)
                | UpstreamError::Garbage(_),
            ) => Reach::Reachable,
        };
        let message = error.filter(|_| reach != Reach::Reachable).map(|error| with_causes(error));
        *lock(&self.0) = (reach, message);
    }

    pub(super) fn get(&self) -> (Reach, Option<String>) {
        lock(&self.0).clone()
    }
}
