//! A fake member: what it proves to be, and how it behaves.

use rustls::{HandshakeKind, ServerConfig};
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

use super::*;

/// What a fake member does with a request.
pub(super) enum Act {
    /// Writes this and closes.
    Write(String),
    /// Writes this and reads the next request.
    Keep(String),
    /// Writes this and goes silent.
    Stall(String),
    /// Writes the first, waits until told, and writes the second.
    Wait(String, Arc<Notify>, String),
}

/// How a fake member speaks.
#[derive(Clone)]
pub(super) enum Speaks {
    Tls(Arc<ServerConfig>),
    /// HTTP without TLS.
    Plain,
    /// It accepts connections and says nothing.
    Nothing,
}

type Log<T> = Arc<Mutex<Vec<T>>>;
type Respond = Arc<dyn Fn(&str) -> Act + Send + Sync>;

pub(super) struct Fake {
    pub(super) address: SocketAddr,
    pub(super) speaks: Arc<Mutex<Speaks>>,
    /// Of each TLS connection the agent's certificate, and whether it went on with an earlier session.
    pub(super) agents: Log<(CertificateDer<'static>, bool)>,
    seen: Log<String>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    /// A member of the mirror with uid `u`; `act` gets the head of each request.
    pub(super) async fn start(act: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        Self::speaking(Speaks::Tls(AUTHORITY.member("u", &[&AUTHORITY])), act).await
    }

    pub(super) async fn speaking(speaks: Speaks, act: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (speaks, seen, agents) = (Arc::new(Mutex::new(speaks)), Log::default(), Log::default());
        let (now, heads, known, act) = (Arc::clone(&speaks), Arc::clone(&seen), Arc::clone(&agents), Arc::new(act));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let speaks = now.lock().unwrap().clone();
                tokio::spawn(connection(stream, speaks, act.clone(), Arc::clone(&heads), Arc::clone(&known)));
            }
        });
        Self { address, speaks, agents, seen, task }
    }

    /// A member that answers everything alike, and is healthy.
    pub(super) async fn answering(text: impl Into<String>) -> Self {
        Self::start(healthy(text)).await
    }

    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// Answers everything alike, and is healthy.
pub(super) fn healthy(text: impl Into<String>) -> impl Fn(&str) -> Act + Send + Sync + 'static {
    let text = text.into();
    move |head| Act::Write(if head.starts_with("GET /v2/ ") { OK.to_owned() } else { text.clone() })
}

async fn connection(
    mut stream: TcpStream,
    speaks: Speaks,
    act: Respond,
    seen: Log<String>,
    agents: Log<(CertificateDer<'static>, bool)>,
) {
    match speaks {
        Speaks::Tls(config) => {
            let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
            let tls = stream.get_ref().1;
            let agent = tls.peer_certificates().unwrap()[0].clone();
            agents.lock().unwrap().push((agent, tls.handshake_kind() == Some(HandshakeKind::Resumed)));
            converse(stream, &act, &seen).await;
        }
        Speaks::Plain => {
            let mut bytes = [0; 2048];
            let read = stream.read(&mut bytes).await.unwrap();
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            let Act::Write(reply) = act(&text) else { return };
            seen.lock().unwrap().push(text);
            stream.write_all(reply.as_bytes()).await.unwrap_or_default();
        }
        Speaks::Nothing => {
            let _stream = stream;
            std::future::pending::<()>().await;
        }
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, act: &Respond, seen: &Log<String>) {
    loop {
        let head = read_head(&mut stream).await;
        if head.is_empty() {
            return;
        }
        if !head.starts_with("GET /v2/ ") {
            seen.lock().unwrap().push(head.clone());
        }
        // An agent may be gone by now.
        match act(&head) {
            Act::Write(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
                return;
            }
            Act::Keep(text) => drop(stream.write_all(text.as_bytes()).await),
            Act::Stall(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.flush().await;
                std::future::pending::<()>().await;
            }
            Act::Wait(first, told, second) => {
                stream.write_all(first.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                told.notified().await;
                stream.write_all(second.as_bytes()).await.unwrap();
            }
        }
        let _ = stream.flush().await;
    }
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}
