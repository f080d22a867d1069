//! Whether the listener answers, and which: asked as a runtime asks it, over loopback in plain HTTP.
//!
//! On a port that two agents share, the one before could answer in the place of the one that asks. So each answers such
//! a question with a mark of its own.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::headers;

/// Asks for the mark of who answers, and has it. Runtimes never ask.
pub(super) const MARK: HeaderName = HeaderName::from_static("tidepool-listener");

/// What tells one listener from another on the same port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(pub(super) HeaderValue);

/// Who answers on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// The listener with the mark.
    Us,
    /// Another registry: most likely the agent before this one, or the next.
    Another,
    /// None, or none in time.
    Nobody,
}

impl Mark {
    /// A mark that nobody else has.
    #[must_use]
    pub fn new() -> Self {
        Self(HeaderValue::from(rand::random::<u64>()))
    }

    /// Who answers `GET /v2/` there within a time.
    pub async fn who_answers(&self, address: SocketAddr, within: Duration) -> Answers {
        match timeout(within, self.ask(address)).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(_)) | Err(_) => Answers::Nobody,
        }
    }

    async fn ask(&self, address: SocketAddr) -> Result<Answers, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TokioIo::new(TcpStream::connect(address).await?);
        let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(stream).await?;
        let request = Request::get("/v2/").header(header::HOST, address.to_string());
        let request = request.header(MARK, HeaderValue::from_static("?")).body(Empty::new())?;
        tokio::select! {
            reply = sender.send_request(request) => {
                let reply = reply?;
                let registry = reply.status() == StatusCode::OK && reply.headers().contains_key(headers::API_VERSION);
                Ok(match reply.headers().get(MARK) {
                    _ if !registry => Answers::Nobody,
                    Some(mark) if *mark == self.0 => Answers::Us,
                    Some(_) | None => Answers::Another,
                })
            }
            ended = connection => {
                ended?;
                Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
            }
        }
    }
}

impl Default for Mark {
    fn default() -> Self {
        Self::new()
    }
}
