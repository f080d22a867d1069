//! By what the members of a mirror are known: a certificate and its key, kept in their configuration's Secret.

use std::time::{Duration, SystemTime};

use rcgen::KeyPair;
use tidepool_config::trust::member_name;
use tidepool_plan::names::{MEMBER_CERTIFICATE, MEMBER_PRIVATE_KEY};

use super::{
    TrustError,
    authorities::{Authorities, Data},
    certificate::Certificate,
    issue::{Pair, Role, key, leaf},
};

/// A certificate that begins later than this from now was made by a clock that was wrong: nobody believes it yet. A bit
/// later is no reason to issue all anew: it is our clock that may be behind.
const WRONG_CLOCK: Duration = Duration::from_secs(3600);

/// What the members had if it is still good, else something new.
pub(super) fn member(
    authorities: &Authorities,
    uid: &str,
    past: Option<Pair>,
    now: SystemTime,
    lifetime: Duration,
) -> Result<Pair, TrustError> {
    let name = member_name(uid);
    if let Some(pair) = past
        && is_good(&pair.certificate, &name, authorities, now, lifetime)
    {
        return Ok(pair);
    }
    let signer = authorities.signer().ok_or(TrustError::NoAuthority)?;
    let key: KeyPair = key()?;
    let certificate = leaf(signer, (Role::Member, &name), &key, now, lifetime)?;
    Ok(Pair { certificate, key: key.serialize_pem() })
}

/// What is in the configuration's Secret, if that is a pair.
pub(super) fn read(live: &Data) -> Option<Pair> {
    Pair::read(&live.get(MEMBER_CERTIFICATE)?.0, &live.get(MEMBER_PRIVATE_KEY)?.0)
}

/// Whether a certificate is for `name`, valid, believed, and not yet to be renewed.
pub(super) fn is_good(
    certificate: &Certificate,
    name: &str,
    authorities: &Authorities,
    now: SystemTime,
    lifetime: Duration,
) -> bool {
    certificate.names_only(name)
        && certificate.validity.begins <= now + WRONG_CLOCK
        && now < renewal(certificate, authorities, lifetime)
        && authorities.vouch_for(certificate)
}

/// When a certificate is to be renewed. One that was cut short at its authority's end is as good as any other that could
/// be had from that one, until another signs.
pub(super) fn renewal(certificate: &Certificate, authorities: &Authorities, lifetime: Duration) -> SystemTime {
    let validity = certificate.validity;
    match authorities.signer() {
        Some(signer) if validity.ends >= signer.certificate.validity.ends && validity.life() < lifetime => {
            validity.ends
        }
        _ => validity.renew_at(lifetime),
    }
}
