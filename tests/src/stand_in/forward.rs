//! Handing a request on to the registry behind a stand-in, and counting what comes back.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, TRANSFER_ENCODING};
use hyper::{Method, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::answers::Body;
use super::log::{Log, Request};

/// The registry that holds the contents, on loopback.
pub(super) struct Backend {
    authority: String,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Backend {
    pub(super) fn new(port: u16) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { authority: format!("127.0.0.1:{port}"), client }
    }

    /// Asks the same of the backend; only requests without a body get here.
    pub(super) async fn forward(
        &self,
        request: &hyper::Request<Incoming>,
    ) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri = Uri::builder().scheme("http").authority(self.authority.as_str()).path_and_query(path).build()?;
        let mut onward = hyper::Request::new(Empty::new());
        *onward.method_mut() = request.method().clone();
        *onward.uri_mut() = uri;
        let headers = request.headers().iter().filter(|(name, _)| ![HOST, CONNECTION, AUTHORIZATION].contains(name));
        onward.headers_mut().extend(headers.map(|(name, value)| (name.clone(), value.clone())));
        let mut response = self.client.request(onward).await?;
        response.headers_mut().remove(CONNECTION);
        response.headers_mut().remove(TRANSFER_ENCODING);
        Ok(response)
    }
}

/// A body that writes its request's line in the log just before its last byte is handed over, or when it is given up.
pub(super) struct Counted {
    body: Incoming,
    expected: Option<u64>,
    record: Request,
    log: Arc<Log>,
    logged: bool,
}

impl Counted {
    pub(super) fn wrap(
        response: Response<Incoming>,
        request: &hyper::Request<Incoming>,
        mut record: Request,
        log: Arc<Log>,
    ) -> Response<Body> {
        record.status = response.status().as_u16();
        let bodiless = request.method() == Method::HEAD;
        response.map(|body| {
            let expected = if bodiless { Some(0) } else { body.size_hint().exact() };
            let mut counted = Self { body, expected, record, log, logged: false };
            counted.count(0);
            counted.boxed_unsync()
        })
    }

    fn count(&mut self, bytes: usize) {
        self.record.bytes += bytes as u64;
        if self.expected == Some(self.record.bytes) {
            self.log(true);
        }
    }

    fn log(&mut self, complete: bool) {
        if !self.logged {
            self.logged = true;
            self.record.complete = complete;
            self.log.write(&self.record);
        }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => self.count(frame.data_ref().map_or(0, Bytes::len)),
            Some(Err(_)) => self.log(false),
            None => self.log(true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.log(false);
    }
}
