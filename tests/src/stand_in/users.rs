//! The users of one registry, and the logins they try.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::StandIn;

/// Passwords by user, and what only users read.
pub(super) struct Users {
    passwords: RwLock<HashMap<String, String>>,
    private: Vec<String>,
}

/// What came with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// No login.
    None,
    /// A user's own.
    Right(String),
    /// A name that is not known, or not with this password.
    Wrong(String),
}

impl Login {
    /// The name that was given, right or wrong.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Right(name) | Self::Wrong(name) => Some(name),
        }
    }
}

impl Users {
    pub(super) fn new(stand_in: &StandIn) -> Self {
        let passwords = stand_in.users.iter().map(|user| (user.name.clone(), user.password.clone())).collect();
        Self { passwords: RwLock::new(passwords), private: stand_in.private.clone() }
    }

    /// Gives a user another password, or makes the user.
    pub(super) fn set(&self, name: &str, password: &str) {
        let mut passwords = self.passwords.write().unwrap_or_else(PoisonError::into_inner);
        passwords.insert(name.to_owned(), password.to_owned());
    }

    /// Whether only users read a repository.
    pub(super) fn is_private(&self, repository: &str) -> bool {
        self.private.iter().any(|prefix| repository.starts_with(prefix))
    }

    /// Who an `Authorization` header of Basic says it is; one of another kind is no login.
    pub(super) fn login(&self, authorization: Option<&str>) -> Login {
        let Some(encoded) = authorization.and_then(|header| header.strip_prefix("Basic ")) else { return Login::None };
        let decoded = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((name, password)) = decoded.as_deref().and_then(|text| text.split_once(':')) else {
            return Login::Wrong(String::new());
        };
        let passwords = self.passwords.read().unwrap_or_else(PoisonError::into_inner);
        let known = passwords.get(name).is_some_and(|known| known == password);
        if known { Login::Right(name.to_owned()) } else { Login::Wrong(name.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_password_ends_the_old_one() {
        let users = Users::new(&StandIn::basic("reg.test").user("me", "old").private("team/"));
        let header = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(users.login(Some(&header("me:old"))), Login::Right("me".to_owned()));
        users.set("me", "new:er");
        assert_eq!(users.login(Some(&header("me:old"))), Login::Wrong("me".to_owned()));
        assert_eq!(users.login(Some(&header("me:new:er"))), Login::Right("me".to_owned()));
        assert_eq!(users.login(Some("Bearer x")), Login::None);
        assert!(users.is_private("team/app") && !users.is_private("library/app"));
    }
}
