//! `spec.ingress`: the host names that lead to the mirror.

use tidepool_api::{CaKind, Ingress, Routing};

use super::{Invalid, Reason, annotations};
use crate::{Referenced, ValidIngress, ValidUpstream};

/// Longest part between two dots of a DNS name, and longest name.
pub(super) const LABEL: usize = 63;
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
    annotations::check("spec.ingress.annotations", &raw.annotations, "nginx.ingress.kubernetes.io/x", faults);
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
pub(super) fn is_dns_name(name: &str) -> bool {
    let sound = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let label = |label: &str| {
        let ends = label.starts_with('-') || label.ends_with('-');
        !label.is_empty() && label.len() <= LABEL && !ends && label.bytes().all(sound)
    };
    name.len() <= NAME && name.split('.').all(label) && name.contains(|c: char| c.is_ascii_lowercase())
}
