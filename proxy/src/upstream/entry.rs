//! An upstream's entry in the configuration, with the contents of the files it names.

use std::{fmt, path::PathBuf};

use tidepool_config::{Credentials, DockerConfigError, EgressProxy, Login, Scope, docker_login};
use tidepool_oci::RepositoryGlobError;
use url::Url;

use crate::settings::{FileError, Files};

/// What makes an upstream: equal entries make equal ones. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(super) config: tidepool_config::Upstream,
    pub(super) login: Option<Login>,
    /// PEM of the authorities besides the system's.
    pub(super) authorities: Option<Vec<u8>>,
    /// PEM of our own certificate and its key.
    pub(super) identity: Option<Vec<u8>>,
    pub(super) egress: Option<Egress>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("config", &self.config).field("egress", &self.egress).finish_non_exhaustive()
    }
}

/// The proxy through which upstreams are reached.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Egress {
    pub(super) url: Url,
    /// Separated by commas.
    pub(super) no_proxy: String,
    pub(super) login: Option<Login>,
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").field("url", &self.url.as_str()).field("login", &self.login).finish_non_exhaustive()
    }
}

/// Why an upstream's entry, or the egress proxy's, cannot be used. No text repeats what a file holds.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The registry's name makes no address.
    #[error("url: the registry's name makes no address, name one")]
    Address(#[source] url::ParseError),
    /// A pattern in `repositories`.
    #[error("repositories: {0}")]
    Repositories(RepositoryGlobError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds no certificate.
    #[error("tls.caFile: {path} holds no PEM certificate")]
    ParseAuthorities {
        /// The file.
        path: PathBuf,
    },
    /// Our own certificate and key are none, or do not belong together.
    #[error("tls.certFile: {path} and tls.keyFile hold no PEM certificate and key that belong together")]
    Identity {
        /// The file of the certificate.
        path: PathBuf,
    },
    /// The file holds no password.
    #[error("{field}: {path} holds no password: one line of text is expected")]
    Password {
        /// The key that names it.
        field: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The user can be sent to nobody.
    #[error("username: is empty or has a colon in it, which no login can carry")]
    Username,
    /// The Docker configuration gives no login.
    #[error("credentials.dockerConfigFile: {path} {reason}")]
    DockerConfig {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: DockerConfigError,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] reqwest::Error),
}

impl Entry {
    /// Puts together what the configuration and its files say.
    pub(crate) fn read(
        config: &tidepool_config::Upstream,
        egress: Option<&Egress>,
        files: &Files,
    ) -> Result<Self, ClientError> {
        let tls = config.tls.clone().unwrap_or_default();
        let authorities = match &tls.ca_file {
            Some(path) => Some(files.get("tls.caFile", path)?.to_vec()),
            None => None,
        };
        let identity = match (&tls.cert_file, &tls.key_file) {
            (Some(certificate), Some(key)) => {
                let (certificate, key) = (files.get("tls.certFile", certificate)?, files.get("tls.keyFile", key)?);
                Some([certificate, b"\n", key].concat())
            }
            _ => None,
        };
        let login = match &config.credentials {
            Some(credentials) => Some(login(config, credentials, files)?),
            None => None,
        };
        // The name that clients use changes nothing about how the upstream is asked.
        let config = tidepool_config::Upstream { host: None, ..config.clone() };
        Ok(Self { config, login, authorities, identity, egress: egress.cloned() })
    }

    /// The path of one of the files of `tls`, for messages.
    pub(super) fn tls_file(&self, which: impl Fn(&tidepool_config::Tls) -> &Option<PathBuf>) -> PathBuf {
        self.config.tls.as_ref().and_then(|tls| which(tls).clone()).unwrap_or_default()
    }

    /// What the credentials are for.
    pub(super) fn scope(&self) -> Scope {
        self.config.credentials.as_ref().map(|credentials| credentials.scope).unwrap_or_default()
    }

    /// Whether any certificate is taken for the registry's.
    pub(super) fn takes_any_certificate(&self) -> bool {
        self.config.tls.as_ref().is_some_and(|tls| tls.insecure_skip_verify)
    }
}

impl Egress {
    /// Puts together what the configuration and its file say.
    pub(crate) fn read(config: &EgressProxy, files: &Files) -> Result<Self, ClientError> {
        let login = match (&config.username, &config.password_file) {
            (Some(username), Some(path)) => {
                let password = password("passwordFile", path, files)?;
                Some(checked(Login { username: username.clone(), password })?)
            }
            _ => None,
        };
        Ok(Self { url: config.url.clone(), no_proxy: config.no_proxy.join(","), login })
    }
}

fn login(config: &tidepool_config::Upstream, credentials: &Credentials, files: &Files) -> Result<Login, ClientError> {
    if let Some(path) = &credentials.docker_config_file {
        let text = files.get("credentials.dockerConfigFile", path)?;
        let found = docker_login(text, &config.registry);
        return found.map_err(|reason| ClientError::DockerConfig { path: path.clone(), reason }).and_then(checked);
    }
    let (Some(username), Some(path)) = (&credentials.username, &credentials.password_file) else {
        return Err(ClientError::Username);
    };
    checked(Login { username: username.clone(), password: password("credentials.passwordFile", path, files)? })
}

fn checked(login: Login) -> Result<Login, ClientError> {
    let sound = !login.username.is_empty() && !login.username.contains(':');
    if sound { Ok(login) } else { Err(ClientError::Username) }
}

/// A file's text without the newline at its end.
fn password(field: &'static str, path: &std::path::Path, files: &Files) -> Result<String, ClientError> {
    let text = std::str::from_utf8(files.get(field, path)?).ok().map(|text| text.trim_end_matches(['\n', '\r']));
    let text = text.filter(|text| !text.is_empty() && !text.contains(['\n', '\0']));
    text.map(str::to_owned).ok_or_else(|| ClientError::Password { field, path: path.to_owned() })
}
