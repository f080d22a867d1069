//! One connection of a client: request after request, each with the fault that is meant for it.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::{set_socket_linger, set_socket_send_buffer_size};

use super::head::Head;
use super::pace::Pace;
use super::record::Exchange;
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
        self.relay(number, head, &mut answer, length, fault)
    }

    fn relay(
        &mut self,
        number: usize,
        mut head: Head,
        body: &mut impl Read,
        length: Option<u64>,
        fault: Option<Fault>,
    ) -> io::Result<Next> {
        let length = match (&fault, length) {
            (Some(Fault::Truncate(less)), Some(length)) => {
                head.set("content-length", &length.saturating_sub(*less).to_string());
                Some(length.saturating_sub(*less))
            }
            _ => length,
        };
        self.shared.records.answered(number, head.word(1).parse().unwrap_or_default());
        self.stream.write_all(&head.bytes())?;
        let mut faulty = Body { number, at: 0, pace: self.pace(fault.as_ref()) };
        let until = match fault {
            Some(Fault::Cut(bytes) | Fault::Reset(bytes) | Fault::Stall(bytes)) => Some(bytes),
            _ => None,
        };
        let corrupt = match fault {
            Some(Fault::Corrupt(at)) => Some(at),
            _ => None,
        };
        let wanted = length.unwrap_or(u64::MAX).min(until.unwrap_or(u64::MAX));
        faulty.send(&self.shared, &mut self.stream, body, wanted, corrupt)?;
        match fault {
            Some(Fault::Stall(_)) => self.hold(),
            Some(Fault::Reset(_)) => {
                // Closing with unsent data and no patience is a reset, once every clone is closed.
                set_socket_linger(&self.stream, Some(Duration::ZERO))?;
                lock(&self.shared.open).retain(|open| open.peer_addr().ok() != self.stream.peer_addr().ok());
                Err(ErrorKind::ConnectionReset.into())
            }
            Some(Fault::Cut(_)) => Ok(Next::End),
            _ => Ok(if length.is_some() { Next::Request } else { Next::End }),
        }
    }

    fn pace(&self, fault: Option<&Fault>) -> Pace {
        let slow = match fault {
            Some(Fault::Slow(speed)) => Some(*speed),
            _ => None,
        };
        Pace::of(slow, *lock(&self.shared.cap))
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
    number: usize,
    at: u64,
    pace: Pace,
}

impl Body {
    fn send(
        &mut self,
        shared: &Shared,
        to: &mut impl Write,
        from: &mut impl Read,
        until: u64,
        corrupt: Option<u64>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; usize::try_from(self.pace.piece()).unwrap_or(1)];
        while self.at < until {
            let most = usize::try_from(until - self.at).unwrap_or(usize::MAX).min(buffer.len());
            let piece = match from.read(&mut buffer[..most])? {
                0 => return Ok(()),
                read => &mut buffer[..read],
            };
            let place = corrupt.and_then(|at| usize::try_from(at.checked_sub(self.at)?).ok());
            if let Some(byte) = place.and_then(|place| piece.get_mut(place)) {
                *byte ^= 1;
            }
            // Counted first: who has it may look at the count.
            shared.records.sent(self.number, piece.len() as u64);
            to.write_all(piece)?;
            self.at += piece.len() as u64;
            self.pace.sent(piece.len() as u64);
        }
        Ok(())
    }
}
