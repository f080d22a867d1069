//! Tags and referrers: passed through, never kept.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::{Deserialize, de::IgnoredAny};

use super::{ANSWER_WITHIN, Permit, PullError, Puller, Source, manifests::media_type};
use crate::{metrics::Class, upstream::read_limited};

/// Some 100,000 tags.
const LARGEST_LIST: usize = 16 << 20;
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// A list as the upstream sent it.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) body: Bytes,
    /// `Content-Type` and `OCI-Filters-Applied`.
    pub(crate) headers: HeaderMap,
    /// The query of the next page's address.
    pub(crate) next_query: Option<String>,
}

impl Puller {
    /// Asks the upstream for `path` (`tags/list`, `referrers/<digest>`) with the client's own query.
    pub(crate) async fn list(
        &self,
        source: &Source,
        path: &str,
        query: &str,
        class: Class,
        permit: Permit,
    ) -> Result<List, PullError> {
        let path = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let mut ask = source.ask(Method::GET, &path, class, ANSWER_WITHIN);
        ask.headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("application/vnd.oci.image.index.v1+json, application/json, */*"),
        );
        ask.until = permit.deadline.of_question();
        let answer = permit.deadline.wait(source.upstream.send(&ask)).await??;
        if !media_type(answer.headers()).is_some_and(|media_type| media_type.to_ascii_lowercase().ends_with("json")) {
            source.upstream.breaker().overdue();
            return Err(PullError::Garbage("no list"));
        }
        let kept = [header::CONTENT_TYPE, FILTERS_APPLIED];
        let headers =
            kept.into_iter().filter_map(|name| answer.headers().get(&name).cloned().map(|value| (name, value)));
        let headers = headers.collect();
        let next_query = answer.headers().get(header::LINK).and_then(|value| next_query(value.to_str().ok()?));
        let body = permit.deadline.wait(read_limited(answer, LARGEST_LIST)).await;
        let body = body??;
        if !is_list(&body) {
            source.upstream.breaker().overdue();
            return Err(PullError::Garbage("no list"));
        }
        Ok(List { body, headers, next_query })
    }
}

/// What a list never has, but every answer of a registry that says no, some of them with 200.
#[derive(Deserialize)]
struct Refusal {
    errors: Option<IgnoredAny>,
}

/// Whether this can be a list: a JSON object that is no refusal.
fn is_list(body: &[u8]) -> bool {
    let is_object = body.trim_ascii_start().starts_with(b"{"); // serde takes an array for a struct too
    is_object && serde_json::from_slice::<Refusal>(body).is_ok_and(|it| it.errors.is_none())
}

/// The query in `</v2/a/tags/list?last=x&n=10>; rel="next"`.
fn next_query(link: &str) -> Option<String> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let (_, query) = target.split_once('?')?;
    parameters.replace('"', "").contains("rel=next").then(|| query.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_next_page_and_nothing_else() {
        let query = Some("last=x&n=10".to_owned());
        assert_eq!(next_query(r#"</v2/a/tags/list?last=x&n=10>; rel="next""#), query);
        assert_eq!(next_query("<https://r/v2/a/tags/list?last=x&n=10>;rel=next"), query);
        for link in ["", "x", "</a?b>; rel=prev", "</a>; rel=next"] {
            assert_eq!(next_query(link), None, "{link}");
        }
    }
}
