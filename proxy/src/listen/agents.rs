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
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::{ClientConfig, RootCertStore};
    use rustls_pki_types::{PrivatePkcs8KeyDer, ServerName};
    use tidepool_config::trust;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::Instant,
    };
    use tokio_rustls::TlsConnector;

    use super::{
        super::{TAKEN_WITHIN, tls::server_config},
        *,
    };
    use crate::write_deadline::WriteDeadline;

    /// The TLS of a member, and that of an agent of its mirror.
    fn both_sides() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
        let [ca_key, key] = [(); 2].map(|()| KeyPair::generate().unwrap());
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = ca.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(ca, ca_key);
        let sign = |name| CertificateParams::new([name]).unwrap().signed_by(&key, &issuer).unwrap();
        let (member, agent) = (sign(trust::member_name("uid")), sign(trust::agent_name("uid")));
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let (member, pem, authority) = (member.pem(), key.serialize_pem(), authority.pem());
        let server = server_config("uid", member.as_bytes(), pem.as_bytes(), authority.as_bytes()).unwrap();
        tidepool_runtime::install_crypto();
        let client = ClientConfig::builder().with_root_certificates(roots);
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        (server, Arc::new(client.with_client_auth_cert(vec![agent.der().clone()], key).unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_is_left_after_a_while_and_at_once_on_stop() {
        for told_to_stop in [false, true] {
            let (stop, metrics) = (CancellationToken::new(), Metrics::default());
            let (ours, mut theirs) = tokio::io::duplex(1000);
            let begun = Instant::now();
            let serving = tokio::spawn(serve_agent(ours, both_sides().0, Router::new(), stop.clone(), metrics));
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

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_takes_nothing_of_an_answer_is_left_after_a_while() {
        let (server, client) = both_sides();
        let app = Router::new().fallback(async || vec![0; 10_000_000]);
        let (ours, theirs) = tokio::io::duplex(10_000);
        let ours = WriteDeadline::new(ours, TAKEN_WITHIN);
        let serving = tokio::spawn(serve_agent(ours, server, app, CancellationToken::new(), Metrics::default()));
        let name = ServerName::try_from(trust::member_name("uid")).unwrap();
        let mut agent = TlsConnector::from(client).connect(name, theirs).await.unwrap();
        agent.write_all(b"GET / HTTP/1.1\r\nhost: m\r\n\r\n").await.unwrap();
        agent.read_exact(&mut [0; 10]).await.unwrap();
        let begun = Instant::now();
        tokio::time::timeout(10 * TAKEN_WITHIN, serving).await.expect("it waits for ever").unwrap();
        assert!(begun.elapsed() >= TAKEN_WITHIN && begun.elapsed() < 2 * TAKEN_WITHIN, "{:?}", begun.elapsed());
    }
}
