//! By what this agent knows members, and they it (design P14): authorities, one key, and a certificate per mirror, as
//! the operator issues them in a Secret. Never in a log.
//!
//! - [`Identity`]: the Secret's content, checked.
//! - [`IdentityView`]: what events of the Secret make of it.
//! - [`follow`]: each new one is connected by and kept.
//! - `kept`: the file that outlives a restart of the container.

mod follow;
mod kept;
mod view;

use std::{collections::BTreeMap, fmt, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject as _},
};
use tidepool_config::trust::{AUTHORITIES_KEY, PRIVATE_KEY_KEY, certificate_key};

pub use follow::{follow, view};
pub use kept::{KeepError, keep, load};
pub use view::IdentityView;

/// The Secret's entries that matter, and what they allow.
#[derive(Clone)]
pub struct Identity {
    entries: BTreeMap<String, String>,
    mirrors: BTreeMap<String, Arc<ClientConfig>>,
}

/// Why entries are no identity. Says nothing of what is in them.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// An entry is missing.
    #[error("it has no key {0}")]
    Missing(&'static str),
    /// An entry is not what it should be.
    #[error("its {key} is no PEM of what it should be")]
    Pem {
        /// The key of the entry.
        key: String,
        /// Why.
        source: pem::Error,
    },
    /// There is no certificate in an entry.
    #[error("its {0} has no certificate")]
    Empty(String),
    /// TLS cannot work with an entry.
    #[error("its {key} cannot be used")]
    Unusable {
        /// The key of the entry.
        key: String,
        /// Why.
        source: rustls::Error,
    },
}

impl Identity {
    /// Checks a Secret's entries; those that mean nothing to an agent are left out.
    ///
    /// # Errors
    /// [`IdentityError`] when any of them is wrong: half an identity is none.
    pub fn new(mut entries: BTreeMap<String, String>) -> Result<Self, IdentityError> {
        entries.retain(|key, _| key == PRIVATE_KEY_KEY || key.ends_with(CERTIFICATE));
        let authorities = Arc::new(authorities(entry(&entries, AUTHORITIES_KEY)?)?);
        let key = PrivateKeyDer::from_pem_slice(entry(&entries, PRIVATE_KEY_KEY)?.as_bytes())
            .map_err(|source| IdentityError::Pem { key: PRIVATE_KEY_KEY.to_owned(), source })?;
        let provider = Arc::new(provider());
        let mut mirrors = BTreeMap::new();
        for (name, text) in &entries {
            let Some(uid) = name.strip_suffix(CERTIFICATE).filter(|_| name != AUTHORITIES_KEY) else { continue };
            let chain = certificates(name, text)?;
            let config = config(&provider, &authorities, chain, key.clone_key());
            let config = config.map_err(|source| IdentityError::Unusable { key: name.clone(), source })?;
            mirrors.insert(uid.to_owned(), Arc::new(config));
        }
        Ok(Self { entries, mirrors })
    }

    /// The uids of the mirrors that this agent may pull through, each with how it does.
    pub fn mirrors(&self) -> impl Iterator<Item = (&str, &Arc<ClientConfig>)> {
        self.mirrors.iter().map(|(uid, config)| (uid.as_str(), config))
    }

    /// Whether two identities are the same to a mirror.
    #[must_use]
    pub fn is_same_for(&self, other: &Self, uid: &str) -> bool {
        let certificate = certificate_key(uid);
        [AUTHORITIES_KEY, PRIVATE_KEY_KEY, &certificate]
            .iter()
            .all(|key| self.entries.get(*key) == other.entries.get(*key))
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("mirrors", &self.mirrors.keys()).finish_non_exhaustive()
    }
}

/// How keys of certificates end.
const CERTIFICATE: &str = ".crt";

fn entry<'a>(entries: &'a BTreeMap<String, String>, key: &'static str) -> Result<&'a str, IdentityError> {
    entries.get(key).map(String::as_str).ok_or(IdentityError::Missing(key))
}

fn certificates(key: &str, text: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let certificates = read.map_err(|source| IdentityError::Pem { key: key.to_owned(), source })?;
    if certificates.is_empty() { Err(IdentityError::Empty(key.to_owned())) } else { Ok(certificates) }
}

fn authorities(text: &str) -> Result<RootCertStore, IdentityError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(AUTHORITIES_KEY, text)? {
        let unusable = |source| IdentityError::Unusable { key: AUTHORITIES_KEY.to_owned(), source };
        store.add(certificate).map_err(unusable)?;
    }
    Ok(store)
}

/// Both sides are ours: TLS 1.3 alone, AES-128 first, as safe here as 256 and cheaper by a fourth.
fn provider() -> CryptoProvider {
    let cipher_suites = vec![
        tidepool_runtime::aes_128(),
        tidepool_runtime::aes_256(),
        aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() }
}

/// A session is resumed where a member offers it, never with early data: nothing is said before the member is known.
fn config(
    provider: &Arc<CryptoProvider>,
    authorities: &Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(Arc::clone(authorities))
        .with_client_auth_cert(chain, key)
}

#[cfg(test)]
mod tests;
