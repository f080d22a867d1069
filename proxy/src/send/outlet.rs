//! A connection that sends what was lent to it from the file.

use std::{
    io::{self, IoSlice},
    os::unix::fs::FileExt as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::{fs::sendfile, io::Errno, net::SendFlags};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use super::{
    Lender,
    lend::{First, Loan},
};

/// Read and written at once where the kernel cannot send from that file.
const COPIED: usize = 64 << 10;

/// A TCP stream to which files can be lent.
#[derive(Debug)]
pub(crate) struct Outlet {
    stream: TcpStream,
    lender: Lender,
    /// Whether small packets wait until there is more: while a file is being sent, for the kernel sends one in pieces and
    /// would push each, which costs a fifth more.
    gathers: bool,
}

impl Outlet {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, lender: Lender::default(), gathers: false }
    }

    /// For bodies sent on this connection, as its requests carry it.
    pub(crate) fn lender(&self) -> Lender {
        self.lender.clone()
    }

    fn gather(&mut self, gathers: bool) {
        if self.gathers != gathers && self.stream.set_nodelay(!gathers).is_ok() {
            self.gathers = gathers;
        }
    }

    /// Tries until the socket is full. `send` runs within `try_io`, so that a full socket wakes us when it is not.
    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        send: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_io(Interest::WRITABLE, || send(&self.stream)) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl Loan {
    fn send(&self, stream: &TcpStream) -> io::Result<usize> {
        let mut offset = self.offset;
        match sendfile(stream, &*self.file, Some(&mut offset), self.len) {
            // Never a spin: a file that is cut short breaks the connection, as the length that was promised cannot be kept.
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends too early")),
            Ok(sent) => {
                self.sent.inc_by(sent as u64);
                Ok(sent)
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.copy(stream),
            Err(error) => Err(error.into()),
        }
    }

    /// For file systems without `sendfile`. What does not fit is read again.
    fn copy(&self, stream: &TcpStream) -> io::Result<usize> {
        let mut piece = vec![0; self.len.min(COPIED)];
        self.file.read_exact_at(&mut piece, self.offset)?;
        Ok(rustix::io::write(stream, &piece)?)
    }
}

impl AsyncRead for Outlet {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Outlet {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.lender.first(slices) {
            First::Lent(loan) => {
                self.gather(true);
                self.poll_send(cx, |stream| loan.send(stream))
            }
            // A head and the file's first bytes in one packet.
            First::Memory { slices: 1, lent_next: true } => {
                self.poll_send(cx, |stream| Ok(rustix::net::send(stream, &slices[0], SendFlags::MORE)?))
            }
            First::Memory { slices: count, .. } => Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..count]),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.gather(false); // sends what has waited
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write as _, sync::Arc, time::Duration};

    use bytes::Bytes;
    use prometheus_client::metrics::counter::Counter;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::write_deadline::WriteDeadline;

    const SIZE: usize = 8 << 20;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, theirs)
    }

    fn content() -> Vec<u8> {
        (0..SIZE).map(|at| u8::try_from((at * 31 / 7) & 0xff).unwrap()).collect()
    }

    fn file(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(file)
    }

    async fn write(outlet: &mut (impl AsyncWrite + Unpin), mut pieces: &[Bytes]) -> io::Result<()> {
        let mut done = 0;
        while let Some(first) = pieces.first() {
            let mut slices = vec![IoSlice::new(&first[done..])];
            slices.extend(pieces[1..].iter().map(|piece| IoSlice::new(piece)));
            done += outlet.write_vectored(&slices).await?;
            while pieces.first().is_some_and(|piece| done >= piece.len()) {
                done -= pieces[0].len();
                pieces = &pieces[1..];
            }
        }
        Ok(())
    }

    #[tokio::test]
    async fn memory_and_what_is_lent_arrive_in_order_and_only_memory_is_copied() {
        let (ours, mut theirs) = pair().await;
        let (mut outlet, sent, bytes) = (Outlet::new(ours), Counter::default(), content());
        let lent = outlet.lender().lend(&file(&bytes), SIZE as u64, sent.clone()).unwrap();
        let (a, b) = (Bytes::from_static(b"head"), Bytes::from_static(b"between"));
        let pieces = [a, lent.slice(5..SIZE / 2), lent.slice(SIZE / 2..), b, lent.slice(..7), lent.slice(1..2)];
        let expected: Vec<_> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        let writing = tokio::spawn(async move { write(&mut outlet, &pieces).await.unwrap() });
        let mut got = vec![0; expected.len()];
        theirs.read_exact(&mut got).await.unwrap();
        writing.await.unwrap();
        assert!(got == expected);
        assert_eq!(sent.get(), (SIZE - 5 + 7 + 1) as u64);
    }

    #[tokio::test]
    async fn a_region_is_known_as_long_as_a_slice_of_it_lives() {
        let outlet = Outlet::new(pair().await.0);
        let lent = outlet.lender().lend(&file(b"0123456789"), 10, Counter::default()).unwrap();
        let slice = lent.slice(3..4);
        drop(lent);
        let first = outlet.lender.first(&[IoSlice::new(&slice)]);
        assert!(matches!(&first, First::Lent(Loan { offset: 3, len: 1, .. })), "{first:?}");
        drop(slice);
        let first = outlet.lender.first(&[IoSlice::new(b"0")]);
        assert!(matches!(first, First::Memory { slices: 1, lent_next: false }), "{first:?}");
    }

    #[tokio::test]
    async fn a_file_cut_short_is_an_error_and_nobody_reads_the_map() {
        let (ours, mut theirs) = pair().await;
        let (mut outlet, file) = (Outlet::new(ours), file(&content()));
        let lent = outlet.lender().lend(&file, SIZE as u64, Counter::default()).unwrap();
        file.set_len(100_000).unwrap(); // to read the map behind this would end the process
        let ended = write(&mut outlet, &[lent]).await.unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
        drop(outlet);
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        assert!(got == content()[..100_000]);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_of_what_is_lent_ends_the_write() {
        let (ours, _theirs) = pair().await;
        let outlet = Outlet::new(ours);
        let (lender, file) = (outlet.lender(), file(&content()));
        let mut outlet = WriteDeadline::new(outlet, Duration::from_millis(200));
        let lent = lender.lend(&file, SIZE as u64, Counter::default()).unwrap();
        let pieces = vec![lent; 4];
        let writing = tokio::time::timeout(Duration::from_secs(20), write(&mut outlet, &pieces));
        assert_eq!(writing.await.expect("it hangs").unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(outlet.flush().await.is_ok());
    }
}
