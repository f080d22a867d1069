//! Hosts that an upstream redirects to, and which of them are worth asking: one that fails is left alone for a while, and
//! the registry is not to blame.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::time::Instant;
use url::Url;

use super::{Breaker, UpstreamError, breaker::Leave};
use crate::tasks::lock;

/// Hosts remembered; beyond it all are forgotten, which costs a failure each.
const MOST: usize = 64;

/// A breaker for each of them.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(Mutex<HashMap<String, Arc<Breaker>>>);

impl Elsewhere {
    /// What comes of asking the host at `url`, unless it failed a moment ago.
    pub(super) async fn visit<T>(
        &self,
        url: &Url,
        insists: bool,
        asked: impl Future<Output = Result<T, UpstreamError>>,
    ) -> Result<T, UpstreamError> {
        let breaker = self.of(url);
        let leave = if insists { None } else { Some(breaker.may_ask().map_err(|_| UpstreamError::ElsewhereResting)?) };
        let mut visit = Visit { breaker: &breaker, _leave: leave, begun: Instant::now(), ended: false };
        let result = asked.await;
        visit.ended = true;
        let answered = result.is_ok();
        visit.breaker.note(result.as_ref().err(), answered, visit.begun, None);
        result.map_err(UpstreamError::of_referred_host)
    }

    fn of(&self, url: &Url) -> Arc<Breaker> {
        let (mut hosts, host) = (lock(&self.0), url.host_str().unwrap_or_default());
        if hosts.len() >= MOST && !hosts.contains_key(host) {
            hosts.clear();
        }
        Arc::clone(hosts.entry(host.to_owned()).or_default())
    }
}

/// A request that was given up when its time was over did not end: its host is silent.
struct Visit<'a> {
    breaker: &'a Breaker,
    _leave: Option<Leave<'a>>,
    begun: Instant,
    ended: bool,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.breaker.note(Some(&UpstreamError::Silent(self.begun.elapsed())), false, self.begun, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_silent_host_is_left_alone_and_asked_by_one_once_the_rest_is_over() {
        let (elsewhere, cdn) = (Elsewhere::default(), Url::parse("https://cdn.example/a").unwrap());
        let silent = || {
            let visit = elsewhere.visit(&cdn, false, std::future::pending::<Result<(), _>>());
            tokio::time::timeout(Duration::from_secs(8), visit)
        };
        assert!(silent().await.is_err());
        assert!(matches!(silent().await, Ok(Err(UpstreamError::ElsewhereResting))));
        let fine = |url: &Url, insists| {
            let (url, elsewhere) = (url.clone(), &elsewhere);
            async move { elsewhere.visit(&url, insists, async { Ok(()) }).await }
        };
        assert!(fine(&Url::parse("https://other.example/a").unwrap(), false).await.is_ok());
        tokio::time::advance(Duration::from_secs(1)).await;
        let (one, other) = tokio::join!(silent(), silent());
        assert!(one.is_err() && matches!(other, Ok(Err(UpstreamError::ElsewhereResting))));
        assert!(fine(&cdn, true).await.is_ok(), "a fill under way asks all the same");
        assert!(fine(&cdn, false).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_at_once_says_nothing_about_the_host() {
        let (elsewhere, cdn) = (Elsewhere::default(), Url::parse("https://cdn.example/a").unwrap());
        let visit = elsewhere.visit(&cdn, false, std::future::pending::<Result<(), _>>());
        assert!(tokio::time::timeout(Duration::from_millis(500), visit).await.is_err());
        let trouble = UpstreamError::Failing(StatusCode::BAD_GATEWAY);
        assert!(matches!(
            elsewhere.visit(&cdn, false, async { Err::<(), _>(trouble) }).await,
            Err(UpstreamError::Failing(_))
        ));
    }
}
