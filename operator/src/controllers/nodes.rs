//! What nodes do: one document of all mirrors for all agents, certificates by which members know agents, and a
//! MirrorNode for each Node to report in.
//!
//! The document says of an invalid mirror what it last said, of a mirror that goes nothing. Nothing is written before
//! all caches are filled: an empty document would make every node let go of its mirrors.

mod apply;
mod observe;

use std::{sync::Arc, time::Duration};

use tidepool_plan::{Told, UnknownPast, nodes_document};

use super::rounds::Rounds;
use crate::{
    apply::ApplyError,
    context::Context,
    leader::NotLeading,
    metrics::Controller,
    trust::{TrustError, until},
};

use observe::Observed;
pub(crate) use observe::published;

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodesError {
    #[error(transparent)]
    Past(#[from] UnknownPast),
    #[error("cannot write the agents' document as JSON")]
    Document(#[source] serde_json::Error),
    #[error("cannot apply ConfigMap {name} of the agents")]
    Apply { name: &'static str, source: Box<kube::Error> },
    #[error("cannot create MirrorNode {name}")]
    Create { name: String, source: Box<kube::Error> },
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("cannot give agents their certificates")]
    Identity(#[source] ApplyError),
}

/// The controller, with what this process told agents last. The cache may be a moment behind it, and what an invalid
/// mirror last said must not be lost in that moment.
pub(crate) struct Nodes {
    context: Arc<Context>,
    told: Told,
}

impl Nodes {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, told: Told::Nothing }
    }
}

impl Rounds for Nodes {
    const CONTROLLER: Controller = Controller::Nodes;
    const DEBOUNCE: Duration = Duration::from_millis(200);
    const FAILURE: &'static str = "cannot tell agents";
    type Error = NodesError;

    /// All mirrors, told to all agents; all Nodes, each with a MirrorNode. Certificates or authorities are what is due.
    async fn reconcile(&mut self) -> Result<Duration, NodesError> {
        let context = &*self.context;
        context.leadership.check()?;
        let observed = observe::observe(context); // reads the caches
        // Before the document: who is told of a mirror can pull through it. None of the three waits for the others' success.
        let renewal = apply::identity(context, &observed.standings).await;
        let document = tell(context, &observed, &mut self.told).await;
        apply::mirror_nodes(context, observed.unreported).await?;
        document?;
        Ok(until(renewal?, context.resync))
    }
}

async fn tell(context: &Context, observed: &Observed, told: &mut Told) -> Result<(), NodesError> {
    let last = if matches!(told, Told::Nothing) { &observed.published } else { &*told };
    let document = nodes_document(&observed.standings, observed.nodes, last)?; // pure
    apply::document(context, &document).await?;
    *told = Told::Document(document);
    Ok(())
}
