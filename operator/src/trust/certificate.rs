//! Certificates as they are read back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{KeyPair, PublicKeyData as _};
use x509_parser::{extensions::GeneralName, pem::parse_x509_pem, prelude::X509Certificate};

use super::lifetimes::Validity;

/// A certificate, and what of it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// The text, of this certificate alone.
    pub(super) pem: String,
    /// From when to when it is valid.
    pub(super) validity: Validity,
    /// Whether it may sign others.
    pub(super) is_authority: bool,
    names: Vec<String>,
    public_key: Vec<u8>,
}

impl Certificate {
    /// Reads the first certificate of a text; none where that is not one.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        parsed(text, |certificate| {
            let names = certificate.subject_alternative_name().ok()?;
            let names = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            });
            Some(Self {
                pem: first(text)?,
                validity: Validity {
                    begins: time(certificate.validity().not_before.timestamp())?,
                    ends: time(certificate.validity().not_after.timestamp())?,
                },
                is_authority: certificate.is_ca(),
                names: names.collect(),
                public_key: certificate.public_key().raw.to_vec(),
            })
        })
    }

    /// Reads all certificates of a text up to the first that is none.
    pub(super) fn read_all(text: &[u8]) -> Vec<Self> {
        let (mut rest, mut all) = (text, Vec::new());
        while let Some(certificate) = Self::read(rest)
            && let Ok((after, _)) = parse_x509_pem(rest)
        {
            all.push(certificate);
            rest = after;
        }
        all
    }

    /// Whether it names this, and nothing else.
    pub(super) fn names_only(&self, name: &str) -> bool {
        self.names == [name]
    }

    /// Whether it was made for this key.
    pub(super) fn is_of(&self, key: &KeyPair) -> bool {
        self.public_key == key.subject_public_key_info()
    }

    /// Whether `authority` signed it.
    pub(super) fn is_signed_by(&self, authority: &Self) -> bool {
        let signed = parsed(self.pem.as_bytes(), |certificate| {
            parsed(authority.pem.as_bytes(), |authority| {
                let issued = certificate.issuer().as_raw() == authority.subject().as_raw();
                Some(issued && certificate.verify_signature(Some(authority.public_key())).is_ok())
            })
        });
        signed.unwrap_or_default()
    }
}

fn parsed<T>(text: &[u8], read: impl FnOnce(&X509Certificate<'_>) -> Option<T>) -> Option<T> {
    let (_, pem) = parse_x509_pem(text).ok().filter(|(_, pem)| pem.label == "CERTIFICATE")?;
    read(&pem.parse_x509().ok()?)
}

/// The text of the first certificate, without what stands around it.
fn first(text: &[u8]) -> Option<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = std::str::from_utf8(text).ok()?;
    let (begin, end) = (text.find("-----BEGIN CERTIFICATE-----")?, text.find(END)? + END.len());
    Some(format!("{}\n", text.get(begin..end)?))
}

fn time(seconds: i64) -> Option<SystemTime> {
    Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?))
}
