//! A reply's body on its way from a member to the runtime. Where it breaks, another member goes on from there; where
//! none can, the connection ends with FIN, at which runtimes resume by themselves. It never ends early and cleanly.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tidepool_oci::{ContentRange, Window};
use tokio::time::{Instant, Sleep};

use super::{
    Member,
    exchange::{Ask, Exchange},
    headers,
};

/// How often a body may go on elsewhere.
const RESUMES: u32 = 2;

/// A body broke and could not be resumed.
#[derive(Debug, thiserror::Error)]
#[error("body broke off after {sent} bytes")]
pub struct BodyError {
    sent: u64,
}

/// The body of a reply to the runtime.
#[derive(Debug)]
pub struct ReplyBody(Kind);

#[derive(Debug)]
enum Kind {
    Text(Full<Bytes>),
    Relay(Box<RelayBody>),
}

impl ReplyBody {
    pub(super) fn empty() -> Self {
        Self(Kind::Text(Full::default()))
    }

    pub(super) fn text(text: Vec<u8>) -> Self {
        Self(Kind::Text(Full::new(text.into())))
    }

    pub(super) fn relay(relay: RelayBody) -> Self {
        Self(Kind::Relay(Box::new(relay)))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().0 {
            Kind::Text(text) => Pin::new(text).poll_frame(cx).map_err(|never| match never {}),
            Kind::Relay(relay) => relay.poll_bytes(cx).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Text(text) => text.is_end_stream(),
            Kind::Relay(relay) => relay.length == Some(relay.sent),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Text(text) => text.size_hint(),
            Kind::Relay(relay) => {
                relay.length.map_or_else(SizeHint::new, |length| SizeHint::with_exact(length - relay.sent))
            }
        }
    }
}

/// A member's body, passed on.
#[derive(Debug)]
pub(super) struct RelayBody {
    state: State,
    sent: u64,
    length: Option<u64>,
    idle: Duration,
    idle_until: Pin<Box<Sleep>>,
}

type Resumed = Pin<Box<dyn Future<Output = (Option<Incoming>, Resumer)> + Send>>;

enum State {
    Flowing(Incoming, Option<Box<Resumer>>),
    Resuming(Resumed),
    Ended,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Flowing(..) => "Flowing",
            Self::Resuming(_) => "Resuming",
            Self::Ended => "Ended",
        })
    }
}

impl RelayBody {
    pub(super) fn new(body: Incoming, length: Option<u64>, resumer: Option<Resumer>, idle: Duration) -> Self {
        let idle_until = Box::pin(tokio::time::sleep(idle));
        Self { state: State::Flowing(body, resumer.map(Box::new)), sent: 0, length, idle, idle_until }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            match &mut self.state {
                State::Flowing(body, _) => match Pin::new(body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        // Trailers mean nothing to a registry's client.
                        let Ok(bytes) = frame.into_data() else { continue };
                        self.sent += bytes.len() as u64;
                        self.idle_until.as_mut().reset(Instant::now() + self.idle);
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                    Poll::Ready(None) if self.length.is_none_or(|length| length == self.sent) => {
                        self.state = State::Ended;
                        return Poll::Ready(None);
                    }
                    Poll::Ready(None | Some(Err(_))) => self.broke(),
                    Poll::Pending => {
                        ready!(self.idle_until.as_mut().poll(cx));
                        self.broke();
                    }
                },
                State::Resuming(resumed) => {
                    let (body, resumer) = ready!(resumed.as_mut().poll(cx));
                    self.idle_until.as_mut().reset(Instant::now() + self.idle);
                    self.state = body.map_or(State::Ended, |body| State::Flowing(body, Some(Box::new(resumer))));
                    if matches!(self.state, State::Ended) {
                        return Poll::Ready(Some(Err(BodyError { sent: self.sent })));
                    }
                }
                State::Ended => return Poll::Ready(Some(Err(BodyError { sent: self.sent }))),
            }
        }
    }

    /// The body broke: goes on with another member where that is possible.
    fn broke(&mut self) {
        let sent = self.sent;
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Flowing(_, Some(resumer)) if resumer.left > 0 => State::Resuming(Box::pin(resumer.resume(sent))),
            State::Flowing(..) | State::Resuming(_) | State::Ended => State::Ended,
        };
    }
}

/// How a body goes on after a break.
#[derive(Debug)]
pub(super) struct Resumer {
    exchange: Arc<Exchange>,
    ask: Ask,
    /// In the order in which they are asked.
    members: Vec<Arc<Member>>,
    range: ContentRange,
    left: u32,
}

impl Resumer {
    pub(super) fn new(exchange: Arc<Exchange>, ask: Ask, members: Vec<Arc<Member>>, range: ContentRange) -> Self {
        Self { exchange, ask, members, range, left: RESUMES }
    }

    /// Asks for what is missing after `sent` bytes: the other members first, at last the one that broke.
    async fn resume(mut self, sent: u64) -> (Option<Incoming>, Self) {
        let deadline = Instant::now() + self.exchange.limits.blob;
        let missing = Window { start: self.range.window.start + sent, end: self.range.window.end };
        let Some(ask) = self.ask_for(missing) else { return (None, self) };
        while self.left > 0 {
            self.left -= 1;
            let Some(member) = self.members.first().cloned() else { break };
            self.members.rotate_left(1);
            let reply = self.exchange.ask(&member, &ask, deadline).await;
            let Some(reply) = reply.ok().filter(|reply| reply.status() == StatusCode::PARTIAL_CONTENT) else {
                continue;
            };
            // Anything but exactly the missing bytes of a blob of this size would corrupt what the runtime has.
            if headers::content_range(reply.headers()) == Some(ContentRange { window: missing, ..self.range }) {
                self.exchange.metrics.count_resume(true);
                return (Some(reply.into_body()), self);
            }
        }
        self.exchange.metrics.count_resume(false);
        (None, self)
    }

    fn ask_for(&self, missing: Window) -> Option<Ask> {
        let mut ask = self.ask.clone();
        let last = missing.end.checked_sub(1).filter(|last| *last >= missing.start)?;
        let range = HeaderValue::from_str(&format!("bytes={}-{last}", missing.start)).ok()?;
        ask.headers.insert(header::RANGE, range);
        ask.headers.remove(header::IF_RANGE);
        Some(ask)
    }
}
