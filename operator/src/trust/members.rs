//! By what the members of a mirror are known: a certificate and its key, kept in their configuration's Secret.

use std::time::{Duration, SystemTime};

use rcgen::KeyPair;
use tidepool_config::trust::member_name;

use super::{
    TrustError,
    authorities::{Authorities, Data},
    certificate::Certificate,
    issue::{Pair, Role, key, leaf},
};

/// Keys of the configuration's Secret.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

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
    Pair::read(&live.get(CERTIFICATE)?.0, &live.get(KEY)?.0)
}

/// Whether a certificate is for `name`, valid, believed, and not yet to be renewed.
pub(super) fn is_good(
    certificate: &Certificate,
    name: &str,
    authorities: &Authorities,
    now: SystemTime,
    lifetime: Duration,
) -> bool {
    let validity = certificate.validity;
    certificate.names_only(name)
        && validity.begins <= now
        && now < validity.renew_at(lifetime)
        && authorities.vouch_for(certificate)
}
