//! The values that labels have: closed enums, so that the number of series is fixed at compile time.

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

use crate::{pull::PullError, upstream::UpstreamError};

/// Makes an enum whose values are a label's.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$what:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $name { $($(#[$what])* $value,)* }

        impl $name {
            /// The value as metrics and logs show it.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)* }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                self.as_str().encode(encoder)
            }
        }
    };
}

label! {
    /// What a request is about.
    Class {
        Manifest = "manifest",
        Blob = "blob",
        Tags = "tags",
        Referrers = "referrers",
        /// `/v2/` itself, and what is no request of the API.
        Other = "other",
    }
}

label! {
    /// How a client's request ended.
    RequestResult {
        /// From the store; a tag was confirmed by the upstream.
        Hit = "hit",
        /// By a transfer that this request started.
        Fill = "fill",
        /// By a transfer that another request had started.
        Joined = "joined",
        /// From the store, for the upstream did not confirm it.
        Stale = "stale",
        /// Asked of the upstream and not kept.
        Passed = "passed",
        /// The upstream has no such thing.
        Absent = "absent",
        /// Not ours to serve, or malformed.
        Refused = "refused",
        /// It could not be had.
        Failed = "failed",
        /// Turned away unheard: too much is going on.
        Shed = "shed",
    }
}

label! {
    /// Where connections come in.
    Listener {
        Clients = "clients",
        Agents = "agents",
        Admin = "admin",
    }
}

label! {
    /// Of what there was too much when a connection or a request was turned away.
    ShedReason {
        /// Connections of the listener.
        Connections = "connections",
        /// Connections of one address, while the listener is crowded.
        Share = "share",
        /// Blobs on their way to clients.
        Blobs = "blobs",
    }
}

label! {
    /// Who ended an answer before its end.
    CutBy {
        /// The client left, or took nothing any more.
        Client = "client",
        /// The proxy broke it off, for the rest cannot be had.
        Proxy = "proxy",
    }
}

label! {
    /// How a fill ended.
    FillResult {
        Kept = "kept",
        /// The upstream has no such blob.
        Absent = "absent",
        /// What it sent is other content.
        Wrong = "wrong",
        /// There was no room to keep it.
        NoSpace = "no_space",
        Failed = "failed",
        /// The proxy ended first.
        Stopped = "stopped",
    }
}

label! {
    /// How a request to an upstream ended.
    UpstreamResult {
        Ok = "ok",
        Absent = "absent",
        Limited = "limited",
        Failed = "failed",
        Unreachable = "unreachable",
    }
}

label! {
    /// How the handshake of a connection to the agents' listener ended.
    HandshakeResult {
        Ok = "ok",
        /// No certificate, or not that of an agent of this mirror.
        Refused = "refused",
        /// The peer turned down our certificate.
        Distrusted = "distrusted",
        /// No TLS 1.3.
        Malformed = "malformed",
        Late = "late",
        /// The peer left.
        Cut = "cut",
    }
}

label! {
    /// How a login at an upstream ended.
    LoginResult {
        Accepted = "accepted",
        Refused = "refused",
        Failed = "failed",
    }
}

label! {
    /// How bytes of stored blobs reached the socket.
    SentPath {
        Sendfile = "sendfile",
        Copy = "copy",
    }
}

impl UpstreamResult {
    pub(crate) fn of(error: Option<&UpstreamError>) -> Self {
        match error {
            None => Self::Ok,
            Some(UpstreamError::Gone(_) | UpstreamError::Refused(_)) => Self::Absent,
            Some(UpstreamError::Limited { .. }) => Self::Limited,
            Some(
                UpstreamError::Failing(_)
                | UpstreamError::ElsewhereFailing(_)
                | UpstreamError::CredentialsRefused
                | UpstreamError::Crowded
                | UpstreamError::Redirect(_)
                | UpstreamError::Garbage(_)
                | UpstreamError::Cut(_)
                | UpstreamError::Stopped,
            ) => Self::Failed,
            Some(
                UpstreamError::Resting
                | UpstreamError::Unreachable(_)
                | UpstreamError::Elsewhere(_)
                | UpstreamError::ElsewhereResting
                | UpstreamError::Realm(_)
                | UpstreamError::Silent(_),
            ) => Self::Unreachable,
        }
    }
}

label! {
    /// How reading a changed configuration ended.
    ReloadResult {
        Ok = "ok",
        Failed = "failed",
    }
}

impl FillResult {
    pub(crate) fn of<T>(ended: &Result<T, PullError>) -> Self {
        match ended {
            Ok(_) => Self::Kept,
            Err(PullError::NoSpace | PullError::NoRoom) => Self::NoSpace,
            Err(PullError::WrongDigest) => Self::Wrong,
            Err(PullError::Stopped) => Self::Stopped,
            Err(error) if error.is_absence() => Self::Absent,
            Err(_) => Self::Failed,
        }
    }
}
