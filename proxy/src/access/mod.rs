//! Who asks: nodes are known by their listener, clients by their login.
//!
//! What each may read is decided in [`crate::pull`]; here is who they are, and when a client is told to log in. A node
//! never is: it takes 401 for a registry that is broken (P2).

mod basic;
mod logins;
mod recent;

use http::HeaderMap;
use tidepool_config::AnonymousPull;

pub(crate) use logins::Logins;
pub use logins::NoRandomness;

use crate::{
    error::ApiError,
    pull::{Audience, PullError},
    settings::Access,
};
use basic::Presented;

/// The listener that a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Clients,
    /// Agents only: others do not get through its handshake.
    Agents,
}

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visitor {
    pub(crate) audience: Audience,
    /// Whether it would help to log in.
    can_log_in: bool,
    /// Whether it may have a login that it did not send.
    holds_back: bool,
}

impl Visitor {
    /// Knows who sent a request with these headers.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`] for a login that is no user's, and for a client without one where all have to log in;
    /// [`ApiError::Busy`] when too many passwords are being checked.
    pub(crate) async fn admit(
        door: Door,
        headers: &HeaderMap,
        access: &Access,
        logins: &Logins,
    ) -> Result<Self, ApiError> {
        if door == Door::Agents {
            return Ok(Self { audience: Audience::Node, can_log_in: false, holds_back: false });
        }
        let anonymous = Audience::Anonymous(access.anonymous_pull);
        // Without users every login means nothing, as with a public registry that is sent one.
        let Some(users) = &access.users else {
            return Ok(Self { audience: anonymous, can_log_in: false, holds_back: false });
        };
        let (audience, holds_back) = match Presented::of(headers) {
            Presented::Login(login) if logins.check(users, &login).await? => (Audience::User, false),
            Presented::Login(_) | Presented::Other => return Err(ApiError::Unauthorized),
            Presented::Nothing | Presented::Empty if access.anonymous_pull == AnonymousPull::None => {
                return Err(ApiError::Unauthorized);
            }
            Presented::Nothing => (anonymous, true),
            Presented::Empty => (anonymous, false),
        };
        Ok(Self { audience, can_log_in: true, holds_back })
    }

    /// Whether it may have the answer of `/v2/`: clients send the login they have only where that is 401.
    pub(crate) fn at_base(&self) -> Result<(), ApiError> {
        if self.holds_back { Err(ApiError::Unauthorized) } else { Ok(()) }
    }

    /// What a pull's failure is to this visitor, if it is another thing than to all: one who could log in is told so.
    pub(crate) fn refusal(&self, error: &PullError) -> Option<ApiError> {
        let helps = self.can_log_in && matches!(self.audience, Audience::Anonymous(_));
        (helps && matches!(error, PullError::NotForYou)).then_some(ApiError::Unauthorized)
    }
}
