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
/// upstreams:
/// - registry: docker.io
/// - registry: reg.example.com:5000
///   url: https://registry.internal
///   tls: {caFile: /etc/ssl/reg.pem}
///   repositories: ["team/**"]
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyFile {
    /// Address of the registry API; default `127.0.0.1:5000`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "strict::socket_address")]
    pub listen: Option<SocketAddr>,
    /// Address of metrics and health; default none when run alone.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "strict::socket_address")]
    pub admin: Option<SocketAddr>,
    /// Where content is kept, and how much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// The registries that are mirrored, at least one; any other is refused.
    pub upstreams: Vec<Upstream>,
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
        Self { registry, url: None, tls: None, repositories: Vec::new() }
    }
}

/// TLS towards an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// PEM file of authorities that are trusted besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
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
        Self { listen: None, admin: None, storage: None, upstreams }
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
        for (index, upstream) in self.upstreams.iter().enumerate() {
            if self.upstreams[..index].iter().any(|other| other.registry == upstream.registry) {
                return Err(ProxyFileError::Duplicate { index, registry: upstream.registry.clone() });
            }
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

#[cfg(test)]
mod tests {
    use super::*;

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
