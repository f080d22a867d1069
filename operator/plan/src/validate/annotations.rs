//! Annotations in a spec, which the API server would refuse with the object that is to have them.

use std::collections::BTreeMap;

use super::{
    Invalid,
    ingress::{LABEL, is_dns_name},
};

/// The most that keys and values of an object's annotations may hold, less room for ours.
const MOST_BYTES: usize = 255 << 10;

/// Checks the annotations in a field; `example` is the name of one.
pub(super) fn check(field: &str, raw: &BTreeMap<String, String>, example: &str, faults: &mut Vec<Invalid>) {
    if let Some(key) = raw.keys().find(|key| !is_key(key)) {
        let message = format!("{key:?} is no name of an annotation: use one such as {example}");
        faults.push(Invalid::spec(field, message));
    }
    let bytes: usize = raw.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MOST_BYTES {
        let message = format!("hold {bytes} bytes, and at most {MOST_BYTES} fit: make them shorter");
        faults.push(Invalid::spec(field, message));
    }
}

/// Whether an annotation may have this name: an optional DNS name and `/`, then letters, digits, `-`, `_` and `.`.
fn is_key(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let sound = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let name = name.len() <= LABEL && sound && ends(name.chars().next()) && ends(name.chars().next_back());
    name && prefix.is_none_or(|prefix| is_dns_name(&prefix.to_ascii_lowercase()))
}
