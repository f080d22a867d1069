//! Trace context of W3C: taken from the client, shown in the log, given to the upstream with whatever is asked there for it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");
/// The headers that carry a trace.
pub(crate) const TRACE_HEADERS: [HeaderName; 2] = [PARENT, STATE];
/// More than that is left out, as the recommendation allows.
const LONGEST_STATE: usize = 512;

/// Which trace a request belongs to. It is passed on as it came: we report no spans of our own.
#[derive(Clone, Debug)]
pub(crate) struct Trace(Arc<Headers>);

#[derive(Debug)]
struct Headers {
    parent: HeaderValue,
    state: Option<HeaderValue>,
    /// 32 hexadecimal digits.
    id: Box<str>,
}

impl Trace {
    /// None where there is no `traceparent`, or one that is none: it goes nowhere.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let parent = headers.get(PARENT)?;
        let id = trace_id(parent.to_str().ok()?)?.into();
        let state = headers.get(STATE).filter(|value| value.len() <= LONGEST_STATE && value.to_str().is_ok());
        Some(Self(Arc::new(Headers { parent: parent.clone(), state: state.cloned(), id })))
    }

    /// The name of the whole trace.
    pub(crate) fn id(&self) -> &str {
        &self.0.id
    }

    /// The headers that carry it on.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let state = self.0.state.clone().map(|state| (STATE, state));
        [(PARENT, self.0.parent.clone())].into_iter().chain(state)
    }
}

/// The trace of `version-trace-parent-flags`. Versions to come may have more at the end.
fn trace_id(text: &str) -> Option<&str> {
    let mut parts = text.splitn(5, '-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let known =
        is_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none()) && text.len() <= 256;
    let sound = is_hex(trace, 32) && !is_zero(trace) && is_hex(parent, 16) && !is_zero(parent) && is_hex(flags, 2);
    (known && sound).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_parent_is_passed_on() {
        let (id, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        for (text, known) in [
            (format!("00-{id}-{parent}-01"), true),
            (format!("01-{id}-{parent}-01-more"), true),
            (format!("00-{id}-{parent}-01-more"), false),
            (format!("ff-{id}-{parent}-01"), false),
            (format!("00-{}-{parent}-01", "0".repeat(32)), false),
            (format!("00-{id}-{}-01", "0".repeat(16)), false),
            (format!("00-{}-{parent}-01", id.to_uppercase()), false),
            (format!("00-{id}-{parent}"), false),
            ("secret".to_owned(), false),
        ] {
            let headers = HeaderMap::from_iter([(PARENT, HeaderValue::try_from(&text).unwrap())]);
            assert_eq!(Trace::of(&headers).is_some_and(|trace| trace.id() == id), known, "{text}");
        }
    }

    #[test]
    fn a_state_that_is_too_long_is_left_out() {
        let parent = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        for (length, count) in [(10, 2), (LONGEST_STATE + 1, 1)] {
            let state = HeaderValue::try_from("a".repeat(length)).unwrap();
            let headers = HeaderMap::from_iter([(PARENT, parent.clone()), (STATE, state)]);
            assert_eq!(Trace::of(&headers).unwrap().headers().count(), count);
        }
    }
}
