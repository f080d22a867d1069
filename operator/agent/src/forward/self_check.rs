//! Whether the listener answers: asked as a runtime asks it, over loopback in plain HTTP.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::headers;

/// Whether a registry answers `GET /v2/` there within a time.
pub async fn answers(address: SocketAddr, within: Duration) -> bool {
    let asked = timeout(within, ask(address)).await;
    matches!(asked, Ok(Ok(true)))
}

async fn ask(address: SocketAddr) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(stream).await?;
    let request = Request::get("/v2/").header(header::HOST, address.to_string()).body(Empty::new())?;
    tokio::select! {
        reply = sender.send_request(request) => {
            let reply = reply?;
            Ok(reply.status() == StatusCode::OK && reply.headers().contains_key(headers::API_VERSION))
        }
        ended = connection => {
            ended?;
            Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
        }
    }
}
