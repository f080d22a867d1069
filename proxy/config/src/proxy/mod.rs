//! The proxy's configuration file (design, "standalone file").

mod check;
mod tags;
mod upstream;

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

pub use check::ProxyFileError;
pub use tags::{Tags, UpstreamGone};
pub use upstream::{Credentials, Scope, Tls, Upstream};

use crate::{ByteSize, PUBLIC_REGISTRIES, strict};

/// What a proxy serves, where, and where it keeps it. YAML; unknown keys are refused.
///
/// ```yaml
/// listen: 127.0.0.1:5000
/// admin: 127.0.0.1:8080
/// storage: {path: /var/cache/tidepool, limit: 50Gi}
/// access: {anonymousPull: PublicImages, usersFile: /etc/tidepool/users}
/// egressProxy: {url: "http://proxy.corp:3128", noProxy: [".corp", 10.0.0.0/8]}
/// upstreams:
/// - registry: docker.io
///   credentials: {username: me, passwordFile: /etc/tidepool/hub-token}
/// - registry: reg.example.com:5000
///   url: https://registry.internal
///   credentials: {dockerConfigFile: /root/.docker/config.json, scope: AllImages}
///   tls: {caFile: /etc/ssl/reg.pem, certFile: /etc/ssl/me.pem, keyFile: /etc/ssl/me.key}
///   repositories: ["team/**"]
///   tags: {revalidateAfter: 10m, serveStaleFor: 168h, immutable: ["v*.*.*"], upstreamGone: Refuse}
/// ```
///
/// The file and all files it names are read again when they change; what cannot be used then leaves the old in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyFile {
    /// Address of the registry API; default `127.0.0.1:5000`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "strict::socket_address")]
    pub listen: Option<SocketAddr>,
    /// Address of metrics and health; default none when run alone.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "strict::socket_address")]
    pub admin: Option<SocketAddr>,
    /// A word for this state of the file and of all files it names; reported back once it is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Which events are logged, unless the command line says it: a level, or directives; default `info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// The listener for node agents; default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<Agents>,
    /// Who may pull at `listen`; default everybody what is public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// The proxy through which upstreams are reached; default the one that `HTTPS_PROXY` and its kin name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress_proxy: Option<EgressProxy>,
    /// Where content is kept, and how much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// The registries that are mirrored, at least one; any other is refused.
    pub upstreams: Vec<Upstream>,
}

/// The listener for node agents: TLS on both sides, by names that [`crate::trust`] makes of `mirror`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Agents {
    /// Its address.
    pub listen: SocketAddr,
    /// Uid of the mirror that is served.
    pub mirror: String,
    /// PEM file of this member's certificate.
    pub cert_file: PathBuf,
    /// PEM file of its private key.
    pub key_file: PathBuf,
    /// PEM file of the authorities whose agents are believed.
    pub ca_file: PathBuf,
}

/// Who may pull at the clients' listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Access {
    /// What a client without a login may pull.
    #[serde(default)]
    pub anonymous_pull: AnonymousPull,
    /// File of users, as `htpasswd -B` writes it: a client that logs in as one of them may pull all. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users_file: Option<PathBuf>,
}

/// What a client without a login may pull.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnonymousPull {
    /// What the upstream lets everybody read.
    #[default]
    PublicImages,
    /// Whatever the credentials read.
    All,
    /// Nothing.
    None,
}

/// The proxy through which upstreams are reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EgressProxy {
    /// Its address, http or https.
    #[serde(deserialize_with = "strict::proxy_url")]
    pub url: Url,
    /// Hosts, `.domains`, addresses and networks that are reached without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_proxy: Vec<String>,
    /// Its user; default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File of that user's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

/// Where a proxy keeps content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Storage {
    /// The store's folder, made where it is missing; default one in the user's cache directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// How many bytes of content are kept; beyond it the least recently pulled goes. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<ByteSize>,
}

impl ProxyFile {
    /// What a proxy without a file serves: the public registries.
    #[must_use]
    pub fn public_registries() -> Self {
        let upstreams =
            PUBLIC_REGISTRIES.iter().filter_map(|(name, _)| name.parse().ok()).map(Upstream::plain).collect();
        Self {
            listen: None,
            admin: None,
            revision: None,
            log_level: None,
            agents: None,
            access: None,
            egress_proxy: None,
            storage: None,
            upstreams,
        }
    }

    /// Reads and checks a file's text.
    ///
    /// # Errors
    /// A [`ProxyFileError`] whose text names the key and what was expected there.
    pub fn parse(text: &str) -> Result<Self, ProxyFileError> {
        let file: Self = serde_yaml::from_str(text)?;
        file.check()?;
        Ok(file)
    }

    /// The file's text, which [`ProxyFile::parse`] reads back.
    ///
    /// # Errors
    /// When a value cannot be written as YAML, such as a path that is no UTF-8.
    pub fn to_yaml(&self) -> Result<String, serde_yaml::Error> {
        serde_yaml::to_string(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_that_a_member_is_told() {
        let text = "revision: r1\nlogLevel: \"info,tidepool_proxy=debug\"\nagents: {listen: \"0.0.0.0:5443\", mirror: u1, certFile: /c, keyFile: /k, caFile: /a}\naccess: {anonymousPull: None, usersFile: /u}\negressProxy: {url: \"http://p:3128\", noProxy: [.corp], username: u, passwordFile: /p}\nupstreams:\n- registry: a.b\n  host: a-b.cache\n  credentials: {username: u, passwordFile: /p, scope: AllImages}\n  tls: {insecureSkipVerify: true}\n";
        let file = ProxyFile::parse(text).unwrap();
        assert_eq!(file.log_level.as_deref(), Some("info,tidepool_proxy=debug"));
        assert_eq!(file.access.as_ref().unwrap().anonymous_pull, AnonymousPull::None);
        assert_eq!(file.upstreams[0].credentials.as_ref().unwrap().scope, Scope::AllImages);
        assert_eq!(ProxyFile::parse(&file.to_yaml().unwrap()).unwrap(), file);
    }

    #[test]
    fn reads_the_example_and_writes_it_back() {
        let text = "listen: 127.0.0.1:5000\nadmin: 127.0.0.1:8080\nstorage: {path: /var/cache/tidepool, limit: 50Gi}\nupstreams:\n- registry: docker.io\n- registry: reg.example.com:5000\n  url: https://registry.internal\n  tls: {caFile: /etc/ssl/reg.pem}\n  repositories: [\"team/**\"]\n";
        let file = ProxyFile::parse(text).unwrap();
        assert_eq!(file.upstreams.len(), 2);
        assert_eq!(ProxyFile::parse(&file.to_yaml().unwrap()).unwrap(), file);
    }

    #[test]
    fn wrong_values_are_told_with_their_key_and_what_belongs_there() {
        for (text, start, expected) in [
            ("listen: localhost:5000", "listen: ", "\"localhost:5000\", expected an IP address and port, such as 127."),
            ("admin: 5000", "admin: ", "`5000`, expected an IP address and port, such as 127.0.0.1:5000"),
            ("upstreams: [{registry: DOCKER.io}]", "upstreams[0].registry: ", "lower-case host"),
            ("upstreams: [{registry: a.b, url: notaurl}]", "upstreams[0].url: notaurl is no http or https", "https://"),
            ("upstreams: [{registry: a.b, url: \"a.b:5000\"}]", "upstreams[0].url: a.b:5000 is no", "https://"),
            ("upstreams: [{registry: a.b, url: 5000}]", "upstreams[0].url: ", "`5000`, expected an http or https"),
            ("storage: {limit: 0}\nupstreams: [{registry: a.b}]", "storage.limit: ", "50Gi"),
        ] {
            let error = ProxyFile::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(start) && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_limit_alone_and_empty_values_leave_the_defaults() {
        let file = ProxyFile::parse("listen:\nstorage: {limit: 5Gi}\nupstreams: [{registry: a.b, url: }]\n").unwrap();
        assert_eq!(file.storage, Some(Storage { path: None, limit: Some(ByteSize(5 << 30)) }));
        assert_eq!((file.listen, &file.upstreams[0].url), (None, &None));
        assert_eq!(ProxyFile::parse(&file.to_yaml().unwrap()).unwrap(), file);
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        for url in ["https://u:secret@a.b", "u:secret@a.b", "https://a.b?secret", "https://a.b#secret", "//u:secret@"] {
            let text = format!("upstreams: [{{registry: a.b, url: \"{url}\"}}]\n");
            let error = ProxyFile::parse(&text).unwrap_err().to_string();
            assert!(error.starts_with("upstreams[0].url:") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_public_registries_are_a_valid_file() {
        let file = ProxyFile::public_registries();
        assert_eq!(file.upstreams.len(), PUBLIC_REGISTRIES.len());
        assert_eq!(ProxyFile::parse(&file.to_yaml().unwrap()).unwrap(), file);
    }
}
