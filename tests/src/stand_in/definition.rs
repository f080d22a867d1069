//! What a stand-in registry is: its names, its users, and who may read what.

use serde::{Deserialize, Serialize};

/// A registry that a cluster knows under the names of a real one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StandIn {
    /// What images call it: `docker.io`.
    pub name: String,
    /// Host names that lead to it, on nodes and in pods.
    pub hosts: Vec<String>,
    /// Its token server; without one everybody may read, or who logs in by [`StandIn::basic`].
    pub tokens: Option<TokenServer>,
    /// Whether each request needs a user's login of its own, as at ECR; then there is no token server.
    pub basic: bool,
    /// Its users at the start; passwords may change later.
    pub users: Vec<User>,
    /// Prefixes of the repositories that only users read: `team/`.
    pub private: Vec<String>,
    /// Whether a client must show a certificate of the stand-ins' authority.
    pub client_certificate: bool,
    /// Whether nobody but the [`crate::Egress`] knows where its names lead.
    pub hidden: bool,
    /// Its address on the bridge, given when the cluster starts.
    pub(crate) address: String,
    /// The port of its contents on the control plane's loopback, given when the cluster starts.
    pub(crate) backend: u16,
}

/// The token server that a registry's challenge names.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenServer {
    /// Where tokens are had; a host of the same stand-in and the path `/token`.
    pub realm: String,
    /// The service that tokens are for.
    pub service: String,
}

/// Somebody who reads private repositories.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    /// The login's name.
    pub name: String,
    /// The login's password.
    pub password: String,
}

impl StandIn {
    /// Docker Hub: registry and token server under different names.
    pub fn docker_hub() -> Self {
        let hosts = ["registry-1.docker.io", "auth.docker.io", "docker.io", "index.docker.io"];
        Self::with_tokens("docker.io", &hosts, "https://auth.docker.io/token", "registry.docker.io")
    }

    /// GitHub's registry, its own token server.
    pub fn ghcr() -> Self {
        Self::with_tokens("ghcr.io", &["ghcr.io"], "https://ghcr.io/token", "ghcr.io")
    }

    /// A registry that everybody may read without a token, under one name.
    pub fn open(name: &str) -> Self {
        let (name, hosts) = (name.to_owned(), vec![name.to_owned()]);
        let (users, private, address) = (Vec::new(), Vec::new(), String::new());
        let (basic, client_certificate, hidden) = (false, false, false);
        Self { name, hosts, tokens: None, basic, users, private, client_certificate, hidden, address, backend: 0 }
    }

    /// A registry whose token server has another name.
    pub fn with_realm(name: &str, realm: &str) -> Self {
        Self::with_tokens(name, &[name, realm], &format!("https://{realm}/token"), name)
    }

    /// A registry that only users read, who log in with each request, as at ECR.
    pub fn basic(name: &str) -> Self {
        Self { basic: true, ..Self::open(name) }
    }

    /// Adds a user.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push(User { name: name.to_owned(), password: password.to_owned() });
        self
    }

    /// Lets only users read repositories that begin with `prefix`.
    #[must_use]
    pub fn private(mut self, prefix: &str) -> Self {
        self.private.push(prefix.to_owned());
        self
    }

    /// Asks every client for a certificate.
    #[must_use]
    pub fn client_certificate(mut self) -> Self {
        self.client_certificate = true;
        self
    }

    /// Keeps its names from nodes and pods: it is reached through the [`crate::Egress`] alone.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    fn with_tokens(name: &str, hosts: &[&str], realm: &str, service: &str) -> Self {
        let tokens = TokenServer { realm: realm.to_owned(), service: service.to_owned() };
        Self { hosts: hosts.iter().map(|&host| host.to_owned()).collect(), tokens: Some(tokens), ..Self::open(name) }
    }
}
