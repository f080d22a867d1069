//! The agents' listener: nothing is heard from a peer before its handshake has shown that it is an agent of this mirror.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use rustls::{Error, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::serve_http;
use crate::metrics::{HandshakeResult, Metrics};

/// How long a handshake may take: far more than between a node and a pod of one cluster, even under load.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Serves one agent's connection, by the TLS that was current when it came in.
pub(crate) async fn serve_agent(
    stream: impl AsyncRead + AsyncWrite + Unpin,
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

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;
    use tokio::io::AsyncReadExt as _;

    use super::{super::tls::server_config, *};

    fn tls() -> Arc<ServerConfig> {
        let (key, params) = (KeyPair::generate().unwrap(), rcgen::CertificateParams::new(["m".to_owned()]).unwrap());
        let certificate = params.self_signed(&key).unwrap().pem();
        server_config("uid", certificate.as_bytes(), key.serialize_pem().as_bytes(), certificate.as_bytes()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_is_left_after_a_while_and_at_once_on_stop() {
        for told_to_stop in [false, true] {
            let (stop, metrics) = (CancellationToken::new(), Metrics::default());
            let (ours, mut theirs) = tokio::io::duplex(1000);
            let begun = tokio::time::Instant::now();
            let serving = tokio::spawn(serve_agent(ours, tls(), Router::new(), stop.clone(), metrics.clone()));
            tokio::time::sleep(Duration::from_secs(1)).await;
            if told_to_stop {
                stop.cancel();
            }
            assert_eq!(theirs.read(&mut [0; 10]).await.unwrap(), 0);
            let within = if told_to_stop { Duration::from_secs(1) } else { HANDSHAKE_WITHIN };
            assert!((within..within + Duration::from_secs(1)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
            serving.await.unwrap();
        }
    }
}
