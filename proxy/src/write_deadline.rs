//! A deadline for writes: a client that stops reading, and does not leave, would keep its connection for ever.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// A stream whose writes fail when the peer takes nothing for `within`; a slow peer that takes a little is no failure.
#[derive(Debug)]
pub(crate) struct WriteDeadline<S> {
    stream: S,
    within: Duration,
    /// Runs while a write waits for the peer.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteDeadline<S> {
    pub(crate) fn new(stream: S, within: Duration) -> Self {
        Self { stream, within, waiting: None }
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.stream
    }

    /// A write's result, or the failure that it became by waiting.
    fn limited<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let within = self.within;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
        waiting.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteDeadline<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteDeadline<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.limited(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.limited(cx, written)
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::{Instant, sleep, timeout},
    };

    const WITHIN: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stops_reading_ends_the_write_and_a_slow_one_does_not() {
        let (ours, mut theirs) = tokio::io::duplex(100);
        let mut ours = WriteDeadline::new(ours, WITHIN);
        let reader = tokio::spawn(async move {
            for _ in 0..5 {
                sleep(WITHIN * 3 / 4).await;
                theirs.read_exact(&mut [0; 10]).await.unwrap();
            }
            theirs
        });
        let begun = Instant::now();
        let ended = timeout(WITHIN * 10, ours.write_all(&[0; 1000])).await.expect("it hangs");
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= WITHIN * 4, "{:?}", begun.elapsed());
        drop(reader.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_nothing_to_write_may_rest() {
        let (ours, mut theirs) = tokio::io::duplex(100);
        let mut ours = WriteDeadline::new(ours, WITHIN);
        for _ in 0..3 {
            ours.write_all(&[0; 100]).await.unwrap();
            sleep(WITHIN * 2).await;
            theirs.read_exact(&mut [0; 100]).await.unwrap();
        }
    }
}
