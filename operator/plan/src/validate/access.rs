//! `spec.access`: who may pull at the port for clients.

use tidepool_api::{Access, AnonymousPull, SecretRef};

use super::{Invalid, references::secret};
use crate::{Concealed, Referenced, ValidAccess};

/// Keys that may hold the users, in this order: ours, and the one that ingress-nginx has for its own.
const KEYS: [&str; 2] = ["htpasswd", "auth"];

pub(super) fn access(raw: Option<&Access>, referenced: &Referenced, faults: &mut Vec<Invalid>) -> ValidAccess {
    let Some(raw) = raw else { return ValidAccess::default() };
    let users = raw.users_secret_ref.as_ref().map(|reference| users(reference, referenced));
    ValidAccess {
        anonymous_pull: match raw.anonymous_pull {
            AnonymousPull::PublicImages => tidepool_config::AnonymousPull::PublicImages,
            AnonymousPull::All => tidepool_config::AnonymousPull::All,
            AnonymousPull::None => tidepool_config::AnonymousPull::None,
        },
        users: users.transpose().unwrap_or_else(|fault| {
            faults.push(fault);
            None
        }),
    }
}

fn users(reference: &SecretRef, referenced: &Referenced) -> Result<Concealed, Invalid> {
    let found = secret("spec.access.usersSecretRef", reference, referenced)?;
    let Some((key, text)) = KEYS.iter().find_map(|key| Some((key, found.get(key)?))) else {
        return Err(found.invalid("has no key htpasswd", "add it, with lines of `htpasswd -nB <user>`"));
    };
    let users = tidepool_config::users(text);
    users.map_err(|why| found.invalid(&format!("has a {key} that cannot be read"), &why.to_string()))?;
    Ok(Concealed(text.to_vec()))
}
