//! Answers: headers that are exact (P3), and what the log and the counters learn of each.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::Stream;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use prometheus_client::metrics::counter::Counter;
use tidepool_oci::{ContentRange, Digest, RegistryName, RepositoryName};
use url::form_urlencoded;

use crate::{
    error::ApiError,
    metrics::{Class, RequestResult},
    pull::{DIGEST_HEADER, List, OCTETS, Part, PullError, Shape},
    store::Manifest,
};

/// Name of the header that clients tell a registry by.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// Name of the header that says whether the content was here; scripts and dashboards read it.
const CACHE: HeaderName = HeaderName::from_static("proxy-docker-cache");

/// Headers that an answer has, so that room for them is made once.
const MOST_HEADERS: usize = 12;

/// What a request was about and how it ended; rides on the response to the log and the counters.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) class: Class,
    pub(crate) registry: Option<RegistryName>,
    pub(crate) repository: Option<RepositoryName>,
    pub(crate) result: RequestResult,
    /// Why there is no content, with causes; for the log.
    pub(crate) error: Option<ApiError>,
}

impl Outcome {
    /// Of a request that means no repository of ours.
    pub(crate) fn refused() -> Self {
        Self { class: Class::Other, registry: None, repository: None, result: RequestResult::Refused, error: None }
    }

    pub(crate) fn of(class: Class, registry: &RegistryName, repository: &RepositoryName) -> Self {
        let (registry, repository) = (Some(registry.clone()), Some(repository.clone()));
        Self { class, registry, repository, result: RequestResult::Failed, error: None }
    }

    pub(crate) fn ended(self, result: RequestResult) -> Self {
        Self { result, ..self }
    }
}

/// `/v2/`: yes, this is a registry, and who asks is welcome.
pub(crate) fn base() -> Response {
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let outcome = Outcome { result: RequestResult::Hit, ..Outcome::refused() };
    finish((json, "{}").into_response(), outcome)
}

pub(crate) fn error(error: ApiError, outcome: Outcome) -> Response {
    let outcome = Outcome { result: error.result(), error: Some(error.clone()), ..outcome };
    finish(error.into_response(), outcome)
}

pub(crate) fn manifest(manifest: &Manifest, method: &Method, served: &Counter, how: RequestResult) -> Response {
    let body = if *method == Method::HEAD { Bytes::new() } else { manifest.bytes.clone() };
    served.inc_by(body.len() as u64);
    let size = manifest.bytes.len() as u64;
    let mut response = content(&manifest.digest, &manifest.media_type, size, how, Body::from(body));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

pub(crate) fn blob_head(digest: &Digest, size: u64, how: RequestResult) -> Response {
    let mut response = content(digest, OCTETS, size, how, Body::empty());
    response.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response
}

/// A blob or a part of it. The length is always said, so a body that breaks off is seen to (P4).
pub(crate) fn blob(
    digest: &Digest,
    size: u64,
    part: &Part,
    body: impl Stream<Item = Result<Bytes, PullError>> + Send + 'static,
    how: RequestResult,
) -> Response {
    let mut response = content(digest, OCTETS, part.length(digest, size), how, Body::from_stream(body));
    response.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if part.shape != Shape::Whole {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    match &part.shape {
        Shape::Whole => {}
        Shape::Range(window) => {
            insert(&mut response, header::CONTENT_RANGE, ContentRange { window: *window, size }.to_string());
        }
        Shape::Several(_) => {
            let kind = format!("multipart/byteranges; boundary={}", Part::boundary(digest));
            insert(&mut response, header::CONTENT_TYPE, kind);
        }
    }
    response
}

/// A list as the upstream sent it; the link to the next page leads back here, by the path the client used.
pub(crate) fn list(list: List, path: &str, ns: Option<&str>) -> Response {
    let mut response = Response::new(Body::from(list.body));
    response.headers_mut().extend(list.headers);
    if let Some(mut query) = list.next_query {
        if let Some(ns) = ns {
            query = form_urlencoded::Serializer::for_suffix(format!("{query}&"), query.len() + 1)
                .append_pair("ns", ns)
                .finish();
        }
        insert(&mut response, header::LINK, format!("<{path}?{query}>; rel=\"next\""));
    }
    response
}

/// A strong validator: the content's own hash.
pub(crate) fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

fn content(digest: &Digest, media_type: &str, size: u64, how: RequestResult, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.reserve(MOST_HEADERS);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    headers.insert(CACHE, HeaderValue::from_static(cache_word(how)));
    // Whatever stands between: these bytes are hashed by whoever gets them.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-transform"));
    insert(&mut response, header::CONTENT_TYPE, media_type);
    insert(&mut response, HeaderName::from_static(DIGEST_HEADER), digest.to_string());
    insert(&mut response, header::ETAG, etag(digest));
    response
}

fn cache_word(how: RequestResult) -> &'static str {
    match how {
        RequestResult::Hit | RequestResult::Stale => "HIT",
        RequestResult::Fill
        | RequestResult::Joined
        | RequestResult::Passed
        | RequestResult::Absent
        | RequestResult::Refused
        | RequestResult::Failed
        | RequestResult::Shed => "MISS",
    }
}

fn insert(response: &mut Response, name: HeaderName, value: impl TryInto<HeaderValue>) {
    // All values here are digests, ranges and checked media types; one that is no header would be left out.
    if let Ok(value) = value.try_into() {
        response.headers_mut().insert(name, value);
    }
}

/// Says what the request was about and how it ended, for the log and the counters.
pub(crate) fn finish(mut response: Response, outcome: Outcome) -> Response {
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response.extensions_mut().insert(outcome);
    response
}
