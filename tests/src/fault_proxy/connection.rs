//! One connection of a client: request after request, each with the fault that is meant for it.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::{set_socket_linger, set_socket_send_buffer_size};

use super::damage::{Damage, Ending};
use super::head::Head;
use super::record::Exchange;
use super::trickle::Trickle;
use super::{Fault, Shared, lock};

/// What waits in the kernel counts as sent, so little may.
const SEND_BUFFER: usize = 128 << 10;
/// A registry on loopback that says nothing for this long is broken, and so is the test.
const BACKEND_WITHIN: Duration = Duration::from_secs(60);

/// Whether the connection may carry another request.
enum Next {
    Request,
    End,
}

pub(super) fn serve(shared: &Arc<Shared>, client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    set_socket_send_buffer_size(&client, SEND_BUFFER)?;
    let mut requests = BufReader::new(client.try_clone()?);
    let mut client = Client { shared: Arc::clone(shared), stream: client };
    while let Some(request) = Head::read(&mut requests)? {
        if let Next::End = client.exchange(request)? {
            break;
        }
    }
    // Every clone of the socket has to go before the peer sees the end.
    client.stream.shutdown(Shutdown::Both)
}

struct Client {
    shared: Arc<Shared>,
    stream: TcpStream,
}

impl Client {
    fn exchange(&mut self, mut request: Head) -> io::Result<Next> {
        let (method, path) = (request.word(0).to_owned(), request.word(1).to_owned());
        let range = request.get("range").map(str::to_owned);
        let number = self.shared.records.begun(Exchange {
            method: method.clone(),
            path: path.clone(),
            range,
            status: None,
            bytes: 0,
        });
        let fault = self.shared.fault_of(&method, &path);
        match &fault {
            Some(Fault::Hold) => return self.hold(),
            Some(Fault::Status(status)) => return self.say(number, *status, ""),
            Some(Fault::Redirect(to)) => return self.say(number, 307, &format!("location: {to}{path}\r\n")),
            _ => {}
        }
        request.set("connection", "close");
        let mut backend = TcpStream::connect(self.shared.backend)?;
        backend.set_read_timeout(Some(BACKEND_WITHIN))?;
        backend.write_all(&request.bytes())?;
        let mut answer = BufReader::new(backend);
        let mut head = Head::read(&mut answer)?.ok_or(ErrorKind::UnexpectedEof)?;
        let length = head.get("content-length").and_then(|length| length.parse::<u64>().ok());
        let empty = method == "HEAD" || matches!(head.word(1), "204" | "304");
        // Without a length the end of the body is the end of the connection.
        head.set("connection", if empty || length.is_some() { "keep-alive" } else { "close" });
        let length = if empty { Some(0) } else { length };
        self.relay(number, head, &mut answer, length, Damage::of(fault.as_ref()))
    }

    fn relay(
        &mut self,
        number: usize,
        mut head: Head,
        body: &mut impl Read,
        length: Option<u64>,
        damage: Damage,
    ) -> io::Result<Next> {
        let length = length.map(|length| length.saturating_sub(damage.shorter));
        if let Some(length) = length.filter(|_| damage.shorter > 0) {
            head.set("content-length", &length.to_string());
        }
        self.shared.records.answered(number, head.word(1).parse().unwrap_or_default());
        self.stream.write_all(&head.bytes())?;
        let pace = Trickle::of(damage.bytes_per_second, *lock(&self.shared.cap));
        let until = length.unwrap_or(u64::MAX).min(damage.until);
        self.send(&Body { number, until, corrupt: damage.corrupt }, body, pace)?;
        match damage.ending {
            Ending::Silence => self.hold(),
            Ending::Cut => Ok(Next::End),
            Ending::Reset => {
                // Closing without patience is a reset, once every clone is closed.
                set_socket_linger(&self.stream, Some(Duration::ZERO))?;
                lock(&self.shared.open).retain(|open| open.peer_addr().ok() != self.stream.peer_addr().ok());
                Err(ErrorKind::ConnectionReset.into())
            }
            Ending::Whole if length.is_some() => Ok(Next::Request),
            Ending::Whole => Ok(Next::End),
        }
    }

    fn send(&mut self, body: &Body, from: &mut impl Read, mut pace: Trickle) -> io::Result<()> {
        let mut buffer = vec![0; usize::try_from(pace.piece()).unwrap_or(1)];
        let mut at = 0;
        while at < body.until {
            let most = usize::try_from(body.until - at).unwrap_or(usize::MAX).min(buffer.len());
            let piece = match from.read(&mut buffer[..most])? {
                0 => return Ok(()),
                read => &mut buffer[..read],
            };
            let place = body.corrupt.and_then(|corrupt| usize::try_from(corrupt.checked_sub(at)?).ok());
            if let Some(byte) = place.and_then(|place| piece.get_mut(place)) {
                *byte ^= 1;
            }
            // Counted first: who has it may look at the count.
            self.shared.records.sent(body.number, piece.len() as u64);
            self.stream.write_all(piece)?;
            at += piece.len() as u64;
            pace.sent(piece.len() as u64);
        }
        Ok(())
    }

    /// Says nothing until the client leaves, or the fault proxy ends.
    fn hold(&mut self) -> io::Result<Next> {
        let mut ignored = [0; 1024];
        while self.stream.read(&mut ignored)? > 0 {}
        Ok(Next::End)
    }

    fn say(&mut self, number: usize, status: u16, headers: &str) -> io::Result<Next> {
        self.shared.records.answered(number, status);
        let head = format!("HTTP/1.1 {status} Fault\r\n{headers}content-length: 0\r\n\r\n");
        self.stream.write_all(head.as_bytes())?;
        Ok(Next::Request)
    }
}

struct Body {
    /// Of its exchange.
    number: usize,
    until: u64,
    corrupt: Option<u64>,
}
