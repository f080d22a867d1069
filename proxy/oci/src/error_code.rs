//! Error codes and the JSON body that carries them (distribution specification, "Error Codes").

use serde::Serialize;

/// What went wrong, as clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// No blob of that digest.
    BlobUnknown,
    /// Not allowed to the caller.
    Denied,
    /// The digest in the path is none.
    DigestInvalid,
    /// The tag in the path is none.
    ManifestInvalid,
    /// No manifest of that tag or digest.
    ManifestUnknown,
    /// The repository's name is none.
    NameInvalid,
    /// No such registry or repository here.
    NameUnknown,
    /// No byte of the blob lies in the range that was asked for.
    RangeInvalid,
    /// It cannot be had now; distribution's own addition, sent with status 503.
    Unavailable,
    /// A login is needed, or the one given is wrong.
    Unauthorized,
    /// Nothing this server does.
    Unsupported,
}

impl ErrorCode {
    /// The code as it is written in a body.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::Denied => "DENIED",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::RangeInvalid => "RANGE_INVALID",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Unsupported => "UNSUPPORTED",
        }
    }
}

/// The body of an error answer: `{"errors":[{"code":"…","message":"…"}]}`, to be sent as `application/json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorBody {
    errors: [ErrorEntry; 1],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ErrorEntry {
    code: &'static str,
    message: String,
}

impl ErrorBody {
    /// One error; `message` is for people and reaches the client as it is.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { errors: [ErrorEntry { code: code.as_str(), message: message.into() }] }
    }
}
