//! Who may read what (P14). Asked before anything is served, also from the store.
//!
//! Where credentials are used, an answer of the upstream no longer tells that everybody may have it. A repository is
//! public when the upstream lets us read the very thing asked for without them ([`super::probe`]). That is remembered for
//! a day, on disk, so that a restart and an outage change nothing; that it is not, for minutes.

use tidepool_config::{AnonymousPull, Scope};
use tidepool_oci::{Reference, Target};
use tokio::time::Instant;

use std::sync::Arc;

use super::{
    Deadline, Permit, PullError, Puller, Source,
    permit::Reader,
    probe::{self, LIST, Question, name},
};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// A node's agent, known by its certificate.
    Node,
    /// A user of the list, logged in.
    User,
    /// A client without a login.
    Anonymous(AnonymousPull),
}

/// How something that is kept came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// As everybody could have it.
    Anybodys,
    /// With credentials.
    Ours,
}

impl Puller {
    /// Whether `audience` may read that, and as whose; to be asked before anything is served, also from the store.
    pub(crate) async fn may_read(
        self: &Arc<Self>,
        source: &Source,
        target: &Target,
        audience: Audience,
        deadline: Deadline,
    ) -> Result<Permit, PullError> {
        let scope = source.upstream.scope();
        let reader = match (audience, scope) {
            (Audience::Anonymous(AnonymousPull::None), _) => return Err(PullError::NotForYou),
            (Audience::User | Audience::Anonymous(AnonymousPull::All), Some(_))
            | (Audience::Node, Some(Scope::AllImages)) => Reader::Us,
            (_, None) | (Audience::Node | Audience::Anonymous(AnonymousPull::PublicImages), Some(_)) => Reader::Anybody,
        };
        let asks = reader == Reader::Anybody && scope.is_some();
        let confirmed = !asks || Box::pin(self.public(source, target, deadline)).await?;
        let permit = Permit { reader, confirmed, deadline };
        if let Target::Manifest(Reference::Digest(digest)) | Target::Blob(digest) = target {
            self.is_part(source, digest, target, permit).await?;
        }
        Ok(permit)
    }

    /// Lets in where everybody may read the repository, by what is known or by asking; false where that is but the last
    /// that was heard, and the upstream does not confirm it now.
    pub(super) async fn public(
        self: &Arc<Self>,
        source: &Source,
        target: &Target,
        deadline: Deadline,
    ) -> Result<bool, PullError> {
        let known = self.known_public(source).await;
        if known.as_ref().is_some_and(probe::is_fresh) {
            return Ok(true);
        }
        let path = target_path(target);
        if self.known.is_closed(&name(source), &path) {
            return Err(PullError::NotForYou);
        }
        // What everybody had once is theirs until the upstream says otherwise.
        let kept = self.kept(source, target).await;
        let theirs = known.is_some() || kept == Some(Kept::Anybodys);
        let witnesses = if theirs { self.witnesses(source, target).await } else { Vec::new() };
        let question = Question { reader: Reader::Anybody, path, witnesses };
        if !theirs || kept.is_none() {
            deadline.wait(self.ask_once(source, question)).await??;
            return Ok(true);
        }
        let Some(_leave) = source.upstream.breaker().may_check() else {
            return Ok(false);
        };
        let begun = Instant::now();
        match tokio::time::timeout_at(deadline.kept, self.ask_once(source, question)).await {
            Ok(Err(error)) if error.is_absence() => Err(error),
            Ok(answer) => Ok(answer.is_ok()),
            Err(_) => {
                if deadline.was_fair(begun) {
                    source.upstream.breaker().overdue();
                }
                Ok(false)
            }
        }
    }

    /// Whether it is kept, and came without credentials.
    async fn kept(self: &Arc<Self>, source: &Source, target: &Target) -> Option<Kept> {
        let (closed, digest) = match target {
            Target::Manifest(Reference::Tag(tag)) => {
                let record = self.store.tag(source.upstream.name(), &source.repository, tag).await?;
                (record.closed, record.digest)
            }
            Target::Manifest(Reference::Digest(digest)) | Target::Blob(digest) => (false, digest.clone()),
            Target::Tags | Target::Referrers(_) => return None,
        };
        let there = match target {
            Target::Blob(_) => self.store.kept(&digest).await.is_some(),
            _ => self.store.manifest(&digest).await.is_some(),
        };
        let anybodys = !closed && self.store.origins(&digest).await.is_none();
        there.then_some(if anybodys { Kept::Anybodys } else { Kept::Ours })
    }

    /// What else shows that a repository is open, where the thing asked for is gone: it may have been deleted.
    async fn witnesses(self: &Arc<Self>, source: &Source, target: &Target) -> Vec<String> {
        let held = match target {
            Target::Manifest(Reference::Tag(tag)) => {
                self.store.tag(source.upstream.name(), &source.repository, tag).await
            }
            _ => None,
        };
        let held = held.map(|record| super::manifest_path(record.digest));
        held.into_iter().chain([LIST.to_owned()]).collect()
    }

    /// Whether credentials are needed for the repository, as far as is known.
    pub(super) async fn needs_credentials(self: &Arc<Self>, source: &Source) -> bool {
        source.upstream.scope().is_some() && !self.known_public(source).await.as_ref().is_some_and(probe::is_fresh)
    }
}

/// Below the repository: what shows whether somebody may read `target`.
pub(super) fn target_path(target: &Target) -> String {
    match target {
        Target::Manifest(reference) => super::manifest_path(reference),
        Target::Blob(digest) => super::blob_path(digest),
        Target::Tags => LIST.to_owned(),
        Target::Referrers(digest) => super::manifest_path(digest),
    }
}
