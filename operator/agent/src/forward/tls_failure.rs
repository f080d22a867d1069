//! Why TLS with a member failed, in a few words that may be counted.

use std::{error::Error, io};

use rustls::{CertificateError, Error as Tls};

/// Why a member did not prove to be one, or did not believe this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    /// Its certificate is another's: another mirror's member has the address now, or an impostor.
    Name,
    /// No authority of ours signed its certificate.
    Authority,
    /// Its certificate is over, or not yet valid: or this node's clock is wrong.
    Expired,
    /// It does not believe us.
    Refused,
    /// It does not speak TLS as members do.
    Plain,
    /// It accepts connections and is silent.
    Timeout,
    /// Anything else.
    Other,
}

/// A connection that was not proven in time.
#[derive(Debug, thiserror::Error)]
#[error("no TLS handshake in time")]
pub(super) struct Late;

impl TlsFailure {
    /// The failure behind an error of a connection, where there is one.
    #[must_use]
    pub fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(tls) = error.downcast_ref::<Tls>() {
                return Some(Self::of(tls));
            }
            if error.is::<Late>() {
                return Some(Self::Timeout);
            }
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            // The source of an IO error is that of the error in it.
            next = inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
        }
        None
    }

    fn of(error: &Tls) -> Self {
        match error {
            Tls::InvalidCertificate(why) => Self::of_certificate(why),
            Tls::NoCertificatesPresented => Self::Authority,
            Tls::AlertReceived(_) => Self::Refused,
            Tls::InvalidMessage(_) | Tls::PeerIncompatible(_) => Self::Plain,
            _ => Self::Other,
        }
    }

    fn of_certificate(why: &CertificateError) -> Self {
        match why {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::Name,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Expired,
            _ => Self::Authority,
        }
    }

    /// Whether somebody answered who did not prove to be a member.
    #[must_use]
    pub fn is_distrust(self) -> bool {
        !matches!(self, Self::Timeout | Self::Other)
    }

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Authority => "authority",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Plain => "plain",
            Self::Timeout => "timeout",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_found_at_any_depth_and_a_connection_that_never_was_is_none() {
        let tls = || Tls::InvalidCertificate(CertificateError::NotValidForName);
        assert_eq!(TlsFailure::behind(&io::Error::other(io::Error::other(tls()))), Some(TlsFailure::Name));
        assert_eq!(TlsFailure::behind(&io::Error::other(Late)), Some(TlsFailure::Timeout));
        let connect = io::Error::new(io::ErrorKind::TimedOut, io::Error::from(io::ErrorKind::TimedOut));
        assert_eq!(TlsFailure::behind(&connect), None);
        assert_eq!(TlsFailure::behind(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
    }

    #[test]
    fn what_the_clock_or_an_authority_is_to_blame_for_is_told_apart() {
        for (why, failure) in [
            (CertificateError::Expired, TlsFailure::Expired),
            (CertificateError::NotValidYet, TlsFailure::Expired),
            (CertificateError::UnknownIssuer, TlsFailure::Authority),
            (CertificateError::BadSignature, TlsFailure::Authority),
        ] {
            assert_eq!(TlsFailure::behind(&Tls::InvalidCertificate(why)), Some(failure));
        }
        assert!(TlsFailure::Expired.is_distrust() && !TlsFailure::Timeout.is_distrust());
    }
}
