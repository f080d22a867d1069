//! `spec.upstreams`: each registry once, with an address, authorities and patterns that mean something.

use tidepool_api::Upstream;
use tidepool_oci::{RegistryName, RepositoryGlob};
use url::Url;

use super::{Invalid, ca::ca, parsed};
use crate::{Referenced, ValidUpstream};

pub(super) fn upstreams(raw: &[Upstream], referenced: &Referenced, faults: &mut Vec<Invalid>) -> Vec<ValidUpstream> {
    if raw.is_empty() {
        faults.push(Invalid::spec("spec.upstreams", "lists no registry: add one, such as {registry: docker.io}"));
    }
    let mut valid: Vec<ValidUpstream> = Vec::new();
    for (index, upstream) in raw.iter().enumerate() {
        let field = format!("spec.upstreams[{index}]");
        if raw[..index].iter().any(|other| other.registry == upstream.registry) {
            let message = format!("{} is listed before: keep one of the two", upstream.registry);
            faults.push(Invalid::spec(format!("{field}.registry"), message));
        }
        valid.extend(one_upstream(&field, upstream, referenced, faults));
    }
    valid
}

fn one_upstream(
    field: &str,
    raw: &Upstream,
    referenced: &Referenced,
    faults: &mut Vec<Invalid>,
) -> Option<ValidUpstream> {
    let registry = parsed::<RegistryName>(&format!("{field}.registry"), &raw.registry, faults);
    let url = raw.url.as_ref().and_then(|text| url(&format!("{field}.url"), text, faults));
    let reference = raw.tls.as_ref().and_then(|tls| tls.ca_ref.as_ref());
    let ca = reference.and_then(|reference| match ca(reference, referenced) {
        Ok(ca) => Some(ca),
        Err((reason, key, message)) => {
            faults.push(Invalid { reason, field: format!("{field}.tls.caRef{key}"), message });
            None
        }
    });
    let globs = raw.repositories.iter().enumerate();
    let repositories = globs
        .filter_map(|(index, text)| parsed::<RepositoryGlob>(&format!("{field}.repositories[{index}]"), text, faults))
        .collect();
    Some(ValidUpstream { registry: registry?, url, ca, repositories })
}

fn url(field: &str, text: &str, faults: &mut Vec<Invalid>) -> Option<Url> {
    let mut refuse = |message: &str| faults.push(Invalid::spec(field, message));
    // The text is not repeated in messages: there may be a password in it.
    let Some(url) = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
    else {
        refuse(
            "is no address of a registry: use http:// or https:// and a host, such as https://registry.internal:8443",
        );
        return None;
    };
    if text.contains(['@', '?', '#']) {
        refuse("may have no user, query or fragment: leave '@', '?', '#' and what belongs to them out");
        return None;
    }
    Some(url)
}
