//! The vocabulary of OCI distribution, as types that cannot be wrong.
//!
//! Everything here is pure: no IO, no clock, no async. What a client or an upstream sends is parsed once, at the
//! edge, into these types; the rest of the workspace never looks at raw text again. Grammar and error codes follow
//! the [distribution specification 1.1](https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md).

mod digest;
mod error_code;
mod glob;
mod host;
mod path;
mod range;
mod reference;
mod registry;
mod route;
mod tag_glob;

pub use digest::{Algorithm, Digest, DigestError};
pub use error_code::{ErrorBody, ErrorCode};
pub use glob::{RepositoryGlob, RepositoryGlobError};
pub use host::host_name;
pub use path::{PathError, RequestPath, Target};
pub use range::{ByteRange, ByteRanges, ContentRange, Unsatisfiable, Window};
pub use reference::{Reference, ReferenceError, RepositoryName, RepositoryNameError};
pub use registry::{RegistryName, RegistryNameError};
pub use route::{Object, Route, RouteError, route, route_at};
pub use tag_glob::{TagGlob, TagGlobError};

/// Serialises a type as its text and reads it back through `FromStr`.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                // Parsed within the visit, for there alone serde_yaml's errors name the key.
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $type;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a string")
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }
    };
}
use serde_as_text;
