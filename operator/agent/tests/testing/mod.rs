//! An authority for tests, as the operator's: what it issues to members and agents. Shared by unit tests and suites.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, missing_docs, reason = "each user takes what it needs")]

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::{RootCertStore, ServerConfig, crypto::aws_lc_rs, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tidepool_config::trust::{AUTHORITIES_KEY, PRIVATE_KEY_KEY, agent_name, certificate_key, member_name};

/// One authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "tidepool");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: String, usage: ExtendedKeyUsagePurpose, key: &KeyPair) -> String {
        let mut params = CertificateParams::new([name]).unwrap();
        params.extended_key_usages = vec![usage];
        params.signed_by(key, &self.0).unwrap().pem()
    }

    /// An agent's certificate for a mirror.
    pub fn agent(&self, uid: &str, key: &str) -> String {
        self.issue(agent_name(uid), ExtendedKeyUsagePurpose::ClientAuth, &KeyPair::from_pem(key).unwrap())
    }

    /// A member of a mirror that believes agents of these authorities.
    pub fn member(&self, uid: &str, believed: &[&Authority]) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let certificate = self.issue(member_name(uid), ExtendedKeyUsagePurpose::ServerAuth, &key);
        let mut roots = RootCertStore::empty();
        for authority in believed {
            roots.add(authority.0.der().clone()).unwrap();
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
            );
        Arc::new(config.unwrap())
    }
}

/// The entries of agents' Secret: certificates for these mirrors by the last authority, members of all believed.
pub fn entries(authorities: &[&Authority], uids: &[&str]) -> BTreeMap<String, String> {
    let key = KeyPair::generate().unwrap().serialize_pem();
    let bundle: String = authorities.iter().map(|authority| authority.0.pem()).collect();
    let issuer = authorities.last().unwrap();
    let mut entries: BTreeMap<_, _> = uids.iter().map(|uid| (certificate_key(uid), issuer.agent(uid, &key))).collect();
    entries.insert(AUTHORITIES_KEY.to_owned(), bundle);
    entries.insert(PRIVATE_KEY_KEY.to_owned(), key);
    entries
}

/// The Secret.
pub fn secret(authorities: &[&Authority], uids: &[&str]) -> Secret {
    let data = entries(authorities, uids).into_iter().map(|(key, text)| (key, ByteString(text.into_bytes())));
    Secret { data: Some(data.collect()), ..Secret::default() }
}
