//! What a configuration's keys have to be to each other, and what is said where they are not.

use tidepool_oci::{RegistryName, RegistryNameError, RepositoryGlob, RepositoryGlobError};

use super::{Credentials, ProxyFile, Upstream};
use crate::ByteSize;

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
    /// What no request names as its host.
    #[error(
        "upstreams[{index}].host: {host} is no host name, expected one without scheme, port and path, such as docker-io.cache.corp"
    )]
    Host {
        /// Position of the entry, from 0.
        index: usize,
        /// What stands there.
        host: String,
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
    /// Whether it can be used, as far as the text tells.
    pub(super) fn check(&self) -> Result<(), ProxyFileError> {
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
            upstream.check_host(index, &self.upstreams[..index])?;
            upstream.check_pairs(index)?;
            upstream.check_repositories(index)?;
        }
        Ok(())
    }
}

impl Upstream {
    /// Its host name is one, and no other's; requests are told apart by it whatever its case.
    fn check_host(&self, index: usize, before: &[Self]) -> Result<(), ProxyFileError> {
        let Some(host) = &self.host else { return Ok(()) };
        let refused = || ProxyFileError::Host { index, host: host.clone() };
        match host.to_ascii_lowercase().parse::<RegistryName>() {
            Ok(name) if name.host_and_port().1.is_some() => return Err(refused()),
            // As a name of images it is an alias; as a host it is one.
            Ok(_) | Err(RegistryNameError::DockerHubAlias) => {}
            Err(RegistryNameError::Syntax) => return Err(refused()),
        }
        let same = |other: &Self| other.host.as_ref().is_some_and(|other| other.eq_ignore_ascii_case(host));
        if before.iter().any(same) {
            return Err(ProxyFileError::DuplicateHost { index, host: host.clone() });
        }
        Ok(())
    }

    fn check_repositories(&self, index: usize) -> Result<(), ProxyFileError> {
        for (position, glob) in self.repositories.iter().enumerate() {
            let read = glob.parse::<RepositoryGlob>();
            read.map_err(|source| ProxyFileError::Repositories { index, position, source })?;
        }
        Ok(())
    }

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
    fn a_host_is_one_as_requests_name_it_and_no_others_in_any_case() {
        let error = |text: &str| ProxyFile::parse(text).unwrap_err().to_string();
        let twice = error("upstreams: [{registry: a.b, host: c.d}, {registry: e.f, host: C.D}]\n");
        assert!(twice.starts_with("upstreams[1].host: C.D is that of another"), "{twice}");
        for host in ["c.d:5000", "https://c.d", "c.d/v2", "c.d.", "", "c d"] {
            let error = error(&format!("upstreams: [{{registry: a.b, host: \"{host}\"}}]\n"));
            assert!(error.starts_with("upstreams[0].host: ") && error.contains("without scheme, port"), "{error}");
        }
        for host in ["Docker-IO.cache.corp", "registry-1.docker.io", "10.0.0.1"] {
            assert!(ProxyFile::parse(&format!("upstreams: [{{registry: a.b, host: {host}}}]\n")).is_ok(), "{host}");
        }
    }
}
