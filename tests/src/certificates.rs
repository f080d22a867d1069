//! Certificate authorities of a cluster: one of Kubernetes, one of the stand-in registries.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// An authority that signs server certificates.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority with this common name.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new()).context("cannot describe an authority")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().context("cannot make the key of an authority")?;
        let certificate = params.self_signed(&key).context("cannot sign an authority")?;
        Ok(Self { pem: certificate.pem(), issuer: Issuer::new(params, key) })
    }

    /// Its certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes `<name>.crt` and `<name>.key` of a server with these names and addresses.
    pub(crate) fn write_server(&self, folder: &Path, name: &str, hosts: &[String]) -> Result<()> {
        let mut params = CertificateParams::new(hosts).context("cannot describe a server certificate")?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().context("cannot make the key of a server")?;
        let certificate = params.signed_by(&key, &self.issuer).context("cannot sign a server certificate")?;
        fs::write(folder.join(format!("{name}.crt")), certificate.pem()).context("cannot write a certificate")?;
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).context("cannot write a key")
    }
}

/// Writes `<name>.key` and `<name>.pub`, the pair that signs service account tokens.
pub(crate) fn write_key_pair(folder: &Path, name: &str) -> Result<()> {
    let key = KeyPair::generate().context("cannot make a key pair")?;
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).context("cannot write a key")?;
    fs::write(folder.join(format!("{name}.pub")), key.public_key_pem()).context("cannot write a public key")
}
