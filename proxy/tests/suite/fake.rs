//! A fake registry: content, a log of what it was asked, and faults on demand.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use futures::StreamExt as _;
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tidepool_oci::{Algorithm, Digest};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::certificates::Authority;
pub(crate) use crate::fault::Fault;
use crate::fault::{deliver, status};
use crate::guard::{Guard, Kind, basic};

pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Two manifests: what is no JSON object is none.
pub(crate) const ONE: &str = r#"{"is":"one"}"#;
pub(crate) const TWO: &str = r#"{"is":"two"}"#;

struct Rule {
    text: String,
    fault: Fault,
    times: usize,
}

#[derive(Default)]
struct Content {
    blobs: Mutex<HashMap<String, Bytes>>,
    /// Media types of manifests that are no plain images, by digest.
    kinds: Mutex<HashMap<String, &'static str>>,
    tags: Mutex<HashMap<String, String>>,
    rules: Mutex<Vec<Rule>>,
    log: Mutex<Vec<String>>,
    logins: Mutex<Vec<String>>,
    traces: Mutex<Vec<String>>,
    tokens: AtomicBool,
    granted: AtomicUsize,
    guard: Mutex<Option<Guard>>,
    address: Mutex<Option<SocketAddr>>,
    sent: Arc<AtomicU64>,
}

/// A registry on loopback. Dropping it stops it; its content lives on in clones of nothing.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    content: Arc<Content>,
    task: Option<JoinHandle<()>>,
    tls: Option<TlsAcceptor>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        Self::start_at([127, 0, 0, 1]).await
    }

    /// At an address of its own: what goes down there finds its port free when it comes up again.
    pub(crate) async fn start_at(address: [u8; 4]) -> Self {
        let content = Arc::new(Content::default());
        let mut fake = Self { address: (address, 0).into(), content, task: None, tls: None };
        fake.up().await;
        fake
    }

    /// A registry with a certificate of `authority`, which may want one of its clients.
    pub(crate) async fn start_tls(authority: &Authority, clients: Option<&Authority>) -> Self {
        let mut fake = Self::start().await;
        fake.tls = Some(authority.acceptor(clients));
        fake.down().await;
        fake.up().await;
        fake
    }

    /// Takes the registry up again, at the same address.
    pub(crate) async fn up(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        *self.content.address.lock().unwrap() = Some(self.address);
        let (content, tls) = (Arc::clone(&self.content), self.tls.clone());
        self.task = Some(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let app = Router::new().fallback(answer).with_state(Arc::clone(&content));
                let service = hyper_util::service::TowerToHyperService::new(app);
                let tls = tls.clone();
                connections.spawn(async move {
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = match tls {
                        None => server.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            server.serve_connection(TokioIo::new(stream), service).await
                        }
                    };
                });
            }
        }));
    }

    /// Comes up again with another certificate.
    pub(crate) async fn up_with(&mut self, tls: TlsAcceptor) {
        self.down().await;
        self.tls = Some(tls);
        self.up().await;
    }

    /// Takes the registry down: connections break, new ones are refused.
    pub(crate) async fn down(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    pub(crate) fn url(&self) -> String {
        match &self.tls {
            None => format!("http://{}", self.address),
            Some(_) => format!("https://localhost:{}", self.address.port()),
        }
    }

    /// Wants a token for everything from now on.
    pub(crate) fn want_tokens(&self) {
        self.content.tokens.store(true, Ordering::Relaxed);
    }

    /// Lets only `me` with this password read, at `realm` where it wants tokens, and everybody what is made public.
    pub(crate) fn guard(&self, kind: Kind, password: &str, realm: &str) {
        let mut guard = self.content.guard.lock().unwrap();
        let (public, shown) = guard.take().map(|guard| (guard.public, guard.shown)).unwrap_or_default();
        let (login, realm) = (basic("me", password), realm.to_owned());
        *guard = Some(Guard { kind, login, public, realm, shown });
    }

    /// Lets everybody read a repository, or no longer.
    pub(crate) fn set_public(&self, repository: &str, public: bool) {
        let mut guard = self.content.guard.lock().unwrap();
        let repositories = &mut guard.as_mut().unwrap().public;
        if public {
            repositories.insert(repository.to_owned())
        } else {
            repositories.remove(repository)
        };
    }

    /// The requests so far that came with a password.
    pub(crate) fn shown(&self) -> Vec<String> {
        self.content.guard.lock().unwrap().as_ref().map(|guard| guard.shown.clone()).unwrap_or_default()
    }

    /// Refuses the tokens given so far.
    pub(crate) fn revoke_tokens(&self) {
        self.content.granted.fetch_add(1000, Ordering::Relaxed);
    }

    pub(crate) fn blob(&self, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = digest_of(&bytes);
        self.content.blobs.lock().unwrap().insert(digest.to_string(), bytes);
        digest
    }

    /// Gives other bytes for a digest from now on.
    pub(crate) fn replace(&self, digest: &Digest, bytes: impl Into<Bytes>) {
        self.content.blobs.lock().unwrap().insert(digest.to_string(), bytes.into());
    }

    /// A tag of `repository`, pointing to a manifest with that text.
    pub(crate) fn tag(&self, repository: &str, tag: &str, manifest: &str) -> Digest {
        let digest = self.blob(manifest.to_owned());
        let key = format!("/v2/{repository}/manifests/{tag}");
        self.content.tags.lock().unwrap().insert(key, digest.to_string());
        digest
    }

    /// A tag of `repository`, pointing to a manifest of that kind; its digest is as the caller says.
    pub(crate) fn tag_as(&self, repository: &str, tag: &str, kind: &'static str, digest: &Digest, manifest: &str) {
        self.content.blobs.lock().unwrap().insert(digest.to_string(), manifest.to_owned().into());
        self.content.kinds.lock().unwrap().insert(digest.to_string(), kind);
        let key = format!("/v2/{repository}/manifests/{tag}");
        self.content.tags.lock().unwrap().insert(key, digest.to_string());
    }

    pub(crate) fn untag(&self, repository: &str, tag: &str) {
        self.content.tags.lock().unwrap().remove(&format!("/v2/{repository}/manifests/{tag}"));
    }

    /// The next `times` requests whose line contains `text` go wrong.
    pub(crate) fn fault(&self, text: impl Into<String>, fault: Fault, times: usize) {
        self.content.rules.lock().unwrap().push(Rule { text: text.into(), fault, times });
    }

    pub(crate) fn mend(&self) {
        self.content.rules.lock().unwrap().clear();
    }

    /// The requests so far whose line contains `text`: `GET /v2/a/manifests/1`.
    pub(crate) fn asked(&self, text: &str) -> Vec<String> {
        let log = self.content.log.lock().unwrap();
        log.iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// Bytes of content that were handed to connections so far: what a client that leaves did not read counts, too.
    pub(crate) fn sent(&self) -> u64 {
        self.content.sent.load(Ordering::Relaxed)
    }

    /// The values of `Authorization` so far.
    pub(crate) fn logins(&self) -> Vec<String> {
        self.content.logins.lock().unwrap().clone()
    }

    /// The trace context of each request so far: method, `traceparent`, `tracestate`.
    pub(crate) fn traces(&self) -> Vec<String> {
        self.content.traces.lock().unwrap().clone()
    }

    pub(crate) fn forget(&self) {
        self.content.log.lock().unwrap().clear();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_raw(Algorithm::Sha256, &Sha256::digest(bytes)).unwrap()
}

/// Bytes that do not repeat, so that a piece in the wrong place shows.
pub(crate) fn noise(len: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32).to_le_bytes()
    });
    words.flatten().take(len).collect::<Vec<_>>().into()
}

async fn answer(State(content): State<Arc<Content>>, request: Request) -> Response {
    let range = request.headers().get("range").map(|value| value.to_str().unwrap().to_owned());
    let line = format!("{} {} {}", request.method(), request.uri(), range.clone().unwrap_or_default());
    content.log.lock().unwrap().push(line.trim().to_owned());
    let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    content.logins.lock().unwrap().extend(authorization.clone());
    content.traces.lock().unwrap().push(trace(&request));
    if let Some(guard) = content.guard.lock().unwrap().as_mut() {
        guard.note(&line, authorization.as_deref());
    }
    let fault = content.take_fault(&line);
    match &fault {
        Some(Fault::Silent) => return std::future::pending().await,
        Some(Fault::Late(pause)) => tokio::time::sleep(Duration::from_millis(*pause)).await,
        Some(Fault::Status(code)) => return status(*code),
        Some(Fault::With(code, name, value)) => {
            return Response::builder().status(*code).header(*name, value).body(Body::empty()).unwrap();
        }
        Some(Fault::Json(text)) => {
            return Response::builder().header("content-type", "application/json").body(Body::from(*text)).unwrap();
        }
        Some(Fault::Page) => {
            let page = Response::builder().header("content-type", "text/html; charset=utf-8");
            return page.body(Body::from("<html>Sign in</html>")).unwrap();
        }
        Some(Fault::Redirect(to)) => {
            return Response::builder().status(307).header("location", to).body(Body::empty()).unwrap();
        }
        _ => {}
    }
    let path = request.uri().path().to_owned();
    if let Some(guard) = content.guard.lock().unwrap().as_ref()
        && let Some(refusal) = guard.answer(&path, authorization.as_deref())
    {
        return refusal;
    }
    if path == "/token" {
        return content.grant();
    }
    if content.tokens.load(Ordering::Relaxed) && authorization != Some(content.wanted_token()) {
        return content.challenge(&path);
    }
    if path.ends_with("/tags/list") {
        let link = format!("<{path}?last=a&n=1>; rel=\"next\"");
        let list = Response::builder().header("content-type", "application/json").header("link", link);
        return list.body(Body::from(r#"{"name":"x","tags":["a"]}"#)).unwrap();
    }
    let Some((digest, bytes)) = content.find(&path) else { return status(404) };
    let kind = if path.contains("/manifests/") {
        content.kinds.lock().unwrap().get(&digest).copied().unwrap_or(IMAGE)
    } else {
        "application/octet-stream"
    };
    let answer = deliver(request.method() == "HEAD", &digest, bytes, kind, range.as_deref(), fault.as_ref());
    let sent = Arc::clone(&content.sent);
    let count = move |piece: &Result<Bytes, axum::Error>| {
        sent.fetch_add(piece.as_ref().map_or(0, |piece| piece.len() as u64), Ordering::Relaxed);
    };
    answer.map(|body| Body::from_stream(body.into_data_stream().inspect(count)))
}

fn trace(request: &Request) -> String {
    let header = |name| request.headers().get(name).map_or("-", |value| value.to_str().unwrap());
    format!("{} {} {}", request.method(), header("traceparent"), header("tracestate"))
}

impl Content {
    fn take_fault(&self, line: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| rule.times > 0 && line.contains(&rule.text))?;
        rule.times -= 1;
        Some(rule.fault.clone())
    }

    fn wanted_token(&self) -> String {
        format!("Bearer token-{}", self.granted.load(Ordering::Relaxed) / 1000)
    }

    fn grant(&self) -> Response {
        let token = self.wanted_token().replace("Bearer ", "");
        Response::new(Body::from(format!(r#"{{"token":"{token}","expires_in":300}}"#)))
    }

    fn challenge(&self, path: &str) -> Response {
        let address = self.address.lock().unwrap().unwrap();
        let repository = path.trim_start_matches("/v2/").split("/manifests/").next().unwrap();
        let repository = repository.split("/blobs/").next().unwrap();
        let value =
            format!(r#"Bearer realm="http://{address}/token",service="fake",scope="repository:{repository}:pull""#);
        Response::builder().status(401).header("www-authenticate", value).body(Body::empty()).unwrap()
    }

    fn find(&self, path: &str) -> Option<(String, Bytes)> {
        let tagged = self.tags.lock().unwrap().get(path).cloned();
        let digest = tagged.unwrap_or_else(|| path.rsplit('/').next().unwrap().to_owned());
        let bytes = self.blobs.lock().unwrap().get(&digest).cloned()?;
        Some((digest, bytes))
    }
}
