//! Connections for which there is no place are told so, and end with FIN: to close one with a request unread in it would
//! send RST, which a runtime may take for a fault of the pull.

use std::{convert::Infallible, time::Duration};

use http::{HeaderValue, Request, StatusCode, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tidepool_oci::ErrorCode;
use tokio::{net::TcpStream, time::timeout};

use super::answer;

/// How long a runtime may take to ask, and to hear that it should ask elsewhere: all on one machine, and others wait
/// behind it.
const WITHIN: Duration = Duration::from_millis(500);

/// Answers one request with 503, and closes.
pub(super) async fn turn_away(stream: TcpStream) {
    let service = service_fn(|_: Request<Incoming>| async {
        let full = "the node's listener has no place for more connections";
        let mut reply = answer::error(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, full);
        reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        Ok::<_, Infallible>(reply)
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    let serving = builder.keep_alive(false).serve_connection(TokioIo::new(stream), service);
    // Who does not listen is left.
    let _ = timeout(WITHIN, serving).await;
}
