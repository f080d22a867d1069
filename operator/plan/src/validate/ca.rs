//! References to certificates of authorities.

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use tidepool_api::{CaKind, CaRef};

use super::Reason;
use crate::{Ca, Referenced};

/// Looks a reference up. The error is the reason, the key of the reference that is to blame, and the message.
pub(super) fn ca(reference: &CaRef, referenced: &Referenced) -> Result<Ca, (Reason, &'static str, String)> {
    let CaRef { kind, name, key } = reference;
    let kind = match kind {
        CaKind::ConfigMap => "ConfigMap",
        CaKind::Secret => "Secret",
    };
    let Some(source) = referenced.source(reference) else {
        let message = format!("{kind} {name} is not in the operator's namespace: create it there");
        return Err((Reason::ReferenceNotFound, ".name", message));
    };
    if source.ours {
        let message = format!("{kind} {name} belongs to the operator: put the certificates in one of your own");
        return Err((Reason::ReferenceInvalid, ".name", message));
    }
    let Some(text) = source.data.get(key) else {
        let message = format!("{kind} {name} has no key {key}: add the key, or name one that it has");
        return Err((Reason::ReferenceNotFound, ".key", message));
    };
    if let Err(why) = authorities(text) {
        let message = format!("key {key} of {kind} {name} {why}: put PEM certificates of authorities there");
        return Err((Reason::ReferenceInvalid, ".key", message));
    }
    Ok(Ca { reference: reference.clone(), fingerprint: crate::plan::hex(&Sha256::digest(text)) })
}

/// Whether members can trust what is in `text`. Read by the parsers of their TLS, since a member does not start with an
/// authority that those refuse.
fn authorities(text: &[u8]) -> Result<(), String> {
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(text) {
        count += 1;
        let sound = certificate.ok().is_some_and(|der| webpki::anchor_from_trusted_cert(&der).is_ok());
        if !sound {
            return Err(format!("holds PEM whose certificate {count} cannot be read"));
        }
    }
    if count == 0 { Err("holds no PEM certificate".to_owned()) } else { Ok(()) }
}
