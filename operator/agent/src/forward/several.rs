//! TLS that gives several records at a read: by itself it gives one, and a buffer of its own for each is memory that lies
//! idle as long as a slow runtime lets it wait.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose reads fill what they are given, as far as there is something.
#[derive(Debug)]
pub(super) struct Several<S>(pub(super) S);

impl<S: AsyncRead + Unpin> AsyncRead for Several<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let begin = into.filled().len();
        loop {
            let before = into.filled().len();
            let read = Pin::new(&mut self.0).poll_read(cx, into);
            let more = matches!(read, Poll::Ready(Ok(()))) && into.filled().len() > before;
            if more && into.remaining() > 0 {
                continue;
            }
            // What failed fails again at the next read, after the bytes before it.
            return if into.filled().len() > begin { Poll::Ready(Ok(())) } else { read };
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Several<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl<S: Connection> Connection for Several<S> {
    fn connected(&self) -> Connected {
        self.0.connected()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Gives one record at a read, then has none, and fails in the end.
    struct Records(VecDeque<Option<&'static [u8]>>);

    impl AsyncRead for Records {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            match self.0.pop_front() {
                Some(Some(record)) => into.put_slice(record),
                Some(None) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_read_takes_the_records_that_are_there_and_waits_for_none() {
        let records = [Some(b"one".as_slice()), Some(b"two"), None, Some(b"three"), Some(b"end"), Some(b"x")];
        let mut stream = Several(Records(records.into()));
        let mut got = Vec::new();
        loop {
            let mut buffer = [0; 8];
            match stream.read(&mut buffer).await {
                Ok(count) => got.push(String::from_utf8_lossy(&buffer[..count]).into_owned()),
                Err(error) => break assert_eq!(error.kind(), io::ErrorKind::InvalidData),
            }
        }
        assert_eq!(got, ["onetwo", "threeend", "x"]);
    }
}
