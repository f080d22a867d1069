//! `spec.ingress`: the host names that lead to the mirror.

use tidepool_api::{CaKind, Ingress, Routing};

use super::{Invalid, Reason};
use crate::{Referenced, ValidIngress, ValidUpstream};

/// Longest part between two dots of a DNS name, and longest name.
const LABEL: usize = 63;
const NAME: usize = 253;

/// The Ingress; upstreams get their host names where each has one of its own.
pub(super) fn ingress(
    raw: Option<&Ingress>,
    upstreams: &mut [ValidUpstream],
    referenced: &Referenced,
    faults: &mut Vec<Invalid>,
) -> Option<ValidIngress> {
    let raw = raw?;
    if !is_dns_name(&raw.host) {
        let message = "is no DNS name: use lower-case letters, digits, '-' and '.', such as mirror.example.com";
        faults.push(Invalid::spec("spec.ingress.host", message));
        return None;
    }
    if let Some(key) = raw.annotations.keys().find(|key| !is_annotation_key(key)) {
        let message = format!("{key:?} is no name of an annotation: use one such as nginx.ingress.kubernetes.io/x");
        faults.push(Invalid::spec("spec.ingress.annotations", message));
    }
    if let Some(name) = &raw.tls_secret_name
        && referenced.is_ours(CaKind::Secret, name)
    {
        let message = format!("Secret {name} belongs to the operator: name one of your own");
        let field = "spec.ingress.tlsSecretName".to_owned();
        faults.push(Invalid { reason: Reason::SecretInvalid, field, message });
    }
    let hosts = match raw.routing {
        Routing::Path => vec![raw.host.clone()],
        Routing::HostPerUpstream => hosts(&raw.host, upstreams, faults),
    };
    Some(ValidIngress {
        host: raw.host.clone(),
        hosts,
        class: raw.class_name.clone(),
        annotations: raw.annotations.clone(),
        tls_secret: raw.tls_secret_name.clone(),
    })
}

fn hosts(domain: &str, upstreams: &mut [ValidUpstream], faults: &mut Vec<Invalid>) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for (index, upstream) in upstreams.iter_mut().enumerate() {
        let label = upstream.registry.as_str().replace(['.', ':', '_'], "-");
        let host = format!("{label}.{domain}");
        let refuse = |message: String| Invalid::spec(format!("spec.upstreams[{index}].registry"), message);
        if !is_dns_name(&host) {
            let message = format!("{} makes no host name: set ingress.routing to Path", upstream.registry);
            faults.push(refuse(message));
        } else if hosts.contains(&host) {
            let message = format!("would have host name {host}, as one before: set ingress.routing to Path");
            faults.push(refuse(message));
        }
        upstream.host = Some(host.clone());
        hosts.push(host);
    }
    hosts
}

/// Whether it is a host name that an Ingress may have; an address is none.
fn is_dns_name(name: &str) -> bool {
    let sound = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let label = |label: &str| {
        let ends = label.starts_with('-') || label.ends_with('-');
        !label.is_empty() && label.len() <= LABEL && !ends && label.bytes().all(sound)
    };
    name.len() <= NAME && name.split('.').all(label) && name.contains(|c: char| c.is_ascii_lowercase())
}

/// Whether an annotation may have this name: an optional DNS name and `/`, then letters, digits, `-`, `_` and `.`.
fn is_annotation_key(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let sound = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let name = name.len() <= LABEL && sound && ends(name.chars().next()) && ends(name.chars().next_back());
    name && prefix.is_none_or(|prefix| is_dns_name(&prefix.to_ascii_lowercase()))
}
