//! Why a pull got nothing.

use std::{io, sync::Arc, time::Duration};

use crate::upstream::UpstreamError;

/// Why a pull got nothing. Cheap to clone: all who follow one transfer get it.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum PullError {
    /// The upstream did not give it.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The upstream said a moment ago that there is no such thing.
    #[error("the upstream said a moment ago that it has no such thing")]
    KnownAbsent,
    /// The upstream's bytes are not what was asked for.
    #[error("the upstream's bytes are not the digest's content")]
    WrongDigest,
    /// The upstream's answer breaks the protocol.
    #[error("the upstream's answer has {0}")]
    Garbage(&'static str),
    /// An index that the upstream does not confirm, without any of the manifests it lists.
    #[error("the upstream does not confirm the index, and none of the manifests it lists is kept")]
    Childless,
    /// It may be there, but who asks may not have it.
    #[error("it is not served to who asks")]
    NotForYou,
    /// Nobody can say now whether who asks may have it.
    #[error("the upstream does not say now whether everybody may read it")]
    Unconfirmed,
    /// The disk is full.
    #[error("no space left in the store")]
    NoSpace,
    /// It is larger than what may be kept, or the store cannot be written: it is passed on, and nothing has to go for it.
    #[error("the store cannot hold it")]
    NoRoom,
    /// The store cannot be read.
    #[error("cannot use the store")]
    Store(#[source] Arc<io::Error>),
    /// More is being fetched than can be at once.
    #[error("more is being fetched than can be at once")]
    Crowded,
    /// Nobody read it, and there was much to go.
    #[error("nobody reads it any more")]
    Unread,
    /// Nothing to send came in time.
    #[error("the first byte did not come in time")]
    Late,
    /// The proxy stops.
    #[error("the proxy is stopping")]
    Stopped,
}

impl PullError {
    /// Whether the upstream said that there is no such thing, rather than failing to say.
    pub(crate) fn is_absence(&self) -> bool {
        match self {
            Self::Upstream(error) => error.is_absence(),
            Self::KnownAbsent | Self::NotForYou => true,
            Self::WrongDigest
            | Self::Garbage(_)
            | Self::Childless
            | Self::Unconfirmed
            | Self::NoSpace
            | Self::NoRoom
            | Self::Store(_)
            | Self::Crowded
            | Self::Unread
            | Self::Late
            | Self::Stopped => false,
        }
    }

    /// How long the upstream wants to be left alone, where it says so.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Upstream(UpstreamError::Limited { retry_after }) => *retry_after,
            _ => None,
        }
    }

    /// Whether the upstream answered with something of no use: to ask again at once would bring the same.
    pub(crate) fn is_useless(&self) -> bool {
        matches!(
            self,
            Self::WrongDigest
                | Self::Garbage(_)
                | Self::Upstream(
                    UpstreamError::Garbage(_)
                        | UpstreamError::Redirect(_)
                        | UpstreamError::Cut(_)
                        | UpstreamError::Elsewhere(_)
                        | UpstreamError::ElsewhereResting
                        | UpstreamError::ElsewhereFailing(_)
                )
        )
    }
}

impl From<io::Error> for PullError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Store(Arc::new(error)),
        }
    }
}
