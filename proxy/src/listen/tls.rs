//! The agents' TLS (P14): who this member is, and which agents it believes.
//!
//! Both are settled in the handshake: a peer without a certificate for agents of this very mirror never gets to say a
//! word of HTTP.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{
        NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _};
use tidepool_config::trust;
use webpki::EndEntityCert;

/// Why the agents' listener cannot have its TLS. No text repeats what the files hold.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// The mirror's uid makes no name.
    #[error("agents.mirror: is no uid of a mirror")]
    Mirror,
    /// No certificate, or one that is damaged.
    #[error("agents.certFile: holds no PEM certificate")]
    Certificate,
    /// No key, or one that is damaged.
    #[error("agents.keyFile: holds no PEM private key")]
    Key,
    /// The key is not that of the certificate, or of a kind that cannot be used.
    #[error("agents.keyFile: does not go with agents.certFile")]
    Pair(#[source] Error),
    /// No certificate of an authority, or one that is damaged.
    #[error("agents.caFile: holds no PEM certificates of authorities")]
    Authorities,
    /// The authorities cannot be used.
    #[error("agents.caFile")]
    Verifier(#[from] VerifierBuilderError),
    /// This build has no TLS 1.3.
    #[error("cannot set up TLS 1.3")]
    Version(#[source] Error),
}

/// The TLS of the agents' listener of the mirror with uid `mirror`, from PEM texts.
///
/// # Errors
/// An [`AgentsError`] that begins with the configuration's key.
pub(crate) fn server_config(
    mirror: &str,
    certificates: &[u8],
    key: &[u8],
    authorities: &[u8],
) -> Result<Arc<ServerConfig>, AgentsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let agent = ServerName::try_from(trust::agent_name(mirror)).map_err(|_| AgentsError::Mirror)?;
    let verifier = AgentVerifier { chain: chain_verifier(&provider, authorities)?, agent };
    let certificates = read_certificates(certificates).ok_or(AgentsError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| AgentsError::Key)?;
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
    let builder = builder.map_err(AgentsError::Version)?.with_client_cert_verifier(Arc::new(verifier));
    let mut config = builder.with_single_cert(certificates, key).map_err(AgentsError::Pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session is not verified again: its certificate may have ended, or its authority be gone. Agents keep
    // their connections, so a full handshake each time costs little.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn chain_verifier(
    provider: &Arc<CryptoProvider>,
    authorities: &[u8],
) -> Result<Arc<dyn ClientCertVerifier>, AgentsError> {
    let mut roots = RootCertStore::empty();
    for authority in read_certificates(authorities).ok_or(AgentsError::Authorities)? {
        roots.add(authority).map_err(|_| AgentsError::Authorities)?;
    }
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build()?)
}

/// All certificates of a PEM text; `None` when there is none or one is damaged.
fn read_certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!certificates.is_empty()).then_some(certificates)
}

/// Believes certificates that chain to the authorities and are those of agents of one mirror.
#[derive(Debug)]
struct AgentVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    agent: ServerName<'static>,
}

impl ClientCertVerifier for AgentVerifier {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        let certificate = EndEntityCert::try_from(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        let named = certificate.verify_is_valid_for_subject_name(&self.agent);
        named.map_err(|_| CertificateError::NotValidForName)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn what_cannot_be_used_is_named_by_its_key() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap().serialize_pem());
        let certificate = CertificateParams::new(["m".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        let key = key.serialize_pem();
        let cut = &certificate[..certificate.len() / 2];
        let error = |mirror: &str, certificate: &str, key: &str, authorities: &str| {
            let config = server_config(mirror, certificate.as_bytes(), key.as_bytes(), authorities.as_bytes());
            config.map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(error("uid", &certificate, &key, &certificate), Ok(()));
        let none = "holds no PEM";
        for (mirror, leaf, leaf_key, authorities, expected) in [
            ("a b", certificate.as_str(), key.as_str(), certificate.as_str(), "agents.mirror: is no uid".to_owned()),
            ("uid", "", &key, &certificate, format!("agents.certFile: {none} certificate")),
            ("uid", cut, &key, &certificate, format!("agents.certFile: {none} certificate")),
            ("uid", &certificate, &certificate, &certificate, format!("agents.keyFile: {none} private key")),
            ("uid", &certificate, &other, &certificate, "agents.keyFile: does not go with".to_owned()),
            ("uid", &certificate, &key, &key, format!("agents.caFile: {none} certificates")),
            ("uid", &certificate, &key, cut, format!("agents.caFile: {none} certificates")),
        ] {
            let got = error(mirror, leaf, leaf_key, authorities).expect_err(&expected);
            assert!(got.starts_with(&expected), "{got}, not {expected}");
        }
    }
}
