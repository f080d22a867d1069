//! Content that needed credentials is served as a part of those repositories only that it is known to be in (P14), and
//! to who reads them now: whatever the configuration was when it came.

use std::sync::Arc;

use tidepool_oci::{Digest, Target};

use super::{
    Permit, PullError, Puller, Source,
    permission::target_path,
    permit::Reader,
    probe::{Question, name},
};

impl Puller {
    /// Whether `digest`, which is what `target` names, may be served as a part of the repository: always, unless it
    /// needed credentials somewhere. Then it has to be known in this one, or the upstream tells; and to be read without
    /// the credentials, it has to be public.
    pub(super) async fn is_part(
        self: &Arc<Self>,
        source: &Source,
        digest: &Digest,
        target: &Target,
        permit: Permit,
    ) -> Result<(), PullError> {
        let Some(origins) = self.store.origins(digest).await else { return Ok(()) };
        Box::pin(self.is_noted_part(source, digest, target, permit, origins)).await
    }

    /// The same of content of which that is noted.
    pub(super) async fn is_noted_part(
        self: &Arc<Self>,
        source: &Source,
        digest: &Digest,
        target: &Target,
        permit: Permit,
        origins: String,
    ) -> Result<(), PullError> {
        let (name, path) = (name(source), target_path(target));
        let noted = origins.lines().any(|line| line == name);
        match (permit.reader, source.upstream.scope()) {
            // Where there are credentials, a stranger got here because the repository is public.
            (Reader::Us, _) | (_, Some(_)) if noted => return Ok(()),
            (Reader::Anybody, None) if noted => return self.public(source, target, permit.deadline).await.map(drop),
            (Reader::Us, _) if self.absent.knows(source, &path) => return Err(PullError::KnownAbsent),
            (Reader::Anybody, _) if self.known.is_closed(&name, &path) => return Err(PullError::NotForYou),
            _ => {}
        }
        let question = Question { reader: permit.reader, path, witnesses: Vec::new() };
        permit.deadline.wait(self.ask_once(source, question)).await??;
        if matches!(target, Target::Manifest(_)) && !speaks_for_itself(source, &origins) {
            self.fetched_manifest(source, digest, permit).await?;
        }
        self.note_part(name, digest).await;
        Ok(())
    }

    /// Believes the registry, which names a manifest that is kept, that it is in this repository, and notes that where it
    /// is asked; false where the registry has to show it.
    pub(super) async fn believes(self: &Arc<Self>, source: &Source, digest: &Digest) -> bool {
        let Some(origins) = self.store.origins(digest).await else { return true };
        let believed = speaks_for_itself(source, &origins);
        if believed {
            self.note_part(name(source), digest).await;
        }
        believed
    }

    async fn note_part(&self, name: String, digest: &Digest) {
        if let Err(error) = self.store.add_origin(digest, name).await {
            self.not_kept(&error, "where content is a part");
        }
    }

    /// What to note of content that comes from this repository; none where everybody may have it.
    pub(super) async fn origin_of(self: &Arc<Self>, source: &Source, digest: &Digest) -> Option<String> {
        // Also of what is kept no longer, or comes from elsewhere now.
        let noted = self.needs_credentials(source).await || self.store.origins(digest).await.is_some();
        noted.then(|| name(source))
    }

    /// Whether the upstream's answer takes kept content back: it refuses what needed credentials.
    pub(super) async fn is_revoked(self: &Arc<Self>, source: &Source, digest: &Digest, error: &PullError) -> bool {
        let refused = matches!(error, PullError::Upstream(error) if error.is_refusal());
        refused
            && self.store.origins(digest).await.is_some()
            && !self.known_public(source).await.as_ref().is_some_and(super::probe::is_fresh)
    }
}

/// Whether the registry is one that the content came from. Any other may name a digest it only heard of, to have what
/// needed credentials elsewhere served as its own.
fn speaks_for_itself(source: &Source, origins: &str) -> bool {
    let (begin, end) = (format!("{} ", source.upstream.name()), format!(" {}", source.upstream.base()));
    origins.lines().any(|line| line.starts_with(&begin) && line.ends_with(&end))
}
