//! A reply's body on its way from a member to the runtime. Where it stalls or breaks it goes on as [`Course`] can; where
//! that has nothing, the connection ends with FIN, at which runtimes resume by themselves. It never ends early and
//! cleanly.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::course::{Course, Place, Rest};
use crate::metrics::Resumed;

/// How often a body may go on at another member.
const RESUMES: u32 = 4;
/// How often it may be asked for a second time at the same member.
const HEDGES: u32 = 8;

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

    pub(super) fn text(text: impl Into<Bytes>) -> Self {
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
            Kind::Relay(relay) => relay.length == Some(relay.place.sent),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Text(text) => text.size_hint(),
            Kind::Relay(relay) => {
                relay.length.map_or_else(SizeHint::new, |length| SizeHint::with_exact(length - relay.place.sent))
            }
        }
    }
}

/// A member's body, passed on.
#[derive(Debug)]
pub(super) struct RelayBody {
    state: State,
    course: Arc<Course>,
    place: Place,
    length: Option<u64>,
    /// Whether the last look found no bytes: only then is the member silent, and not the runtime slow.
    waits: bool,
    /// Whether none came from whoever sends it now.
    dry: bool,
    /// Goes off no later than a silence after the last byte.
    alarm: Pin<Box<Sleep>>,
}

type Coming = Pin<Box<dyn Future<Output = Option<Rest>> + Send>>;

enum State {
    Flowing(Incoming),
    /// No byte came for a while: what comes first goes on.
    Halted(Incoming, Coming),
    Broken(Coming),
    Ended,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Flowing(_) => "Flowing",
            Self::Halted(..) => "Halted",
            Self::Broken(_) => "Broken",
            Self::Ended => "Ended",
        })
    }
}

/// What a look at a member's body found.
enum Look {
    Bytes(Bytes),
    End,
    Break,
}

impl RelayBody {
    pub(super) fn new(body: Incoming, length: Option<u64>, course: Course, member: usize) -> Self {
        let silent = Instant::now();
        let alarm = Box::pin(tokio::time::sleep(course.exchange.limits.silence));
        let place = Place { member, sent: 0, silent, dry: silent, resumes: RESUMES, hedges: HEDGES };
        Self { state: State::Flowing(body), course: Arc::new(course), place, length, waits: false, dry: false, alarm }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            if let State::Flowing(body) | State::Halted(body, _) = &mut self.state
                && let Poll::Ready(look) = look(body, cx)
            {
                match look {
                    Look::Bytes(bytes) => return self.moved(bytes),
                    Look::End if self.length.is_none_or(|length| length == self.place.sent) => {
                        self.state = State::Ended;
                        return Poll::Ready(None);
                    }
                    Look::End | Look::Break => self.broke(),
                }
                continue;
            }
            match &mut self.state {
                State::Flowing(_) => ready!(self.poll_silence(cx)),
                State::Halted(_, coming) | State::Broken(coming) => match ready!(coming.as_mut().poll(cx)) {
                    None => {
                        self.course.exchange.metrics.count_resume(Resumed::Broken);
                        self.state = State::Ended;
                    }
                    Some(rest) => {
                        self.place = Place { hedges: self.place.hedges, ..rest.place };
                        self.state = State::Flowing(rest.body);
                        (self.waits, self.dry) = (false, true);
                        if !rest.first.is_empty() {
                            return self.moved(rest.first);
                        }
                    }
                },
                State::Ended => return Poll::Ready(Some(Err(BodyError { sent: self.place.sent }))),
            }
        }
    }

    /// Bytes came; whatever was tried meanwhile is dropped.
    fn moved(&mut self, bytes: Bytes) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Halted(body, _) => State::Flowing(body),
            state => state,
        };
        (self.waits, self.dry) = (false, false);
        self.place.sent += bytes.len() as u64;
        Poll::Ready(Some(Ok(bytes)))
    }

    /// Waits until the member has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !std::mem::replace(&mut self.waits, true) {
            self.place.silent = Instant::now();
            if !self.dry {
                self.place.dry = self.place.silent;
            }
        }
        let end = self.place.silent + self.course.exchange.limits.silence;
        loop {
            // Set anew only when it goes off: bytes come far more often.
            ready!(self.alarm.as_mut().poll(cx));
            if Instant::now() >= end {
                break;
            }
            self.alarm.as_mut().reset(end);
        }
        let (course, place) = (Arc::clone(&self.course), self.place);
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Flowing(body) => State::Halted(body, Box::pin(async move { course.halted(place).await })),
            state => state,
        };
        self.place.hedges = self.place.hedges.saturating_sub(1);
        Poll::Ready(())
    }

    /// The body broke: goes on with another member where that is possible.
    fn broke(&mut self) {
        // Bytes came until now: a runtime that did not take them for long costs the rest no time.
        if !self.waits && !self.dry {
            self.place.dry = Instant::now();
        }
        let (course, place) = (Arc::clone(&self.course), self.place);
        self.state = State::Broken(Box::pin(async move { course.broken(place).await }));
    }
}

fn look(body: &mut Incoming, cx: &mut Context<'_>) -> Poll<Look> {
    loop {
        match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            // Trailers mean nothing to a registry's client.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) if !bytes.is_empty() => return Poll::Ready(Look::Bytes(bytes)),
                _ => {}
            },
            None => return Poll::Ready(Look::End),
            Some(Err(_)) => return Poll::Ready(Look::Break),
        }
    }
}
