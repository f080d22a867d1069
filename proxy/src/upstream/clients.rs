//! The HTTP clients of one upstream: connections, TLS, the egress proxy.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::{ClientError, Entry, address::Boundary};

/// Of a connection with its TLS handshake. The addresses of a name share it: of Docker Hub's eight each has 437 ms, more
/// than nearly every round trip. A runtime that asks by itself gives a registry that accepts and stays silent up after
/// ten seconds (Go's limit of a handshake): ours before that must not be felt.
const CONNECT_WITHIN: Duration = Duration::from_millis(3500);
/// Shorter than what registries and the load balancers before them keep.
const KEEP_IDLE: Duration = Duration::from_secs(60);
const USER_AGENT: &str = concat!("tidepool/", env!("CARGO_PKG_VERSION"));

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The registry's own host.
    Own,
    /// The registry's own host, without our certificate.
    Plain,
    /// Hosts that it redirects to, or names for tokens.
    Others,
}

/// Two clients alike, each with idle connections of its own: where one's lead to an address that went bad, the other's
/// are used. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Pair(Arc<Both>);

#[derive(Debug)]
struct Both {
    first: reqwest::Client,
    /// Made when it is first needed: most hosts never have an address go bad.
    second: OnceLock<reqwest::Client>,
    boundary: Boundary,
    entry: Entry,
    kind: Kind,
}

impl Pair {
    pub(super) fn new(boundary: &Boundary, entry: &Entry, kind: Kind) -> Result<Self, ClientError> {
        let first = client(boundary, entry, kind)?;
        let (boundary, entry) = (boundary.clone(), entry.clone());
        Ok(Self(Arc::new(Both { first, second: OnceLock::new(), boundary, entry, kind })))
    }

    pub(super) fn get(&self, second: bool) -> &reqwest::Client {
        let both = &self.0;
        let make = || client(&both.boundary, &both.entry, both.kind).unwrap_or_else(|_| both.first.clone());
        if second { both.second.get_or_init(make) } else { &both.first }
    }
}

fn client(boundary: &Boundary, entry: &Entry, kind: Kind) -> Result<reqwest::Client, ClientError> {
    let own = kind == Kind::Own;
    let authorities = authorities(entry)?;
    let (identity, egress) = (if own { identity(entry)? } else { None }, egress(entry)?);
    let builder = || {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none()) // we decide about each hop
            .dns_resolver(boundary.clone())
            .http1_only() // HTTP/2 would have all fills share one connection, and its window
            .connect_timeout(CONNECT_WITHIN)
            .pool_idle_timeout(KEEP_IDLE)
            .user_agent(USER_AGENT)
            .tls_danger_accept_invalid_certs(kind != Kind::Others && entry.takes_any_certificate());
        if let Some(identity) = identity.clone() {
            builder = builder.identity(identity);
        }
        match egress.clone() {
            Some(proxy) => builder.no_proxy().proxy(proxy), // instead of the environment's
            None => builder,
        }
    };
    let built = builder().tls_certs_merge(authorities.clone()).build().or_else(|error| {
        // No authorities at all, as in a container without any: what is held and plain HTTP still work.
        tracing::warn!(error = &error as &dyn std::error::Error, "no authorities of the system, HTTPS will fail");
        builder().tls_certs_only(authorities).build()
    });
    built.map_err(|error| match &entry.identity {
        Some(_) if own => ClientError::Identity { path: entry.tls_file(|tls| &tls.cert_file) },
        _ => ClientError::Tls(error),
    })
}

fn authorities(entry: &Entry) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let Some(pem) = &entry.authorities else { return Ok(Vec::new()) };
    let parsed = reqwest::Certificate::from_pem_bundle(pem).ok().filter(|list| !list.is_empty());
    parsed.ok_or_else(|| ClientError::ParseAuthorities { path: entry.tls_file(|tls| &tls.ca_file) })
}

fn identity(entry: &Entry) -> Result<Option<reqwest::Identity>, ClientError> {
    let Some(pem) = &entry.identity else { return Ok(None) };
    let refused = || ClientError::Identity { path: entry.tls_file(|tls| &tls.cert_file) };
    reqwest::Identity::from_pem(pem).map(Some).map_err(|_| refused())
}

fn egress(entry: &Entry) -> Result<Option<reqwest::Proxy>, ClientError> {
    let Some(egress) = &entry.egress else { return Ok(None) };
    let mut proxy = reqwest::Proxy::all(egress.url.clone()).map_err(ClientError::Tls)?;
    if let Some(login) = &egress.login {
        proxy = proxy.basic_auth(&login.username, &login.password);
    }
    Ok(Some(proxy.no_proxy(reqwest::NoProxy::from_string(&egress.no_proxy))))
}
