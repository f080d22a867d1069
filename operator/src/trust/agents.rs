//! By what agents are known: one key, and a certificate for each mirror, in a Secret that agents watch.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::{Duration, SystemTime},
};

use k8s_openapi::ByteString;
use rcgen::KeyPair;
use tidepool_config::trust::{AUTHORITIES_KEY, PRIVATE_KEY_KEY, agent_name, certificate_key};

use super::{
    TrustError,
    authorities::{Authorities, Data},
    certificate::Certificate,
    issue::{Role, key, leaf},
    members::{is_good, renewal},
};

/// So many certificates are given to agents: each is 0.8 KiB, and the API server refuses a Secret of more than 1 MiB as a
/// whole, so that one mirror too many would cost all the others theirs.
pub(super) const MOST: usize = 1000;

/// What agents are given.
pub(super) struct Agents {
    key: KeyPair,
    /// By the uid of the mirror.
    certificates: BTreeMap<String, Certificate>,
}

impl Agents {
    /// What agents had, as far as it is good, and the rest issued: a certificate for each of the mirrors with `uids`.
    ///
    /// When one is due, all are issued anew, for a new key: it is one write, and no key lives for ever.
    pub(super) fn new(
        authorities: &Authorities,
        uids: &[String],
        past: &Data,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Self, TrustError> {
        let mut agents = match Self::kept(authorities, uids, past, now, lifetime) {
            Some(kept) => kept,
            None => Self { key: key()?, certificates: BTreeMap::new() },
        };
        let signer = authorities.signer().ok_or(TrustError::NoAuthority)?;
        for uid in uids {
            if let Entry::Vacant(place) = agents.certificates.entry(uid.clone()) {
                place.insert(leaf(signer, (Role::Agent, &agent_name(uid)), &agents.key, now, lifetime)?);
            }
        }
        Ok(agents)
    }

    /// What is there, unless one of the certificates that are wanted must be another.
    fn kept(
        authorities: &Authorities,
        uids: &[String],
        live: &Data,
        now: SystemTime,
        lifetime: Duration,
    ) -> Option<Self> {
        let key = KeyPair::from_pem(std::str::from_utf8(&live.get(PRIVATE_KEY_KEY)?.0).ok()?).ok()?;
        let mut certificates = BTreeMap::new();
        for uid in uids {
            let Some(text) = live.get(&certificate_key(uid)) else { continue };
            let certificate = Certificate::read(&text.0)?;
            let good = certificate.is_of(&key) && is_good(&certificate, &agent_name(uid), authorities, now, lifetime);
            certificates.insert(uid.clone(), good.then_some(certificate)?);
        }
        Some(Self { key, certificates })
    }

    /// The Secret's entries.
    pub(super) fn data(&self, authorities: &Authorities) -> Data {
        let certificates = self.certificates.iter().map(|(uid, it)| (certificate_key(uid), it.pem.clone()));
        let rest = [
            (AUTHORITIES_KEY.to_owned(), authorities.bundle()),
            (PRIVATE_KEY_KEY.to_owned(), self.key.serialize_pem()),
        ];
        certificates.chain(rest).map(|(key, text)| (key, ByteString(text.into_bytes()))).collect()
    }

    /// When the first must be renewed, and when the first ends.
    pub(super) fn times(&self, authorities: &Authorities, lifetime: Duration) -> Option<(SystemTime, SystemTime)> {
        let certificates = || self.certificates.values();
        let renewal = certificates().map(|certificate| renewal(certificate, authorities, lifetime)).min()?;
        Some((renewal, certificates().map(|certificate| certificate.validity.ends).min()?))
    }
}
