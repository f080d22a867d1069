//! Values whose own readers would tell neither the key nor what belongs there.
//!
//! Each is checked within serde's visit, for there alone `serde_yaml`'s errors name the key.

use std::{fmt, marker::PhantomData, net::SocketAddr};

use serde::{Deserializer, de};
use url::Url;

/// A value read from a text, or none where there is nothing.
trait Value: Sized {
    const EXPECTED: &str;

    fn read<E: de::Error>(text: &str) -> Result<Self, E>;
}

impl Value for SocketAddr {
    const EXPECTED: &str = "an IP address and port, such as 127.0.0.1:5000";

    fn read<E: de::Error>(text: &str) -> Result<Self, E> {
        text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &Self::EXPECTED))
    }
}

impl Value for Url {
    const EXPECTED: &str =
        "an http or https address without user, query or fragment, such as https://reg.example.com:5000";

    fn read<E: de::Error>(text: &str) -> Result<Self, E> {
        // Shown only where there can be no password in it: the text reaches logs.
        let shown = if text.contains(['@', '?', '#']) { "the address" } else { text };
        let url = Self::parse(text).ok().filter(is_registry_url);
        url.ok_or_else(|| E::custom(format_args!("{shown} is no {}", Self::EXPECTED.trim_start_matches("an "))))
    }
}

/// Whether a registry can be reached there.
fn is_registry_url(url: &Url) -> bool {
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    matches!(url.scheme(), "http" | "https") && url.has_host() && plain
}

/// An IP address with a port.
pub(crate) fn socket_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    deserializer.deserialize_any(Visitor(PhantomData))
}

/// Where a registry is reached: http or https, no user, no query, no fragment.
pub(crate) fn registry_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    deserializer.deserialize_any(Visitor(PhantomData))
}

/// Where a proxy is reached: as a registry, and there must be one.
pub(crate) fn proxy_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    registry_url(deserializer)?.ok_or_else(|| de::Error::custom("names no address, such as http://proxy.corp:3128"))
}

struct Visitor<T>(PhantomData<T>);

impl<T: Value> de::Visitor<'_> for Visitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<T>, E> {
        T::read(text).map(Some)
    }
}
