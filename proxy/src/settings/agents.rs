//! The TLS of the agents' listener, which is the same as long as the files it is made of are.

use std::sync::Arc;

use rustls::ServerConfig;
use sha2::{Digest as _, Sha256};
use tidepool_config::ProxyFile;
use tokio_util::sync::CancellationToken;

use super::{Files, SettingsError};
use crate::listen::tls;

/// The TLS of the agents' listener. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct AgentsTls {
    config: Arc<ServerConfig>,
    /// Of all it is made of.
    hash: [u8; 32],
    replaced: CancellationToken,
}

impl AgentsTls {
    /// What the configuration and its files say; `previous`, where that is the same.
    pub(super) fn read(
        file: &ProxyFile,
        files: &Files,
        previous: Option<&Self>,
    ) -> Result<Option<Self>, SettingsError> {
        let Some(agents) = &file.agents else { return Ok(None) };
        let certificate = files.get("agents.certFile", &agents.cert_file)?;
        let key = files.get("agents.keyFile", &agents.key_file)?;
        let authorities = files.get("agents.caFile", &agents.ca_file)?;
        let mut hash = Sha256::new();
        for text in [agents.mirror.as_bytes(), certificate, key, authorities] {
            hash.update(text.len().to_be_bytes());
            hash.update(text);
        }
        let hash = hash.finalize().into();
        if let Some(same) = previous.filter(|previous| previous.hash == hash) {
            return Ok(Some(same.clone()));
        }
        let config = tls::server_config(&agents.mirror, certificate, key, authorities)?;
        Ok(Some(Self { config, hash, replaced: CancellationToken::new() }))
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Ends once other certificates or authorities are in use: those whom these let in have to show themselves again.
    pub(crate) async fn replaced(&self) {
        self.replaced.cancelled().await;
    }

    /// Tells so, unless `next` is the same.
    fn give_way_to(&self, next: Option<&Self>) {
        if next.is_none_or(|next| next.hash != self.hash) {
            self.replaced.cancel();
        }
    }
}

impl super::Settings {
    /// To be called once `next` is in use instead.
    pub(crate) fn give_way_to(&self, next: &Self) {
        if let Some(agents) = &self.agents {
            agents.give_way_to(next.agents.as_ref());
        }
    }
}
