//! The agents' listener: nothing is heard from a peer before its handshake has shown that it is an agent of this mirror.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use rustls::{Error, ServerConfig};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    Arrival, CONNECTIONS, TurnAway, accept,
    crowd::{Crowd, Limits},
    serve_http,
};
use crate::{
    layers::Stack,
    metrics::{HandshakeResult, Listener, Metrics, ShedReason},
    settings::{AgentsTls, Current},
};

/// How long a handshake may take: far more than between a node and a pod of one cluster, even under load.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(3);
/// Handshakes at once. The share is what a node's agent begins for many pulls at a time; where it is not crowded a node may
/// begin all of its connections anew, as it does after a rotation.
const HANDSHAKES: Limits = Limits { most: 4096, share: 64 };
/// How long one connection serves before its agent has to show its certificate again, which may have ended.
const LONGEST_CONNECTION: Duration = Duration::from_secs(3600);
/// How long an agent that was let in just before its certificate's authority went may take to ask: then it has its answer.
const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(1);

/// Accepts agents until `stop`. A place among the connections is for who has shown to be one: others share the few places
/// of the handshakes.
pub(crate) async fn accept_agents(
    listener: TcpListener,
    settings: Current,
    stack: Stack,
    stop: CancellationToken,
    metrics: Metrics,
) -> JoinSet<()> {
    let crowd = |limits| Crowd::new(Listener::Agents, ShedReason::Connections, limits, metrics.clone());
    let (handshakes, agents) = (crowd(HANDSHAKES), crowd(CONNECTIONS));
    let serve = |Arrival { stream, address, place }: Arrival| {
        // By the certificates of this moment.
        let tls = settings.load().agents.clone();
        let (stack, stop, metrics, agents) = (stack.clone(), stop.clone(), metrics.clone(), agents.clone());
        async move {
            // The file names agents as long as there is this listener: another file is refused.
            let Some(tls) = tls else { return };
            let verified = verify(stream, tls.config(), &stop, &metrics).await;
            drop(place);
            let Some(stream) = verified else { return };
            let Some(_place) = agents.enter(address) else { return };
            let _counted = metrics.connection(Listener::Agents);
            serve_agent(stream, address, stack, stop, &tls).await;
        }
    };
    accept(listener, stop.clone(), handshakes, TurnAway::Close, serve).await
}

/// The handshake; none where it does not show an agent of this mirror.
async fn verify<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    tls: Arc<ServerConfig>,
    stop: &CancellationToken,
    metrics: &Metrics,
) -> Option<TlsStream<S>> {
    let handshake = tokio::time::timeout(HANDSHAKE_WITHIN, TlsAcceptor::from(tls).accept(stream));
    let ended = stop.run_until_cancelled(handshake).await?;
    let ended = ended.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long")));
    metrics.agent_handshake(result(ended.as_ref().err()));
    if let Err(error) = &ended {
        tracing::debug!(error = error as &dyn std::error::Error, "handshake of an agent failed");
    }
    ended.ok()
}

/// Serves one agent until told to stop, or until what let it in may no longer do so; answers in flight are finished.
async fn serve_agent(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    address: IpAddr,
    stack: Stack,
    stop: CancellationToken,
    tls: &AgentsTls,
) {
    let over = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = async { tls.replaced().await; tokio::time::sleep(FIRST_REQUEST_WITHIN).await } => {}
            () = tokio::time::sleep(LONGEST_CONNECTION) => {}
        }
    };
    // TLS: bytes have to be encrypted, so nothing can be lent.
    serve_http(stream, None, |request| stack.clone().answer(address, request), over).await;
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
    use axum::{body::Body, response::Response};
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
            let (tls, told) = (both_sides().0, stop.clone());
            let serving = tokio::spawn(async move { verify(ours, tls, &told, &metrics).await.is_some() });
            tokio::time::sleep(Duration::from_secs(1)).await;
            if told_to_stop {
                stop.cancel();
            }
            assert_eq!(theirs.read(&mut [0; 10]).await.unwrap(), 0);
            let within = if told_to_stop { Duration::from_secs(1) } else { HANDSHAKE_WITHIN };
            assert!((within..within + Duration::from_secs(1)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
            assert!(!serving.await.unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_takes_nothing_of_an_answer_is_left_after_a_while() {
        let (server, client) = both_sides();
        let answer = |_| async { Response::new(Body::from(vec![0; 10_000_000])) };
        let (ours, theirs) = tokio::io::duplex(10_000);
        let ours = WriteDeadline::new(ours, TAKEN_WITHIN);
        let serving = tokio::spawn(async move {
            let stream = TlsAcceptor::from(Arc::clone(&server)).accept(ours).await.unwrap();
            serve_http(stream, None, answer, std::future::pending()).await;
        });
        let name = ServerName::try_from(trust::member_name("uid")).unwrap();
        let mut agent = TlsConnector::from(client).connect(name, theirs).await.unwrap();
        agent.write_all(b"GET / HTTP/1.1\r\nhost: m\r\n\r\n").await.unwrap();
        agent.read_exact(&mut [0; 10]).await.unwrap();
        let begun = Instant::now();
        tokio::time::timeout(10 * TAKEN_WITHIN, serving).await.expect("it waits for ever").unwrap();
        assert!(begun.elapsed() >= TAKEN_WITHIN && begun.elapsed() < 2 * TAKEN_WITHIN, "{:?}", begun.elapsed());
    }
}
