//! The operator's authorities: the one that signs, the next, and those that are still believed.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use k8s_openapi::{ByteString, jiff::Timestamp};

use super::{
    certificate::Certificate,
    issue::{IssueError, Pair, authority},
    stage::{Held, Step, step},
};

/// Whether everybody is told of an authority.
pub(super) type IsTold<'a> = &'a (dyn Fn(&Certificate) -> bool + Sync);

/// The entries of a Secret.
pub(super) type Data = BTreeMap<String, ByteString>;

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
/// Since when everybody is told of the next, as a timestamp.
const NEXT_TOLD: &str = "next.told";
const PREVIOUS: &str = "previous.crt";

/// What is in Secret `tidepool-authority`.
#[derive(Clone, Default)]
pub(super) struct Authorities {
    current: Option<Pair>,
    next: Option<Pair>,
    /// Since when everybody is told of the next.
    told: Option<SystemTime>,
    /// Certificates alone: they sign no more, so their keys are gone.
    previous: Vec<Certificate>,
}

impl Authorities {
    /// Reads the Secret's entries. What makes no sense is left out with a word in the log; the certificate of an
    /// authority whose key is lost is still believed, for what it signed is in use.
    pub(super) fn read(data: &Data) -> Self {
        let entry = |key: &str| data.get(key).map(|bytes| bytes.0.as_slice());
        let mut previous = entry(PREVIOUS).map(Certificate::read_all).unwrap_or_default();
        let mut pair = |certificate: &str, key: &str| {
            let text = entry(certificate)?;
            let pair = Pair::read(text, entry(key).unwrap_or_default());
            let pair = pair.filter(|pair| pair.certificate.is_authority);
            if pair.is_none() {
                tracing::warn!(
                    entry = certificate,
                    "an authority in Secret tidepool-authority cannot sign: replacing it"
                );
                previous.extend(Certificate::read(text));
            }
            pair
        };
        let (current, next) = (pair(CERTIFICATE, KEY), pair(NEXT_CERTIFICATE, NEXT_KEY));
        previous.retain(|certificate| certificate.is_authority);
        let told = entry(NEXT_TOLD).filter(|_| next.is_some()).and_then(|text| std::str::from_utf8(text).ok());
        let told = told.and_then(|text| text.parse::<Timestamp>().ok()).map(SystemTime::from);
        Self { current, next, told, previous }
    }

    /// The Secret's entries.
    pub(super) fn data(&self) -> Data {
        let pair = |pair: &Option<Pair>, certificate: &str, key: &str| {
            let pair = pair.clone().into_iter();
            pair.flat_map(|pair| [(certificate.to_owned(), pair.certificate.pem), (key.to_owned(), pair.key)])
                .collect::<Vec<_>>()
        };
        let mut entries = pair(&self.current, CERTIFICATE, KEY);
        entries.extend(pair(&self.next, NEXT_CERTIFICATE, NEXT_KEY));
        if let Some(told) = self.told.and_then(|told| Timestamp::try_from(told).ok()) {
            entries.push((NEXT_TOLD.to_owned(), told.to_string()));
        }
        if !self.previous.is_empty() {
            entries.push((PREVIOUS.to_owned(), pems(&self.previous)));
        }
        entries.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))).collect()
    }

    /// All that are believed, PEM: by members of agents, and by agents of members. In the order they were made, so that
    /// nothing is written anew because another of them signs.
    pub(super) fn bundle(&self) -> String {
        let mut believed: Vec<_> = self.believed().collect();
        believed.sort_by_key(|certificate| (certificate.validity.begins, &certificate.pem));
        pems(believed)
    }

    /// The one that signs. After [`Self::advance`] there is one.
    pub(super) fn signer(&self) -> Option<&Pair> {
        self.current.as_ref()
    }

    /// Whether a certificate is signed by one that is believed.
    pub(super) fn vouch_for(&self, certificate: &Certificate) -> bool {
        self.believed().any(|authority| certificate.is_signed_by(authority))
    }

    /// When the last that can sign ends.
    pub(super) fn ends(&self) -> Option<SystemTime> {
        self.current.iter().chain(&self.next).map(|pair| pair.certificate.validity.ends).max()
    }

    fn believed(&self) -> impl Iterator<Item = &Certificate> {
        let pairs = self.current.iter().chain(&self.next).map(|pair| &pair.certificate);
        pairs.chain(&self.previous)
    }

    /// Until when nothing is due, or none if something is. `is_told` says of an authority whether everybody is told of it.
    pub(super) fn idle(&self, is_told: IsTold<'_>, now: SystemTime, lifetime: Duration) -> Option<SystemTime> {
        match step(&self.held(is_told), now, lifetime) {
            Step::Wait(until) => Some(until),
            _ => None,
        }
    }

    /// Does all that is due, and says whether that was anything, and when something will be.
    pub(super) fn advance(
        &mut self,
        is_told: IsTold<'_>,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<(bool, SystemTime), IssueError> {
        let mut changed = false;
        loop {
            let held = self.held(is_told);
            let due = step(&held, now, lifetime);
            match due {
                Step::Wait(until) => return Ok((changed, until)),
                Step::Forget => self.forget(now),
                Step::Begin => self.current = Some(authority(now, lifetime)?),
                Step::Prepare => (self.next, self.told) = (Some(authority(now, lifetime)?), None),
                Step::Tell => self.told = Some(now),
                Step::Promote => {
                    if !held.is_told {
                        tracing::warn!(
                            "not everybody is told of the authority that signs from now on: see what failed"
                        );
                    }
                    self.previous.extend(self.current.take().map(|old| old.certificate));
                    (self.current, self.told) = (self.next.take(), None);
                }
            }
            tracing::info!(step = ?due, "the operator's authorities change");
            changed = true;
        }
    }

    fn forget(&mut self, now: SystemTime) {
        let lives = |certificate: &Certificate| certificate.validity.ends > now;
        self.previous.retain(lives);
        for place in [&mut self.current, &mut self.next] {
            *place = place.take().filter(|pair| lives(&pair.certificate));
        }
    }

    fn held(&self, is_told: IsTold<'_>) -> Held {
        let validity = |pair: &Option<Pair>| Some(pair.as_ref()?.certificate.validity);
        Held {
            current: validity(&self.current),
            next: validity(&self.next),
            is_told: self.next.as_ref().is_some_and(|next| is_told(&next.certificate)),
            told: self.told,
            previous: self.previous.iter().map(|certificate| certificate.validity).collect(),
        }
    }
}

fn pems<'a>(certificates: impl IntoIterator<Item = &'a Certificate>) -> String {
    certificates.into_iter().map(|certificate| certificate.pem.as_str()).collect()
}
