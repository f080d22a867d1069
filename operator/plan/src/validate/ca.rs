//! References to certificates of authorities.

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
    if !has_certificate(text) {
        let message = format!("key {key} of {kind} {name} holds no PEM certificate: put one there");
        return Err((Reason::ReferenceInvalid, ".key", message));
    }
    Ok(Ca { reference: reference.clone(), fingerprint: crate::plan::hex(&Sha256::digest(text)) })
}

fn has_certificate(text: &[u8]) -> bool {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let text = String::from_utf8_lossy(text);
    let body = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map(|(body, _)| body);
    let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=') || b.is_ascii_whitespace();
    body.is_some_and(|body| !body.trim().is_empty() && body.bytes().all(base64))
}
