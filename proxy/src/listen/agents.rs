//! The agents' listener: nothing is heard from a peer before its handshake has shown that it is an agent of this mirror.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use rustls::{Error, ServerConfig};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{Stream, serve_http};
use crate::metrics::{HandshakeResult, Metrics};

/// How long a handshake may take: far more than between a node and a pod of one cluster, even under load.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Serves one agent's connection, by the TLS that was current when it came in.
pub(crate) async fn serve_agent(
    stream: Stream,
    tls: Arc<ServerConfig>,
    app: Router,
    stop: CancellationToken,
    metrics: Metrics,
) {
    let handshake = tokio::time::timeout(HANDSHAKE_WITHIN, TlsAcceptor::from(tls).accept(stream));
    let Some(ended) = stop.run_until_cancelled(handshake).await else { return };
    let ended = ended.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long")));
    metrics.agent_handshake(result(ended.as_ref().err()));
    match ended {
        Ok(stream) => serve_http(stream, app, stop).await,
        Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "handshake of an agent failed"),
    }
}

/// How a handshake ended, as it counts.
fn result(error: Option<&io::Error>) -> HandshakeResult {
    let Some(error) = error else { return HandshakeResult::Ok };
    match error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) {
        Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => HandshakeResult::Refused,
        Some(Error::AlertReceived(_)) => HandshakeResult::Distrusted,
        Some(_) => HandshakeResult::Malformed,
        None if error.kind() == io::ErrorKind::TimedOut => HandshakeResult::Late,
        None => HandshakeResult::Cut,
    }
}
