//! A deadline for the head of a request that has begun: slower than any network, a client only holds a place.
//!
//! Between requests a connection may idle for longer, which is hyper's timeout.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// Which request a connection is at: odd while one is being answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn(Arc<AtomicU64>);

impl Turn {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A head is whole: until the answer's body is dropped, the turn is the server's.
    pub(super) fn answer(&self) -> Answering {
        self.0.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }
}

/// An answer that is not at its end.
#[derive(Debug)]
pub(super) struct Answering(Turn);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Answering {
    /// The body of the answer, at whose end it is the client's turn again.
    pub(super) fn with<B>(self, body: B) -> Answer<B> {
        Answer { body, _answering: self }
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Answer<B> {
    body: B,
    _answering: Answering,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose reads fail when the head of a request takes longer than `within`.
#[derive(Debug)]
pub(super) struct HeadDeadline<S> {
    stream: S,
    within: Duration,
    turn: Turn,
    /// The turn of the head that has begun, and the end of its time once we wait for more of it.
    begun: Option<(u64, Option<Pin<Box<Sleep>>>)>,
}

impl<S> HeadDeadline<S> {
    pub(super) fn new(stream: S, within: Duration, turn: Turn) -> Self {
        Self { stream, within, turn, begun: None }
    }

    /// Waits for more of the head, not for ever.
    fn waiting(&mut self, cx: &mut Context<'_>, turn: u64) -> Poll<io::Result<()>> {
        let within = self.within;
        let Some((of, end)) = self.begun.as_mut().filter(|_| turn.is_multiple_of(2)) else { return Poll::Pending };
        if *of != turn {
            self.begun = None;
            return Poll::Pending;
        }
        ready!(end.get_or_insert_with(|| Box::pin(tokio::time::sleep(within))).as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the head of a request took too long")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadDeadline<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, turn) = (into.filled().len(), self.turn.now());
        if Pin::new(&mut self.stream).poll_read(cx, into)?.is_pending() {
            return self.waiting(cx, turn);
        }
        // What comes while an answer is on its way is the next head, whose time begins when that is at its end.
        let of = turn.next_multiple_of(2);
        if into.filled().len() > before && self.begun.as_ref().is_none_or(|(begun, _)| *begun != of) {
            self.begun = Some((of, None));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadDeadline<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
