//! Whether a member is there: asked as a runtime would, on a connection of its own, and never by two at once.

use std::{error::Error, sync::Arc, time::Duration};

use futures::future::{Either, join_all, select};
use http::{HeaderMap, Method, Response, StatusCode, uri::PathAndQuery};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Member, TlsFailure,
    exchange::{Ask, Exchange},
    headers,
};

/// By how much questions that are asked together may end apart.
pub(super) const A_MOMENT: Duration = Duration::from_millis(100);

impl Exchange {
    /// Whether a member that has been silent since `silent` is there. While that is asked its peers are too: where
    /// several died at once a pull is not to find out one after the other.
    pub(super) async fn is_there(&self, member: &Member, peers: &[Arc<Member>], silent: Instant) -> bool {
        let unsure = peers.iter().filter(|peer| {
            !std::ptr::eq(&raw const ***peer, member)
                && peer.may_be_asked()
                && !peer.was_heard_within(self.limits.silence)
        });
        let rest = join_all(unsure.map(|peer| self.is_alive(peer, silent)));
        let (own, began) = (self.is_alive(member, silent), Instant::now());
        match select(std::pin::pin!(own), std::pin::pin!(rest)).await {
            Either::Left((true, _)) => true,
            Either::Left((false, rest)) => {
                let _ = timeout_at(began + self.limits.silence + A_MOMENT, rest).await;
                false
            }
            Either::Right((_, own)) => own.await,
        }
    }

    /// Whether a member answers `GET /v2/` as a registry. Who asks while another asks hears the same; so does who has
    /// waited for it since before it was found to be dead.
    pub(super) async fn is_alive(&self, member: &Member, silent: Instant) -> bool {
        let began = Instant::now();
        let mut checked = member.checked.lock().await;
        if let Some((at, alive)) = *checked
            && at >= if alive { began } else { silent }
        {
            return alive;
        }
        let path = PathAndQuery::from_static("/v2/");
        let ask = Ask { method: Method::GET, path, headers: HeaderMap::new(), is_blob: false };
        let (Some(link), Ok(request)) = (self.links.of(member.mirror_uid()), ask.to(member)) else { return false };
        let reply = timeout(self.limits.silence, link.fresh.request(request)).await;
        let alive = matches!(&reply, Ok(Ok(reply)) if is_registry(reply));
        *checked = Some((Instant::now(), alive));
        match &reply {
            Ok(Ok(_)) if alive => member.is_well(),
            Ok(Ok(_)) => member.misbehaved(),
            Ok(Err(error)) => self.failed(member, error),
            Err(error) => {
                self.failed(member, error);
                // Not where the connection was refused: a member that stops ends what it began.
                member.died.notify_waiters();
            }
        }
        alive
    }

    /// Notes that a member failed.
    pub(super) fn failed(&self, member: &Member, error: &(dyn Error + 'static)) {
        let tls = TlsFailure::behind(error);
        if let Some(tls) = tls {
            self.metrics.count_tls_failure(tls);
        }
        member.failed(tls.is_some_and(TlsFailure::is_distrust));
        self.failures.notify_one();
        tracing::debug!(member.id = member.id(), member.address = %member.address(), error, ?tls, "member failed");
    }
}

fn is_registry(reply: &Response<Incoming>) -> bool {
    reply.status() == StatusCode::OK && reply.headers().contains_key(headers::API_VERSION)
}
