//! The way out for who has no other: an HTTP proxy with users, which alone knows where hidden stand-ins are.
//!
//! `CONNECT` tunnels to any stand-in; the absolute form is answered for `http://` addresses. Each request is logged.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use hyper::body::Incoming;
use hyper::header::{HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::answers::{Body, failure};
use super::front::Front;
use super::users::{Login, Users};
use super::{StandIn, User, files};
use crate::addresses;

/// An HTTP proxy on the bridge, under a name that nodes and pods know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Egress {
    /// Its host name; the port is 3128.
    pub host: String,
    /// Who may use it; without users everybody.
    pub users: Vec<User>,
}

/// Somebody who went through, or wanted to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Passage {
    /// `CONNECT`, or the method of the absolute form.
    pub method: String,
    /// Host and port, or the whole address.
    pub target: String,
    /// The user that was named, right or wrong; never a password.
    pub user: Option<String>,
    /// The status of the answer.
    pub status: u16,
}

impl Egress {
    /// A proxy under this name that wants this login.
    pub fn new(host: &str, user: &str, password: &str) -> Self {
        let user = User { name: user.to_owned(), password: password.to_owned() };
        Self { host: host.to_owned(), users: vec![user] }
    }

    /// Its address, as clients are configured with it.
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.host, addresses::EGRESS_PORT)
    }
}

/// Reads who went through so far.
pub(crate) fn read(folder: &Path) -> Result<Vec<Passage>> {
    let text = fs::read_to_string(folder.join(files::PASSAGES)).context("cannot read the log of the way out")?;
    text.lines().map(|line| serde_json::from_str(line).context("cannot parse the log of the way out")).collect()
}

struct Proxy {
    users: Option<Users>,
    fronts: Vec<Arc<Front>>,
    log: Mutex<File>,
}

/// Serves the proxy until the cluster ends.
pub(super) async fn serve(egress: Egress, folder: &Path, fronts: Vec<Arc<Front>>) -> Result<()> {
    let log = OpenOptions::new().create(true).append(true).open(folder.join(files::PASSAGES));
    let users = (!egress.users.is_empty()).then(|| Users::new(&StandIn { users: egress.users, ..StandIn::open("") }));
    let proxy = Arc::new(Proxy { users, fronts, log: Mutex::new(log.context("cannot log who goes out")?) });
    let address = (addresses::EGRESS, addresses::EGRESS_PORT);
    let listener = TcpListener::bind(address).await.context("cannot listen as the way out")?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.context("cannot accept")?;
                connections.spawn(connection(stream, Arc::clone(&proxy)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, proxy: Arc<Proxy>) {
    let service = service_fn(|request| async { Ok::<_, std::convert::Infallible>(proxy.answer(request).await) });
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.with_upgrades().await {
        eprintln!("connection of the way out ended: {error}");
    }
}

impl Proxy {
    async fn answer(&self, mut request: hyper::Request<Incoming>) -> Response<Body> {
        let login = request.headers_mut().remove(PROXY_AUTHORIZATION);
        let login = login.as_ref().and_then(|value| value.to_str().ok());
        let login = self.users.as_ref().map_or(Login::None, |users| users.login(login));
        let mut passage = Passage {
            method: request.method().to_string(),
            target: request.uri().to_string(),
            user: login.name().map(str::to_owned),
            status: 0,
        };
        let response = if self.users.is_some() && !matches!(login, Login::Right(_)) {
            let mut refusal = failure(StatusCode::PROXY_AUTHENTICATION_REQUIRED, "who are you?");
            refusal.headers_mut().insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"egress\""));
            refusal
        } else {
            self.pass(request).await
        };
        passage.status = response.status().as_u16();
        self.note(&passage);
        response
    }

    async fn pass(&self, request: hyper::Request<Incoming>) -> Response<Body> {
        let known = |front: &&Arc<Front>| front.stand_in().hosts.iter().any(|host| request.uri().host() == Some(host));
        let Some(front) = self.fronts.iter().find(known) else {
            return failure(StatusCode::BAD_GATEWAY, "there is no such host");
        };
        if request.method() != Method::CONNECT {
            return front.answer(request, "").await;
        }
        let port = request.uri().port_u16().unwrap_or(443);
        match TcpStream::connect((front.stand_in().address.as_str(), port)).await {
            Ok(onward) => {
                tokio::spawn(tunnel(hyper::upgrade::on(request), onward));
                Response::default()
            }
            Err(error) => failure(StatusCode::BAD_GATEWAY, &format!("no connection: {error}")),
        }
    }

    fn note(&self, passage: &Passage) {
        let line = serde_json::to_string(passage).map(|line| line + "\n").unwrap_or_default();
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = log.write_all(line.as_bytes()) {
            eprintln!("cannot log who goes out: {error}");
        }
    }
}

/// Ends with either side.
async fn tunnel(upgrade: impl Future<Output = hyper::Result<Upgraded>>, mut onward: TcpStream) {
    if let Ok(upgraded) = upgrade.await {
        // Who cut it is told by what they got.
        let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut onward).await;
    }
}
