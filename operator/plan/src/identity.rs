//! By what members are known, as the operator issued it.

use std::fmt;

/// A member's certificate and key, and whom it believes. All PEM. `Debug` leaves the key out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, which names the mirror ([`tidepool_config::trust::member_name`]).
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// The authorities whose agents are believed.
    pub authorities: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
