//! `spec.upstreams`: each registry once, with an address, certificates, credentials and patterns that mean something.

use tidepool_api::{CredentialScope, Credentials, Upstream};
use tidepool_config::Scope;
use tidepool_oci::{RegistryName, RepositoryGlob};

use super::{Invalid, login, parsed, tags::tags, tls, url::url};
use crate::{Referenced, ValidCredentials, ValidUpstream};

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
    let address = raw
        .url
        .as_ref()
        .and_then(|text| url(&format!("{field}.url"), text, "a registry", "https://registry.internal:8443", faults));
    let globs = raw.repositories.iter().enumerate();
    let repositories = globs
        .filter_map(|(index, text)| parsed::<RepositoryGlob>(&format!("{field}.repositories[{index}]"), text, faults))
        .collect();
    let tags = raw.tags.as_ref().map(|raw| tags(&format!("{field}.tags"), raw, faults));
    let registry = registry?;
    let credentials = raw.credentials.as_ref().map(|raw| credentials(field, raw, &registry, referenced));
    let settings = raw.tls.clone().unwrap_or_default();
    if settings.insecure_skip_verify && settings.ca_ref.is_some() {
        let message = "takes any certificate, so tls.caRef has no use: remove one of the two";
        faults.push(Invalid::spec(format!("{field}.tls.insecureSkipVerify"), message));
    }
    let authorities = settings.ca_ref.as_ref();
    let authorities = authorities.map(|it| tls::authorities(&format!("{field}.tls.caRef"), it, referenced));
    let client = settings.client_cert_secret_ref.as_ref();
    let client = client.map(|it| tls::client(&format!("{field}.tls.clientCertSecretRef"), it, referenced));
    Some(ValidUpstream {
        registry,
        url: address,
        host: None,
        credentials: kept(credentials, faults),
        authorities: kept(authorities, faults),
        client: kept(client, faults),
        insecure_skip_verify: settings.insecure_skip_verify,
        repositories,
        tags,
    })
}

/// The value, if there is one; what is wrong with it goes to the faults.
fn kept<T>(checked: Option<Result<T, Invalid>>, faults: &mut Vec<Invalid>) -> Option<T> {
    checked?.map_err(|fault| faults.push(fault)).ok()
}

fn credentials(
    field: &str,
    raw: &Credentials,
    registry: &RegistryName,
    referenced: &Referenced,
) -> Result<ValidCredentials, Invalid> {
    let field = format!("{field}.credentials.secretRef");
    let login = login::for_registry(&field, &raw.secret_ref, registry, referenced)?;
    let scope = match raw.scope {
        CredentialScope::PublicImages => Scope::PublicImages,
        CredentialScope::AllImages => Scope::AllImages,
    };
    Ok(ValidCredentials { login, scope })
}
