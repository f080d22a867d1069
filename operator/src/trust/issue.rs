//! Makes authorities, and the certificates that they sign.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber, date_time_ymd,
};

use super::{certificate::Certificate, lifetimes::Validity};

/// Why something could not be issued; nothing known causes it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssueError {
    #[error("cannot make a key")]
    Key(#[source] rcgen::Error),
    #[error("cannot sign a certificate")]
    Sign(#[source] rcgen::Error),
    #[error("cannot read back a certificate that was just made")]
    ReadBack,
}

/// A certificate with its private key, PEM. Not `Debug`: the key must not get into a log.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) certificate: Certificate,
    pub(super) key: String,
}

impl Pair {
    /// Reads a pair back; none where the two do not belong together.
    pub(super) fn read(certificate: &[u8], key: &[u8]) -> Option<Self> {
        let certificate = Certificate::read(certificate)?;
        let pair = KeyPair::from_pem(std::str::from_utf8(key).ok()?).ok()?;
        certificate.is_of(&pair).then(|| Self { certificate, key: pair.serialize_pem() })
    }
}

/// Whom a certificate is for. A member's is for servers only and an agent's for clients only: neither can be the other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    Member,
    Agent,
}

/// A new private key, P-256.
pub(super) fn key() -> Result<KeyPair, IssueError> {
    KeyPair::generate().map_err(IssueError::Key)
}

/// A new authority.
pub(super) fn authority(now: SystemTime, lifetime: Duration) -> Result<Pair, IssueError> {
    let key = key()?;
    // A name of its own, so that two authorities in one bundle are not tried for each other.
    let name = format!("Tidepool authority {:08x}", rand::random::<u32>());
    let mut params = params(&name, Validity::from(now, lifetime));
    // It signs leaves only.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pem = params.self_signed(&key).map_err(IssueError::Sign)?.pem();
    let certificate = Certificate::read(pem.as_bytes()).ok_or(IssueError::ReadBack)?;
    Ok(Pair { certificate, key: key.serialize_pem() })
}

/// A new certificate of this name for `key`, signed by `authority`, which it does not outlive.
pub(super) fn leaf(
    authority: &Pair,
    (role, name): (Role, &str),
    key: &KeyPair,
    now: SystemTime,
    lifetime: Duration,
) -> Result<Certificate, IssueError> {
    let mut params = params(name, Validity::until(authority.certificate.validity.ends, now, lifetime));
    params.subject_alt_names = CertificateParams::new([name.to_owned()]).map_err(IssueError::Sign)?.subject_alt_names;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match role {
        Role::Member => ExtendedKeyUsagePurpose::ServerAuth,
        Role::Agent => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    params.use_authority_key_identifier_extension = true;
    let signer = KeyPair::from_pem(&authority.key).map_err(IssueError::Key)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate.pem, signer).map_err(IssueError::Sign)?;
    let pem = params.signed_by(key, &issuer).map_err(IssueError::Sign)?.pem();
    Certificate::read(pem.as_bytes()).ok_or(IssueError::ReadBack)
}

fn params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // By default it would be made from the key, and agents have many certificates of one key.
    params.serial_number = Some(SerialNumber::from(rand::random::<u64>() >> 1));
    let date = |time: SystemTime| date_time_ymd(1970, 1, 1) + time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (params.not_before, params.not_after) = (date(validity.begins), date(validity.ends));
    params
}
