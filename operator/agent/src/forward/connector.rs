//! Connections to members: TCP, then TLS with both sides proven, within a deadline. No byte of a request goes out before.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, MaybeHttpsStream};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::time::timeout;
use tower::Service;

use super::{
    Limits,
    read_ahead::{ReadAhead, ReadingAhead},
    several::Several,
    tls_failure::Late,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Connects to members of one mirror, wherever they are, and to nobody else.
#[derive(Clone, Debug)]
pub(super) struct MemberConnector {
    https: HttpsConnector<ReadingAhead>,
    limit: Duration,
}

impl MemberConnector {
    pub(super) fn new(name: ServerName<'static>, config: Arc<ClientConfig>, limits: &Limits) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(limits.connect));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let names = Arc::new(FixedServerNameResolver::new(name));
        let https = HttpsConnector::new(ReadingAhead(tcp), config, true, names);
        Self { https, limit: limits.handshake }
    }
}

impl Service<Uri> for MemberConnector {
    type Response = TokioIo<Several<TokioIo<MaybeHttpsStream<TokioIo<ReadAhead>>>>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, limit) = (self.https.call(to), self.limit);
        Box::pin(async move {
            let stream = timeout(limit, connecting).await.map_err(|_| Late)??;
            Ok(TokioIo::new(Several(TokioIo::new(stream))))
        })
    }
}
