//! Where the configuration comes from: a file, or a value that never changes; with the command line's changes.

use std::{fs, io, net::SocketAddr, path::PathBuf};

use tidepool_config::{ProxyFile, ProxyFileError};
use tidepool_runtime::{LogControl, LogFilter};

/// A configuration that can be read again.
#[derive(Clone, Debug)]
pub struct ConfigSource {
    origin: Origin,
    /// Instead of the file's.
    pub(crate) listen: Option<SocketAddr>,
    /// Instead of the file's.
    pub(crate) admin: Option<SocketAddr>,
    /// Folder of the store, instead of the file's.
    pub(crate) store: Option<PathBuf>,
    /// The log that follows the file; none where the command line says what is logged, or nobody started a log.
    pub(crate) log: Option<LogControl>,
}

#[derive(Clone, Debug)]
enum Origin {
    Path(PathBuf),
    Value(Box<ProxyFile>),
}

/// Why a configuration cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is wrong; the text names the key and what was expected.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ProxyFileError,
    },
}

impl ConfigSource {
    /// A file, read again when it changes.
    #[must_use]
    pub fn file(path: PathBuf) -> Self {
        Self { origin: Origin::Path(path), listen: None, admin: None, store: None, log: None }
    }

    /// Has what is logged follow what was read.
    pub(crate) fn log_as(&self, filter: &LogFilter) {
        if let Some(log) = &self.log {
            log.set(filter);
        }
    }

    /// The file's path, where it is one.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match &self.origin {
            Origin::Path(path) => Some(path.clone()),
            Origin::Value(_) => None,
        }
    }

    /// The configuration as it is now. Blocks.
    pub(crate) fn read(&self) -> Result<ProxyFile, ConfigError> {
        let mut file = match &self.origin {
            Origin::Value(file) => ProxyFile::clone(file),
            Origin::Path(path) => {
                let path = path.clone();
                let text = fs::read_to_string(&path);
                let text = text.map_err(|source| ConfigError::Read { path: path.clone(), source })?;
                ProxyFile::parse(&text).map_err(|source| ConfigError::Parse { path, source })?
            }
        };
        file.listen = self.listen.or(file.listen);
        file.admin = self.admin.or(file.admin);
        if let Some(path) = &self.store {
            file.storage.get_or_insert_default().path = Some(path.clone());
        }
        Ok(file)
    }
}

impl From<&ProxyFile> for ConfigSource {
    fn from(file: &ProxyFile) -> Self {
        file.clone().into()
    }
}

impl From<ProxyFile> for ConfigSource {
    /// A configuration that stays; the files it names are read again when they change all the same.
    fn from(file: ProxyFile) -> Self {
        Self { origin: Origin::Value(Box::new(file)), listen: None, admin: None, store: None, log: None }
    }
}
