//! Tags and referrers: passed through, never kept.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::{Deserialize, de::IgnoredAny};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{ANSWER_WITHIN, Permit, PullError, Puller, Source, manifests::media_type};
use crate::{metrics::Class, upstream::read_limited};

/// Some 50,000 tags.
const LARGEST_LIST: usize = 8 << 20;
/// Bytes of all lists that are being read, or wait for slow clients.
const MOST_BYTES: usize = 64 << 20;
/// What is counted as one.
const KIB: usize = 1 << 10;
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// A list as the upstream sent it.
#[derive(Debug)]
pub(crate) struct List {
    /// Keeps its room until it is sent.
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
            return Err(PullError::Garbage("no list"));
        }
        let kept = [header::CONTENT_TYPE, FILTERS_APPLIED];
        let headers =
            kept.into_iter().filter_map(|name| answer.headers().get(&name).cloned().map(|value| (name, value)));
        let headers = headers.collect();
        let links = answer.headers().get_all(header::LINK).iter().filter_map(|value| value.to_str().ok());
        let next_query = links.filter_map(next_query).next();
        let room = permit.deadline.wait(self.lists.room(answer.content_length())).await;
        let room = room.map_err(|_| PullError::Crowded)??;
        let body = permit.deadline.wait(read_limited(answer, LARGEST_LIST)).await;
        let body = body??;
        if !is_list(&body) {
            return Err(PullError::Garbage("no list"));
        }
        Ok(List { body: room.hold(body), headers, next_query })
    }
}

/// How much memory lists take: they are held whole, each for as long as its client takes.
#[derive(Debug)]
pub(super) struct Lists(Arc<Semaphore>);

/// Room for one list.
#[derive(Debug)]
struct Room(OwnedSemaphorePermit);

/// A list in its room.
struct Housed {
    body: Bytes,
    _room: Room,
}

impl Default for Lists {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_BYTES / KIB)))
    }
}

impl Lists {
    /// Waits for room for a list of so many bytes, where that is known.
    async fn room(&self, length: Option<u64>) -> Result<Room, PullError> {
        let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(LARGEST_LIST);
        let room = Arc::clone(&self.0).acquire_many_owned(in_kib(length)).await;
        Ok(Room(room.map_err(|_| PullError::Stopped)?))
    }
}

impl Room {
    /// Keeps no more room than the list needs, until it is sent.
    fn hold(mut self, body: Bytes) -> Bytes {
        let unused = self.0.num_permits().saturating_sub(in_kib(body.len()) as usize);
        drop(self.0.split(unused));
        Bytes::from_owner(Housed { body, _room: self })
    }
}

impl AsRef<[u8]> for Housed {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

fn in_kib(length: usize) -> u32 {
    u32::try_from(length.min(LARGEST_LIST).div_ceil(KIB)).unwrap_or(u32::MAX)
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

/// The query in `</v2/a/tags/list?last=x&n=10>; rel="next"`, which may be one of several links.
fn next_query(links: &str) -> Option<String> {
    let mut rest = links;
    while let Some((target, after)) = rest.split_once('<').and_then(|(_, link)| link.split_once('>')) {
        let (parameters, others) = split_outside_quotes(after, ',');
        if is_next(parameters) {
            return target.split_once('?').map(|(_, query)| query.to_owned());
        }
        rest = others;
    }
    None
}

/// Whether a link's parameters say that it leads to the next page: `; title="x"; rel="next last"`.
fn is_next(parameters: &str) -> bool {
    let mut rest = parameters;
    while !rest.is_empty() {
        let (parameter, others) = split_outside_quotes(rest, ';');
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let mut kinds = value.trim().trim_matches('"').split_ascii_whitespace();
        if name.trim().eq_ignore_ascii_case("rel") && kinds.any(|kind| kind.eq_ignore_ascii_case("next")) {
            return true;
        }
        rest = others;
    }
    false
}

/// What is before and after the first such character that is not quoted.
fn split_outside_quotes(text: &str, separator: char) -> (&str, &str) {
    let mut quoted = false;
    let end = text.find(|next| {
        quoted ^= next == '"';
        next == separator && !quoted
    });
    end.and_then(|end| Some((text.get(..end)?, text.get(end + 1..)?))).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn lists_that_nobody_takes_fill_the_room_there_is_and_no_more() {
        let lists = Lists::default();
        let mut held = Vec::new();
        for _ in 0..MOST_BYTES / LARGEST_LIST {
            held.push(lists.room(None).await.unwrap().hold(vec![0; LARGEST_LIST].into()));
        }
        let late = async || timeout(Duration::from_millis(10), lists.room(Some(10))).await;
        assert!(late().await.is_err(), "there is room for more");
        let rest = held.pop().unwrap().slice(5..);
        assert!(late().await.is_err(), "it is not sent yet");
        drop(rest);
        // What turned out small leaves the rest to others.
        held.push(lists.room(None).await.unwrap().hold(vec![0; 10].into()));
        assert_eq!(lists.0.available_permits(), LARGEST_LIST / KIB - 1);
        drop(held);
        assert_eq!(lists.0.available_permits(), MOST_BYTES / KIB);
    }

    #[test]
    fn finds_the_next_page_and_nothing_else() {
        let query = Some("last=x&n=10".to_owned());
        assert_eq!(next_query(r#"</v2/a/tags/list?last=x&n=10>; rel="next""#), query);
        assert_eq!(next_query("<https://r/v2/a/tags/list?last=x&n=10>;rel=next"), query);
        let several =
            r#"</a?n=1,2>; rel="prev"; title="a, <b>; rel=next", </v2/a/tags/list?last=x&n=10>; REL="last next""#;
        assert_eq!(next_query(several), query);
        let none =
            ["", "x", "</a?b>; rel=prev", "</a>; rel=next", "</a?b>; rel=prev, </c>; rel=next", "</a?b>; rel=nextly"];
        for link in none {
            assert_eq!(next_query(link), None, "{link}");
        }
    }
}
