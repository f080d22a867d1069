//! Users and passwords in Secrets, of the three types that are taken: basic-auth, dockerconfigjson, Opaque.

use tidepool_api::SecretRef;
use tidepool_config::{Login, docker_login};
use tidepool_oci::RegistryName;

use super::{
    Invalid,
    references::{Found, secret},
};
use crate::Referenced;

const DOCKER: &str = ".dockerconfigjson";

/// The login for a registry.
pub(super) fn for_registry(
    field: &str,
    reference: &SecretRef,
    registry: &RegistryName,
    referenced: &Referenced,
) -> Result<Login, Invalid> {
    let found = secret(field, reference, referenced)?;
    match found.get(DOCKER) {
        Some(text) => {
            let remedy = format!("run `docker login {registry}` and make the Secret of the file it writes");
            docker_login(text, registry).map_err(|why| found.invalid(&format!("{why} (key {DOCKER})"), &remedy))
        }
        None => keys(&found),
    }
}

/// The login in keys `username` and `password`.
pub(super) fn plain(field: &str, reference: &SecretRef, referenced: &Referenced) -> Result<Login, Invalid> {
    keys(&secret(field, reference, referenced)?)
}

fn keys(found: &Found<'_>) -> Result<Login, Invalid> {
    let username = text(found, "username")?;
    if username.contains(':') {
        return Err(found.invalid("has a username with ':' in it", "a login can have none, so use another user"));
    }
    Ok(Login { username, password: text(found, "password")? })
}

/// A value of one line; a newline at its end is left out, as `echo` puts one there.
fn text(found: &Found<'_>, key: &str) -> Result<String, Invalid> {
    let text = std::str::from_utf8(found.require(key)?);
    let text = text.map_err(|_| found.invalid(&format!("has a {key} that is no text"), "write it as UTF-8"))?;
    let line = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if line.is_empty() {
        return Err(found.invalid(&format!("has an empty {key}"), "write it there"));
    }
    if line.contains(char::is_control) {
        return Err(found.invalid(&format!("has a {key} of several lines"), "write it as one line"));
    }
    Ok(line.to_owned())
}
