//! The proxy's configuration file (design, "standalone file").

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};
use tidepool_oci::{RegistryName, RepositoryGlob, RepositoryGlobError};
use url::Url;

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

/// One mirrored registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Upstream {
    /// The name that images carry.
    pub registry: RegistryName,
    /// Where it is reached; default from the built-in table, else `https://<registry>`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "strict::registry_url")]
    pub url: Option<Url>,
    /// The host name, without port, under which clients find this registry alone: `Host: docker-io.cache.corp` with
    /// path `/v2/library/alpine/...`. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Who we are to it; default nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// How its certificate is checked; default: the system's authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The repositories that may be pulled, as globs (`*` within a path component, `**` across); empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
}

impl Upstream {
    /// An upstream at its usual address, with nothing special.
    #[must_use]
    pub fn plain(registry: RegistryName) -> Self {
        Self { registry, url: None, host: None, credentials: None, tls: None, repositories: Vec::new() }
    }
}

/// Who we are to an upstream: `username` with `passwordFile`, or `dockerConfigFile`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credentials {
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File of the user's password or token; a newline at its end is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// File that `docker login` wrote, with an entry for the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker_config_file: Option<PathBuf>,
    /// What they are for.
    #[serde(default)]
    pub scope: Scope,
}

/// What credentials for an upstream are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// They lift limits: only what the upstream lets everybody read is served.
    #[default]
    PublicImages,
    /// Whatever they read is served to nodes.
    AllImages,
}

/// TLS towards an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// PEM file of authorities that are trusted besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of our own certificate, for a registry that asks for one. It counts as credentials: nodes and users are
    /// served all that it reads (nodes by `credentials.scope` where there are credentials beside it), clients without a
    /// login what everybody can read without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// PEM file of that certificate's private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Whether any certificate is taken for the registry's; whoever is on the way can then read and change all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_verify: bool,
}

/// Why a text is no proxy configuration.
#[derive(Debug, thiserror::Error)]
pub enum ProxyFileError {
    /// Not YAML, an unknown or missing key, or a value of another kind; the text names key, line and what was expected.
    #[error("{0}")]
    Syntax(#[from] serde_yaml::Error),
    /// The list of upstreams is empty.
    #[error("upstreams: lists no registry, at least one is needed, such as `- registry: docker.io`")]
    NoUpstream,
    /// A limit of nothing.
    #[error("storage.limit: 0 would keep nothing; give a size such as 50Gi, or leave it out for no limit")]
    NoRoom,
    /// A key that needs another beside it, or does not go with it.
    #[error("{field}: {expected}")]
    Together {
        /// The path of the key.
        field: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// One host name for two registries.
    #[error("upstreams[{index}].host: {host} is that of another upstream, keep one of the two")]
    DuplicateHost {
        /// Position of the second entry, from 0.
        index: usize,
        /// The host name.
        host: String,
    },
    /// One registry twice.
    #[error("upstreams[{index}].registry: {registry} is listed before, keep one of the two")]
    Duplicate {
        /// Position of the second entry, from 0.
        index: usize,
        /// The registry.
        registry: RegistryName,
    },
    /// A pattern of repositories that is none.
    #[error("upstreams[{index}].repositories[{position}]: {source}")]
    Repositories {
        /// Position of the upstream, from 0.
        index: usize,
        /// Position of the pattern in it, from 0.
        position: usize,
        /// What was expected.
        source: RepositoryGlobError,
    },
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

    fn check(&self) -> Result<(), ProxyFileError> {
        if self.upstreams.is_empty() {
            return Err(ProxyFileError::NoUpstream);
        }
        if self.storage.as_ref().and_then(|storage| storage.limit) == Some(ByteSize(0)) {
            return Err(ProxyFileError::NoRoom);
        }
        let egress = self.egress_proxy.as_ref();
        if egress.is_some_and(|egress| egress.username.is_some() != egress.password_file.is_some()) {
            return Err(together("egressProxy", "username and passwordFile go together: give both or neither"));
        }
        for (index, upstream) in self.upstreams.iter().enumerate() {
            if self.upstreams[..index].iter().any(|other| other.registry == upstream.registry) {
                return Err(ProxyFileError::Duplicate { index, registry: upstream.registry.clone() });
            }
            if let Some(host) = &upstream.host
                && self.upstreams[..index].iter().any(|other| other.host.as_ref() == Some(host))
            {
                return Err(ProxyFileError::DuplicateHost { index, host: host.clone() });
            }
            upstream.check_pairs(index)?;
            for (position, glob) in upstream.repositories.iter().enumerate() {
                glob.parse::<RepositoryGlob>().map_err(|source| ProxyFileError::Repositories {
                    index,
                    position,
                    source,
                })?;
            }
        }
        Ok(())
    }
}

impl Upstream {
    /// Keys that mean something only together.
    fn check_pairs(&self, index: usize) -> Result<(), ProxyFileError> {
        if let Some(Credentials { username, password_file, docker_config_file, .. }) = &self.credentials {
            let login = username.is_some() && password_file.is_some() && docker_config_file.is_none();
            let docker = username.is_none() && password_file.is_none() && docker_config_file.is_some();
            if !login && !docker {
                let expected = "needs username and passwordFile, or dockerConfigFile alone";
                return Err(together(&format!("upstreams[{index}].credentials"), expected));
            }
        }
        let tls = self.tls.as_ref();
        if tls.is_some_and(|tls| tls.cert_file.is_some() != tls.key_file.is_some()) {
            let expected = "certFile and keyFile go together: give both or neither";
            return Err(together(&format!("upstreams[{index}].tls"), expected));
        }
        if tls.is_some_and(|tls| tls.insecure_skip_verify && tls.ca_file.is_some()) {
            let expected = "insecureSkipVerify takes any certificate, so caFile has no use: keep one of the two";
            return Err(together(&format!("upstreams[{index}].tls"), expected));
        }
        Ok(())
    }
}

fn together(field: &str, expected: &'static str) -> ProxyFileError {
    ProxyFileError::Together { field: field.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_need_each_other_are_asked_for_by_name() {
        let error = |text: &str| ProxyFile::parse(text).unwrap_err().to_string();
        let of = |rest: &str| error(&format!("upstreams: [{{registry: a.b, {rest}}}]\n"));
        assert!(
            of("credentials: {username: u}").starts_with("upstreams[0].credentials: needs username and passwordFile")
        );
        assert!(of("credentials: {username: u, passwordFile: p, dockerConfigFile: d}").contains("alone"));
        assert!(of("tls: {certFile: c}").starts_with("upstreams[0].tls: certFile and keyFile"));
        assert!(of("tls: {caFile: c, insecureSkipVerify: true}").contains("keep one of the two"));
        let hosts = error("upstreams: [{registry: a.b, host: c.d}, {registry: e.f, host: c.d}]\n");
        assert!(hosts.starts_with("upstreams[1].host: c.d"), "{hosts}");
        let egress = error("egressProxy: {url: \"http://p:3128\", username: u}\nupstreams: [{registry: a.b}]\n");
        assert!(egress.starts_with("egressProxy: username and passwordFile"), "{egress}");
        let secret = error("egressProxy: {url: \"http://u:secret@p\"}\nupstreams: [{registry: a.b}]\n");
        assert!(secret.starts_with("egressProxy.url: ") && !secret.contains("secret"), "{secret}");
    }

    #[test]
    fn reads_all_that_a_member_is_told() {
        let text = "revision: r1\nagents: {listen: \"0.0.0.0:5443\", mirror: u1, certFile: /c, keyFile: /k, caFile: /a}\naccess: {anonymousPull: None, usersFile: /u}\negressProxy: {url: \"http://p:3128\", noProxy: [.corp], username: u, passwordFile: /p}\nupstreams:\n- registry: a.b\n  host: a-b.cache\n  credentials: {username: u, passwordFile: /p, scope: AllImages}\n  tls: {insecureSkipVerify: true}\n";
        let file = ProxyFile::parse(text).unwrap();
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
    fn errors_name_the_key_and_what_was_expected() {
        let error = |text: &str| ProxyFile::parse(text).unwrap_err().to_string();
        let unknown = error("upstreams:\n- registry: docker.io\n  urls: http://a\n");
        assert!(unknown.contains("urls") && unknown.contains("url") && unknown.contains("line"), "{unknown}");
        let wrong = error("listen: here\nupstreams: [{registry: docker.io}]\n");
        assert!(wrong.contains("listen"), "{wrong}");
        let alias = error("upstreams: [{registry: index.docker.io}]\n");
        assert!(alias.contains("docker.io"), "{alias}");
        assert!(error("upstreams: []\n").starts_with("upstreams:"));
        assert!(error("upstreams: [{registry: a.b}, {registry: a.b}]\n").starts_with("upstreams[1].registry:"));
        let glob = error("upstreams: [{registry: a.b, repositories: [\"team/**\", \"/A\"]}]\n");
        assert!(glob.starts_with("upstreams[0].repositories[1]: a pattern"), "{glob}");
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
