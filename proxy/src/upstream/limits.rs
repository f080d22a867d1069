//! What a registry says of the limits it sets us: Docker Hub tells with each manifest how many pulls are left.

use std::sync::Mutex;

use http::{HeaderMap, HeaderName};
use tidepool_config::RateLimit;
use tidepool_oci::RegistryName;

use crate::{metrics::Metrics, tasks::lock};

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");

/// The limits of one upstream, as last heard. `docker-ratelimit-source` says whose they are, an address or an account,
/// and goes nowhere.
#[derive(Debug)]
pub(super) struct Limits {
    registry: RegistryName,
    metrics: Metrics,
    heard: Mutex<RateLimit>,
}

impl Limits {
    pub(super) fn new(registry: RegistryName, metrics: Metrics) -> Self {
        Self { registry, metrics, heard: Mutex::default() }
    }

    /// Takes note of what an answer says; one that says nothing changes nothing.
    pub(super) fn hear(&self, headers: &HeaderMap) {
        let (limit, remaining) = (amount(headers, &LIMIT), amount(headers, &REMAINING));
        if limit.is_none() && remaining.is_none() {
            return;
        }
        let heard = {
            let mut heard = lock(&self.heard);
            heard.limit = limit.map(|(limit, _)| limit).or(heard.limit);
            heard.remaining = remaining.map(|(remaining, _)| remaining).or(heard.remaining);
            let window = limit.and_then(|(_, window)| window).or(remaining.and_then(|(_, window)| window));
            heard.window_seconds = window.or(heard.window_seconds);
            heard.clone()
        };
        self.metrics.upstream_health().rate_limit(&self.registry, &heard);
    }

    pub(super) fn heard(&self) -> Option<RateLimit> {
        let heard = lock(&self.heard).clone();
        (heard != RateLimit::default()).then_some(heard)
    }
}

/// `100;w=21600`: an amount, and over how many seconds.
fn amount(headers: &HeaderMap, name: &HeaderName) -> Option<(u64, Option<u64>)> {
    let text = headers.get(name)?.to_str().ok()?;
    // Several policies may be named, after commas: the first is the one that counts.
    let mut parts = text.split(',').next()?.split(';').map(str::trim);
    let amount = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")?.parse().ok());
    Some((amount, window))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn reads_what_docker_hub_sends_and_drops_what_nobody_can_read() {
        for (text, expected) in [
            ("100;w=21600", Some((100, Some(21600)))),
            ("99", Some((99, None))),
            (" 7 ; q=1; w=60 , 5;w=1", Some((7, Some(60)))),
            ("5;w=x", Some((5, None))),
            ("", None),
            ("-1;w=2", None),
            ("many", None),
        ] {
            assert_eq!(amount(&headers(&[("ratelimit-limit", text)]), &LIMIT), expected, "{text}");
        }
    }

    #[test]
    fn an_answer_that_says_nothing_changes_nothing() {
        let limits = Limits::new("docker.io".parse().unwrap(), Metrics::default());
        assert_eq!(limits.heard(), None);
        limits.hear(&headers(&[("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "99;w=21600")]));
        limits.hear(&headers(&[("content-type", "a/b")]));
        limits.hear(&headers(&[("ratelimit-remaining", "98;w=21600"), ("docker-ratelimit-source", "1.2.3.4")]));
        let expected = RateLimit { limit: Some(100), remaining: Some(98), window_seconds: Some(21600) };
        assert_eq!(limits.heard(), Some(expected));
    }
}
