//! The task of the identity: from the Secret to connections, and to the next container.

use std::{path::PathBuf, sync::Arc};

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher::Event;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Identity, IdentityView, keep};
use crate::forward::Forwarder;

/// What takes events of the Secret in, and where each new identity comes out.
pub fn view() -> (impl FnMut(Event<Secret>), watch::Receiver<Option<Identity>>) {
    let (out, identity) = watch::channel(None);
    let mut view = IdentityView::default();
    let on_secret = move |event: Event<Secret>| {
        let Some(new) = view.on(&event) else { return };
        out.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&new);
            *known = Some(new);
            changed
        });
    };
    (on_secret, identity)
}

/// Connects by each new identity, and keeps it in the run directory, until `stop`.
pub async fn follow(
    mut identity: watch::Receiver<Option<Identity>>,
    forwarder: Arc<Forwarder>,
    run: PathBuf,
    stop: CancellationToken,
) {
    while let Some(Ok(())) = stop.run_until_cancelled(identity.changed()).await {
        let Some(new) = identity.borrow_and_update().clone() else { continue };
        tracing::info!(mirrors = new.mirrors().count(), "a new identity of agents");
        forwarder.identify(new.clone());
        let run = run.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || keep(&new, &run)).await {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(%error, cause, "after a restart without the API server this node will pull past its mirrors");
        }
    }
    // The watch ends only when it is told to: so is this.
    stop.cancelled().await;
}
