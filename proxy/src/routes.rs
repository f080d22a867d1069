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
use http::{HeaderMap, Method, Uri, header, request::Parts, uri::Authority};
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
    uri: Uri,
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
    let (lender, trace) = (parts.extensions.remove(), parts.extensions.remove());
    let call = Call { begun, method: parts.method, headers: parts.headers, uri: parts.uri, query, lender, trace };
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

/// An answer and how it was had, or why there is none.
type Answered = Result<(Response, RequestResult), ApiError>;

impl App {
    async fn object(&self, object: &Object, call: &Call, settings: &Settings, visitor: Visitor) -> Response {
        let outcome = Outcome::of(class(&object.target), &object.registry, &object.repository);
        match self.answer(object, call, settings, visitor).await {
            Ok((response, how)) => answers::finish(response, outcome.ended(how)),
            Err(ApiError::Pull { error: why, class }) => {
                let error = visitor.refusal(&why).unwrap_or(ApiError::Pull { error: why, class });
                answers::error(error, outcome)
            }
            Err(error) => answers::error(error, outcome),
        }
    }

    async fn answer(&self, object: &Object, call: &Call, settings: &Settings, visitor: Visitor) -> Answered {
        let source = source(object, call, settings)?;
        let (target, deadline) = (&object.target, call.deadline(&object.target));
        let permit = self.puller.may_read(&source, target, visitor.audience, deadline).await;
        let permit = permit.map_err(failed(target))?;
        // Boxed where there is more to do than to look up: the future of an answer is moved, whole, several times.
        match target {
            Target::Manifest(reference) => self.manifest(&source, reference, call, permit).await,
            Target::Blob(digest) if call.method == Method::HEAD => {
                Box::pin(self.blob_head(&source, digest, permit)).await
            }
            Target::Blob(digest) => Box::pin(self.blob(&source, digest, call, permit)).await,
            Target::Tags => Box::pin(self.list(&source, "tags/list", target, call, permit)).await,
            Target::Referrers(digest) => {
                Box::pin(self.list(&source, &format!("referrers/{digest}"), target, call, permit)).await
            }
        }
    }

    async fn manifest(&self, source: &Source, reference: &Reference, call: &Call, permit: Permit) -> Answered {
        let served = match reference {
            Reference::Tag(tag) => Box::pin(self.puller.tagged(source, tag, &call.method, permit)).await,
            Reference::Digest(digest) => self.puller.manifest(source, digest, permit).await,
        };
        let served = served.map_err(|error| ApiError::Pull { class: Class::Manifest, error })?;
        let counter = self.metrics.served(source.upstream.name());
        Ok((answers::manifest(&served.what, &call.method, &counter, served.how), served.how))
    }

    async fn blob_head(&self, source: &Source, digest: &Digest, permit: Permit) -> Answered {
        let served = self.puller.blob_size(source, digest, permit).await.map_err(failed_blob)?;
        Ok((answers::blob_head(digest, served.what, served.how), served.how))
    }

    async fn blob(&self, source: &Source, digest: &Digest, call: &Call, permit: Permit) -> Answered {
        let served = self.puller.blob(source, digest, permit).await.map_err(failed_blob)?;
        let size = served.what.size;
        let part = served.what.part(ranges(&call.headers, digest).as_ref())?;
        let way = self.way(call);
        let body = BlobBody::open(&self.puller, served.what, &part, way).await.map_err(failed_blob)?;
        let body = body.stream(self.metrics.served(source.upstream.name()));
        Ok((answers::blob(digest, size, &part, body, served.how), served.how))
    }

    /// How the bytes of a blob reach the client.
    fn way(&self, call: &Call) -> Way {
        let (lent, copied) = (self.metrics.sent(SentPath::Sendfile), self.metrics.sent(SentPath::Copy));
        Way { lender: call.lender.clone(), lent, copied }
    }

    async fn list(&self, source: &Source, path: &str, target: &Target, call: &Call, permit: Permit) -> Answered {
        let list = self.puller.list(source, path, &call.query.others, class(target), permit).await;
        let list = list.map_err(failed(target))?;
        Ok((answers::list(list, call.uri.path(), call.query.ns.as_deref()), RequestResult::Passed))
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

fn failed(target: &Target) -> impl Fn(PullError) -> ApiError {
    let class = class(target);
    move |error| ApiError::Pull { class, error }
}

fn failed_blob(error: PullError) -> ApiError {
    ApiError::Pull { class: Class::Blob, error }
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
        if query.is_empty() {
            return Self::default();
        }
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
