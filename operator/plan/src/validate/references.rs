//! ConfigMaps and Secrets that a spec names, looked up in what was found.

use tidepool_api::{CaKind, SecretRef};

use super::{Invalid, Reason};
use crate::{Referenced, Source};

/// An object that is there and is the user's.
pub(super) struct Found<'a> {
    /// The path of the reference, such as `spec.upstreams[0].credentials.secretRef`.
    field: String,
    kind: CaKind,
    name: &'a str,
    source: &'a Source,
}

/// Looks an object up, or says what is wrong with its name.
pub(super) fn find<'a>(
    field: &str,
    kind: CaKind,
    name: &'a str,
    referenced: &'a Referenced,
) -> Result<Found<'a>, Invalid> {
    let (not_found, invalid) = reasons(kind);
    let fault = |reason, message| Invalid { reason, field: format!("{field}.name"), message };
    if referenced.is_ours(kind, name) {
        let message = format!("{} {name} belongs to the operator: name one of your own", word(kind));
        return Err(fault(invalid, message));
    }
    let Some(source) = referenced.source(kind, name) else {
        let message = format!("{} {name} is not in the operator's namespace: create it there", word(kind));
        return Err(fault(not_found, message));
    };
    Ok(Found { field: field.to_owned(), kind, name, source })
}

pub(super) fn secret<'a>(
    field: &str,
    reference: &'a SecretRef,
    referenced: &'a Referenced,
) -> Result<Found<'a>, Invalid> {
    find(field, CaKind::Secret, &reference.name, referenced)
}

impl Found<'_> {
    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.source.data.get(key).map(Vec::as_slice)
    }

    /// The value of a key that must be there.
    pub(super) fn require(&self, key: &str) -> Result<&[u8], Invalid> {
        self.get(key).ok_or_else(|| self.invalid(&format!("has no key {key}"), "add the key"))
    }

    /// The object cannot be used: `what` is wrong with it, and `remedy` is to be done. Neither may hold its content.
    pub(super) fn invalid(&self, what: &str, remedy: &str) -> Invalid {
        let (_, reason) = reasons(self.kind);
        let message = format!("{} {} {what}: {remedy}", word(self.kind), self.name);
        Invalid { reason, field: format!("{}.name", self.field), message }
    }

    /// As [`Found::invalid`], where the reference itself names `key`.
    pub(super) fn invalid_key(&self, key: &str, what: &str, remedy: &str) -> Invalid {
        let field = format!("{}.key", self.field);
        Invalid { field, ..self.invalid(&format!("{what} (key {key})"), remedy) }
    }

    /// The reference names a key that is not there.
    pub(super) fn no_key(&self, key: &str) -> Invalid {
        let (not_found, invalid) = reasons(self.kind);
        let reason = match self.kind {
            CaKind::ConfigMap => not_found,
            CaKind::Secret => invalid,
        };
        let fault = self.invalid(&format!("has no key {key}"), "add the key, or name one that it has");
        Invalid { reason, field: format!("{}.key", self.field), ..fault }
    }
}

fn reasons(kind: CaKind) -> (Reason, Reason) {
    match kind {
        CaKind::ConfigMap => (Reason::ReferenceNotFound, Reason::ReferenceInvalid),
        CaKind::Secret => (Reason::SecretNotFound, Reason::SecretInvalid),
    }
}

fn word(kind: CaKind) -> &'static str {
    match kind {
        CaKind::ConfigMap => "ConfigMap",
        CaKind::Secret => "Secret",
    }
}
