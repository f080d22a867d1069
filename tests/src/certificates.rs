//! Certificate authorities of a cluster: one of Kubernetes, one of the stand-in registries.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// A certificate and its private key, PEM.
#[derive(Clone)]
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

/// Whom a certificate between agents and members is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A server's.
    Member,
    /// A client's.
    Agent,
}

const DAY: i64 = 24 * 3600;

/// An authority that signs server certificates.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes an authority with this common name.
    pub fn new(name: &str) -> Result<Self> {
        Self::with_key(name, KeyPair::generate().context("cannot make the key of an authority")?)
    }

    /// The authority with this common name and private key, PEM, that was made before.
    pub(crate) fn open(name: &str, key: &str) -> Result<Self> {
        Self::with_key(name, KeyPair::from_pem(key).context("cannot read the key of an authority")?)
    }

    fn with_key(name: &str, key: KeyPair) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new()).context("cannot describe an authority")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).context("cannot sign an authority")?;
        Ok(Self { pem: certificate.pem(), issuer: Issuer::new(params, key) })
    }

    /// Its certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its private key, PEM.
    pub(crate) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Signs a certificate of these names and addresses, for a server or a client.
    pub fn issue(&self, name: &str, hosts: &[String]) -> Result<Certificate> {
        let mut params = CertificateParams::new(hosts).context("cannot describe a certificate")?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().context("cannot make the key of a certificate")?;
        let certificate = params.signed_by(&key, &self.issuer).context("cannot sign a certificate")?;
        Ok(Certificate { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// The authority with this certificate and private key, both PEM.
    pub fn read(certificate: &str, key: &str) -> Result<Self> {
        let key = KeyPair::from_pem(key).context("cannot read the key of an authority")?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key).context("cannot read an authority")?;
        Ok(Self { pem: certificate.to_owned(), issuer })
    }

    /// Signs a certificate as the operator would for a private key of Tidepool's own, PEM, but with other dates: it is
    /// good for `days` from so many days ago or, negative, ahead.
    pub fn issue_dated(&self, name: &str, role: Role, key: &str, (ago, days): (i32, u32)) -> Result<String> {
        let mut params = CertificateParams::new([name.to_owned()]).context("cannot describe a certificate")?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match role {
            Role::Member => ExtendedKeyUsagePurpose::ServerAuth,
            Role::Agent => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        let begins = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
        let begins = begins.saturating_add_signed(-i64::from(ago) * DAY);
        let date = |seconds: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        (params.not_before, params.not_after) =
            (date(begins), date(begins.saturating_add_signed(i64::from(days) * DAY)));
        let key = KeyPair::from_pem(key).context("cannot read the key of a certificate")?;
        Ok(params.signed_by(&key, &self.issuer).context("cannot sign a certificate")?.pem())
    }

    /// Writes `<name>.crt` and `<name>.key` of a server with these names and addresses.
    pub(crate) fn write_server(&self, folder: &Path, name: &str, hosts: &[String]) -> Result<()> {
        let issued = self.issue(name, hosts)?;
        fs::write(folder.join(format!("{name}.crt")), issued.certificate).context("cannot write a certificate")?;
        fs::write(folder.join(format!("{name}.key")), issued.key).context("cannot write a key")
    }
}

/// Writes `<name>.key` and `<name>.pub`, the pair that signs service account tokens.
pub(crate) fn write_key_pair(folder: &Path, name: &str) -> Result<()> {
    let key = KeyPair::generate().context("cannot make a key pair")?;
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).context("cannot write a key")?;
    fs::write(folder.join(format!("{name}.pub")), key.public_key_pem()).context("cannot write a public key")
}
