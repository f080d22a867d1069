//! Who may ask an upstream, and what the end of a request says about it.

use tokio::time::Instant;

use super::{Ask, Upstream, UpstreamError, breaker::Leave, course::Course, reach::seconds_now};
use crate::metrics::Class;

impl Ask<'_> {
    /// Whether it is for a list: registries gather those for long, limit them sooner and refuse what a client may put into
    /// the query. That says nothing about pulls.
    fn is_list(&self) -> bool {
        matches!(self.class, Class::Tags | Class::Referrers)
    }
}

impl Upstream {
    /// Leave to ask, unless the upstream is left alone. A fill under way resumes in its own rhythm.
    pub(super) fn leave(&self, ask: &Ask<'_>) -> Result<Option<Leave<'_>>, UpstreamError> {
        if ask.insist {
            return Ok(None);
        }
        if ask.is_list() {
            self.lists.may_pass()?;
        }
        // Of these much is not noted: they would have the others wait for nothing.
        if ask.is_list() || ask.anonymously {
            return self.breaker.may_pass().map(|()| None);
        }
        self.breaker.may_ask().map(Some)
    }

    /// Takes note of how a request that was `begun` then ended, as far as that says something about the upstream.
    pub(super) fn note(&self, ask: &Ask<'_>, course: &Course, begun: Instant, error: Option<&UpstreamError>) {
        // Where the registry itself answered, a failure is that of a host it redirected to.
        let (answered, retry_after) = (course.answered(), course.retry_after());
        let of_us = error.is_none_or(|error| !course.is_as_nobody() || !self.is_of_stranger(error));
        let of_lists = matches!(error, Some(UpstreamError::Limited { .. } | UpstreamError::Failing(_)));
        // Not that one came, either: a page for people does, and whoever found out that it is none had the upstream rest.
        let of_all = matches!(error, Some(UpstreamError::Unreachable(_) | UpstreamError::Realm(_)));
        if of_us && ask.is_list() && of_lists {
            self.lists.note(error, answered, begun, retry_after);
        }
        if of_us && (of_all || !ask.is_list()) {
            self.breaker.note(error, answered, begun, retry_after);
            self.last.note(error);
            if let Some(left) = self.breaker.rests().limited {
                self.metrics.upstream_health().retry_after(self.name(), seconds_now() + left.as_secs() + 1);
            }
        }
    }

    /// Whether what a stranger met need not be what we meet: strangers are limited sooner than we are, and whoever has no
    /// certificate may not even get through.
    fn is_of_stranger(&self, error: &UpstreamError) -> bool {
        match error {
            UpstreamError::Limited { .. } => self.scope().is_some(),
            UpstreamError::Unreachable(_) | UpstreamError::Realm(_) | UpstreamError::Failing(_) => self.has_identity(),
            _ => false,
        }
    }
}
