//! The access log: one line for each request, when its answer has ended. Never a header's value, nor a query: they may hold
//! secrets.

use http::{Method, StatusCode, request::Parts};
use tokio::time::Instant;
use tracing::Level;

use super::Trace;
use crate::{
    answers::Outcome,
    metrics::{Class, CutBy},
};

/// Name of the lines in the log's filter.
const TARGET: &str = "tidepool_proxy::access_log";
/// How much of a path is logged: the longest name and digest fit.
const LONGEST_PATH: usize = 512;

/// What was asked; nothing where nobody logs it.
#[derive(Debug)]
pub(super) struct Asked(Option<(Method, Box<str>, Option<Trace>)>);

/// A line that is not complete yet.
#[derive(Debug)]
pub(super) struct Line {
    asked: Asked,
    begun: Instant,
    headers_ms: u64,
    status: StatusCode,
    outcome: Outcome,
}

/// How an answer ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) sent: u64,
    pub(super) cut: Option<CutBy>,
}

impl Asked {
    /// Reads a request; what it says of its trace goes on with it.
    pub(super) fn of(request: &mut Parts) -> Self {
        let trace = Trace::of(&request.headers);
        if let Some(trace) = &trace {
            request.extensions.insert(trace.clone());
        }
        // Failures are logged where requests are not.
        if !tracing::enabled!(target: TARGET, Level::WARN) {
            return Self(None);
        }
        Self(Some((request.method.clone(), shortened(request.uri.path()), trace)))
    }

    pub(super) fn answered(self, begun: Instant, status: StatusCode, outcome: Outcome) -> Line {
        Line { asked: self, begun, headers_ms: ms(begun), status, outcome }
    }
}

impl Line {
    pub(super) fn class(&self) -> Class {
        self.outcome.class
    }

    pub(super) fn log(&self, end: &End) {
        let Some((method, path, trace)) = &self.asked.0 else { return };
        let Outcome { class: _, registry, repository, result, error } = &self.outcome;
        let registry = registry.as_ref().map(tracing::field::display);
        let repository = repository.as_ref().map(tracing::field::display);
        let (status, result, headers_ms) = (self.status.as_u16(), result.as_str(), self.headers_ms);
        let (total_ms, bytes, cut) = (ms(self.begun), end.sent, end.cut.map(CutBy::as_str));
        let error = error.as_ref().map(|error| error.cause());
        let trace = trace.as_ref().map(Trace::id);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(target: TARGET, %method, path, registry, repository, status, result, error,
                    headers_ms, total_ms, bytes, cut, trace, "request")
            };
        }
        if status >= 500 || end.cut == Some(CutBy::Proxy) { line!(warn) } else { line!(info) }
    }
}

fn shortened(path: &str) -> Box<str> {
    // Not within a character: hyper takes paths in UTF-8.
    let end = (0..=path.len().min(LONGEST_PATH)).rev().find(|at| path.is_char_boundary(*at));
    path[..end.unwrap_or_default()].into()
}

fn ms(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cut_between_characters() {
        assert_eq!(&*shortened("/v2/"), "/v2/");
        assert_eq!(shortened(&"a".repeat(9999)).len(), LONGEST_PATH);
        assert_eq!(shortened(&format!("/{}", "ü".repeat(9999))).len(), LONGEST_PATH - 1);
    }
}
