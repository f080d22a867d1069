//! How a body goes on where it stalls or breaks: by a second request to the same member for the rest, where that is alive;
//! by another member where it is not.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::{Fuse, FutureExt as _};
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::{Response, body::Incoming};
use tidepool_oci::{ContentRange, Window};
use tokio::time::{Instant, sleep_until};

use super::{
    Member,
    exchange::{Ask, Exchange},
    headers,
};
use crate::metrics::Resumed;

/// What was asked, and of whom.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) exchange: Arc<Exchange>,
    pub(super) ask: Ask,
    /// The mirror's, in the order in which they are asked.
    pub(super) members: Vec<Arc<Member>>,
    /// What the body holds; none where it cannot be asked for by parts.
    pub(super) range: Option<ContentRange>,
}

/// Where a body is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Which of the members sends it.
    pub(super) member: usize,
    /// How many bytes came so far.
    pub(super) sent: u64,
    /// Since when whoever sends it has been silent.
    pub(super) silent: Instant,
    /// Since when no byte came, from whomever.
    pub(super) dry: Instant,
    /// How often it may be asked for at another member, and a second time at the same.
    pub(super) resumes: u32,
    pub(super) hedges: u32,
}

/// The rest of a body.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) body: Incoming,
    /// Bytes of it that came already.
    pub(super) first: Bytes,
    pub(super) place: Place,
}

impl Course {
    /// A body came to a halt at `place`, on a connection that is still there. Ends with the rest of it from elsewhere;
    /// with none where nobody else has it. Whoever waits drops this once the connection goes on after all.
    pub(super) async fn halted(&self, place: Place) -> Option<Rest> {
        let (limits, mut patience) = (self.exchange.limits, Duration::ZERO);
        let end = place.dry + limits.stands_still();
        let member = Arc::clone(self.members.get(place.member)?);
        let mut hedge = pin!(Fuse::terminated());
        loop {
            let question = async {
                sleep_until((Instant::now() + patience).min(end)).await;
                self.exchange.is_there(&member, &self.members, place.silent).await
            };
            let is_there = tokio::select! {
                rest = &mut hedge => match rest {
                    Some(rest) => return Some(rest),
                    None => continue,
                },
                is_there = question => is_there,
                () = sleep_until(end) => {
                    // Longer than it bears of an upstream, on two connections: the runtime's next try is not to end here.
                    member.misbehaved();
                    return self.broken(place).await;
                }
            };
            if !is_there {
                return self.broken(place).await;
            }
            if patience.is_zero() && place.hedges > 0 {
                hedge.set(self.again(&member, place).fuse());
            }
            patience = limits.more_patience(patience.max(limits.silence / 2));
        }
    }

    /// Asks the member that stalls for the rest, on another connection; until a byte comes.
    async fn again(&self, member: &Member, place: Place) -> Option<Rest> {
        let (ask, missing) = self.rest(place.sent)?;
        let reply = self.exchange.ask_apart(member, &ask).await.ok()?;
        let mut body = self.believed(reply, missing)?;
        loop {
            let frame = body.frame().await?.ok()?;
            if let Ok(first) = frame.into_data()
                && !first.is_empty()
            {
                self.exchange.metrics.count_resume(Resumed::Hedged);
                return Some(Rest { body, first, place });
            }
        }
    }

    /// A body broke off at `place`: asks the other members for the rest, at last the one that broke.
    pub(super) async fn broken(&self, mut place: Place) -> Option<Rest> {
        let limits = self.exchange.limits;
        let deadline = (Instant::now() + limits.blob).min(place.dry + limits.idle);
        let rest = self.rest(place.sent);
        if let Some((ask, missing)) = rest {
            let count = self.members.len();
            let others = (1..=count).map(|step| (place.member + step) % count);
            // Those that are known to be away cost seconds that nobody has.
            for at in others.filter(|at| self.members.get(*at).is_some_and(|member| member.may_be_asked())) {
                let Some(member) = self.members.get(at).filter(|_| place.resumes > 0) else { break };
                place.resumes -= 1;
                let reply = self.exchange.ask(member, &self.members, &ask, deadline).await;
                if let Some(body) = reply.ok().and_then(|reply| self.believed(reply, missing)) {
                    self.exchange.metrics.count_resume(Resumed::Completed);
                    let place = Place { member: at, silent: Instant::now(), ..place };
                    return Some(Rest { body, first: Bytes::new(), place });
                }
            }
        }
        None
    }

    /// What is missing after `sent` bytes, and how to ask for it.
    fn rest(&self, sent: u64) -> Option<(Ask, Window)> {
        let range = self.range?;
        let missing = Window { start: range.window.start + sent, end: range.window.end };
        let last = missing.end.checked_sub(1).filter(|last| *last >= missing.start)?;
        let mut ask = self.ask.clone();
        ask.headers.insert(header::RANGE, HeaderValue::from_str(&format!("bytes={}-{last}", missing.start)).ok()?);
        ask.headers.remove(header::IF_RANGE);
        Some((ask, missing))
    }

    /// The body of a reply that has exactly the missing bytes of a blob of this size: anything else would corrupt what
    /// the runtime has.
    fn believed(&self, reply: Response<Incoming>, missing: Window) -> Option<Incoming> {
        let expected = self.range.map(|range| ContentRange { window: missing, ..range });
        let is_it = reply.status() == StatusCode::PARTIAL_CONTENT
            && headers::content_range(reply.headers()) == expected
            && headers::content_length(reply.headers()) == Some(missing.len());
        is_it.then(|| reply.into_body())
    }
}
