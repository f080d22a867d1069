//! Who may read what (P14).

use tidepool_config::AnonymousPull;
use tidepool_oci::Target;

use super::{PullError, Puller, Source};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// A node's agent, known by its certificate.
    Node,
    /// A user of the list, logged in.
    User,
    /// A client without a login.
    Anonymous(AnonymousPull),
}

impl Puller {
    /// Whether `audience` may read that; to be asked before anything is served, also from the store.
    #[expect(clippy::unused_async, reason = "asks the upstream where credentials are used")]
    pub(crate) async fn may_read(
        &self,
        _source: &Source,
        _target: &Target,
        audience: Audience,
    ) -> Result<(), PullError> {
        match audience {
            Audience::Anonymous(AnonymousPull::None) => Err(PullError::NotForYou),
            Audience::Node | Audience::User | Audience::Anonymous(_) => Ok(()),
        }
    }
}
