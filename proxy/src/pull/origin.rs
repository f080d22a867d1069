//! Content that needed credentials is served as a part of those repositories only that it is known to be in (P14).

use std::{io, sync::Arc};

use http::{HeaderValue, Method, header};
use tidepool_oci::Digest;

use super::{ANSWER_WITHIN, PullError, Puller, Source, manifests::ACCEPT, permission::name};
use crate::{metrics::Class, upstream::Ask};

impl Puller {
    /// Whether `digest` may be served as a part of the repository: always, unless it came from elsewhere and needed
    /// credentials there. Then the upstream tells, who is asked for `path`; as a stranger, where the answer is for one.
    pub(super) async fn is_part(
        self: &Arc<Self>,
        source: &Source,
        digest: &Digest,
        path: &str,
        anonymously: bool,
    ) -> Result<(), PullError> {
        let Some(origins) = self.store.origins(digest).await? else { return Ok(()) };
        let name = name(source);
        if origins.lines().any(|line| line == name) {
            return Ok(());
        }
        let mut ask = Ask::new(Method::HEAD, &source.repository, path, Class::Other, ANSWER_WITHIN);
        ask.headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
        ask.anonymously = anonymously;
        source.upstream.send(&ask).await?;
        self.store.add_origin(digest, name).await?;
        Ok(())
    }

    /// Notes where content is about to come from, before anybody can have it.
    pub(super) async fn note_origin(self: &Arc<Self>, source: &Source, digest: &Digest) -> io::Result<()> {
        // Also of what is kept no longer, or comes from elsewhere now.
        if self.needs_credentials(source).await || self.store.origins(digest).await?.is_some() {
            self.store.add_origin(digest, name(source)).await?;
        }
        Ok(())
    }
}
