//! All routes, and what each does with a request: who asks, which repository, may it, pull, answer.
//!
//! | path, after any prefix that names a registry | GET | HEAD |
//! |---|---|---|
//! | `/v2/` | [`answers::base`] | same |
//! | `…/manifests/<tag or digest>` | [`App::manifest`] | same |
//! | `…/blobs/<digest>` | [`App::blob`] | [`App::blob_head`] |
//! | `…/tags/list`, `…/referrers/<digest>` | [`App::list`] | same |

use std::sync::Arc;

use axum::response::Response;
use http::{HeaderMap, Method, header, request::Parts, uri::Authority};
use tidepool_oci::{ByteRanges, Digest, Object, Reference, RegistryName, Route, Target, host_name, route_at};
use tokio::time::Instant;
use url::form_urlencoded;

use crate::{
    access::{Door, Logins, Visitor},
    answers::{self, Outcome},
    error::ApiError,
    layers::Trace,
    metrics::{Class, Metrics, RequestResult, SentPath},
    pull::{BlobBody, Deadline, Permit, PullError, Puller, Source, Way},
    send::Lender,
    settings::{Current, Settings},
};

/// What every request handler needs.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) settings: Current,
    pub(crate) logins: Logins,
    pub(crate) puller: Arc<Puller>,
    pub(crate) metrics: Metrics,
}

/// A request for something in a repository.
struct Call {
    begun: Instant,
    method: Method,
    headers: HeaderMap,
    path: String,
    query: Query,
    /// The connection it came by, where that can send from files.
    lender: Option<Lender>,
    trace: Option<Trace>,
}

impl Call {
    /// The time counts from where the request came in: checking a login takes some of it.
    fn deadline(&self, target: &Target) -> Deadline {
        match target {
            Target::Blob(_) if self.method == Method::GET => Deadline::of_blob(self.begun),
            _ => Deadline::of_headers(self.begun),
        }
    }
}

/// Answers one request of the registry API. Paths are told apart by [`route_at`], since repository names hold slashes.
pub(crate) async fn serve(app: &App, door: Door, mut parts: Parts) -> Response {
    let begun = Instant::now();
    // One state of the settings for the whole request, whatever is reloaded meanwhile.
    let settings = app.settings.load_full();
    let visitor = match Visitor::admit(door, &parts.headers, &settings.access, &app.logins).await {
        Ok(visitor) => visitor,
        Err(error) => return answers::error(error, Outcome::refused()),
    };
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return answers::error(ApiError::Method, Outcome::refused());
    }
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let own = host(&parts).and_then(|host| settings.hosts.get(&host));
    let is_mirrored = |registry: &RegistryName| settings.upstreams.contains_key(registry);
    let routed = route_at(own, parts.uri.path(), query.ns.as_deref(), is_mirrored);
    let (path, lender, trace) = (parts.uri.path().to_owned(), parts.extensions.remove(), parts.extensions.remove());
    let call = Call { begun, method: parts.method, headers: parts.headers, path, query, lender, trace };
    match routed {
        Ok(Route::Base) => match visitor.at_base() {
            Ok(()) => answers::base(),
            Err(error) => answers::error(error, Outcome::refused()),
        },
        Ok(Route::Object(object)) => app.object(&object, &call, &settings, visitor).await,
        Err(error) => answers::error(error.into(), Outcome::refused()),
    }
}

/// The host name that the client called us by. Not `X-Forwarded-Host`, which anybody can say.
fn host(parts: &Parts) -> Option<String> {
    let authority = parts.uri.authority().map(Authority::as_str);
    let header = || parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    host_name(authority.or_else(header)?)
}

impl App {
    async fn object(&self, object: &Object, call: &Call, settings: &Settings, visitor: Visitor) -> Response {
        let class = class(&object.target);
        let outcome = Outcome::of(class, &object.registry, &object.repository);
        let answered = async {
            let source = source(object, call, settings)?;
            let deadline = call.deadline(&object.target);
            let permit = self.puller.may_read(&source, &object.target, visitor.audience, deadline).await;
            let permit = permit.map_err(failed(&outcome))?;
            self.answer(&source, &object.target, call, permit, &outcome).await
        };
        let answered = answered.await.map_err(|error| match &error {
            ApiError::Pull { error: why, .. } => visitor.refusal(why).unwrap_or(error),
            _ => error,
        });
        answered.unwrap_or_else(|error| answers::error(error, outcome))
    }

    async fn answer(
        &self,
        source: &Source,
        target: &Target,
        call: &Call,
        permit: Permit,
        outcome: &Outcome,
    ) -> Result<Response, ApiError> {
        match target {
            Target::Manifest(reference) => self.manifest(source, reference, call, permit, outcome).await,
            Target::Blob(digest) if call.method == Method::HEAD => {
                self.blob_head(source, digest, permit, outcome).await
            }
            Target::Blob(digest) => self.blob(source, digest, call, permit, outcome).await,
            Target::Tags => self.list(source, "tags/list", call, permit, outcome).await,
            Target::Referrers(digest) => self.list(source, &format!("referrers/{digest}"), call, permit, outcome).await,
        }
    }

    async fn manifest(
        &self,
        source: &Source,
        reference: &Reference,
        call: &Call,
        permit: Permit,
        outcome: &Outcome,
    ) -> Result<Response, ApiError> {
        let served = match reference {
            Reference::Tag(tag) => self.puller.tagged(source, tag, &call.method, permit).await,
            Reference::Digest(digest) => self.puller.manifest(source, digest, permit).await,
        };
        let served = served.map_err(failed(outcome))?;
        let counter = self.metrics.served(source.upstream.name());
        Ok(answers::manifest(&served.what, &call.method, &counter, outcome.ended(served.how)))
    }

    async fn blob_head(
        &self,
        source: &Source,
        digest: &Digest,
        permit: Permit,
        outcome: &Outcome,
    ) -> Result<Response, ApiError> {
        let served = self.puller.blob_size(source, digest, permit).await.map_err(failed(outcome))?;
        Ok(answers::blob_head(digest, served.what, outcome.ended(served.how)))
    }

    async fn blob(
        &self,
        source: &Source,
        digest: &Digest,
        call: &Call,
        permit: Permit,
        outcome: &Outcome,
    ) -> Result<Response, ApiError> {
        let served = self.puller.blob(source, digest, permit).await.map_err(failed(outcome))?;
        let size = served.what.size;
        let part = served.what.part(ranges(&call.headers, digest).as_ref())?;
        let way = self.way(call);
        let body = BlobBody::open(&self.puller, served.what, &part, way).await.map_err(failed(outcome))?;
        let body = body.stream(self.metrics.served(source.upstream.name()));
        Ok(answers::blob(digest, size, &part, body, outcome.ended(served.how)))
    }

    /// How the bytes of a blob reach the client.
    fn way(&self, call: &Call) -> Way {
        let (lent, copied) = (self.metrics.sent(SentPath::Sendfile), self.metrics.sent(SentPath::Copy));
        Way { lender: call.lender.clone(), lent, copied }
    }

    async fn list(
        &self,
        source: &Source,
        path: &str,
        call: &Call,
        permit: Permit,
        outcome: &Outcome,
    ) -> Result<Response, ApiError> {
        let list = self.puller.list(source, path, &call.query.others, outcome.class, permit).await;
        let list = list.map_err(failed(outcome))?;
        Ok(answers::list(list, &call.path, call.query.ns.as_deref(), outcome.ended(RequestResult::Passed)))
    }
}

fn source(object: &Object, call: &Call, settings: &Settings) -> Result<Source, ApiError> {
    let unlisted =
        || ApiError::Unlisted { registry: object.registry.to_string(), repository: object.repository.to_string() };
    let upstream = settings.upstreams.get(&object.registry).filter(|upstream| upstream.lists(&object.repository));
    let upstream = Arc::clone(upstream.ok_or_else(unlisted)?);
    Ok(Source { upstream, repository: object.repository.clone(), trace: call.trace.clone() })
}

fn class(target: &Target) -> Class {
    match target {
        Target::Manifest(_) => Class::Manifest,
        Target::Blob(_) => Class::Blob,
        Target::Tags => Class::Tags,
        Target::Referrers(_) => Class::Referrers,
    }
}

fn failed(outcome: &Outcome) -> impl Fn(PullError) -> ApiError {
    let class = outcome.class;
    move |error| ApiError::Pull { class, error }
}

/// The ranges asked for; none where `If-Range` names other content.
fn ranges(headers: &HeaderMap, digest: &Digest) -> Option<ByteRanges> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let same =
        headers.get(header::IF_RANGE).is_none() || text(header::IF_RANGE) == Some(answers::etag(digest).as_str());
    text(header::RANGE).filter(|_| same).and_then(ByteRanges::parse)
}

/// A request's query: the registry, and what is the upstream's business.
#[derive(Debug, Default)]
struct Query {
    ns: Option<String>,
    others: String,
}

impl Query {
    fn parse(query: &str) -> Self {
        let (mut ns, mut others) = (None, form_urlencoded::Serializer::new(String::new()));
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            if key == "ns" {
                ns = Some(value.into_owned());
            } else {
                others.append_pair(&key, &value);
            }
        }
        Self { ns, others: others.finish() }
    }
}
