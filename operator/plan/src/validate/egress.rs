//! `spec.egressProxy`: the proxy through which registries are reached.

use tidepool_api::EgressProxy;

use super::{Invalid, login, url::url};
use crate::{Referenced, ValidEgress};

pub(super) fn egress(
    raw: Option<&EgressProxy>,
    referenced: &Referenced,
    faults: &mut Vec<Invalid>,
) -> Option<ValidEgress> {
    let raw = raw?;
    let url = url("spec.egressProxy.url", &raw.url, "a proxy", "http://proxy.corp:3128", faults);
    let reference = raw.credentials_secret_ref.as_ref();
    let login = reference.map(|it| login::plain("spec.egressProxy.credentialsSecretRef", it, referenced));
    let login = login.transpose().map_err(|fault| faults.push(fault)).ok()?;
    let url = url?;
    if url.path() != "/" {
        faults.push(Invalid::spec("spec.egressProxy.url", "has a path, and a proxy has none: leave it out"));
    }
    Some(ValidEgress { url, no_proxy: raw.no_proxy.clone(), login })
}
