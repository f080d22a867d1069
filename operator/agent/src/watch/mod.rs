//! What the agent watches (design N8): one ConfigMap by name, EndpointSlices by label, its own Node. Nothing else.
//!
//! Each view is a plain value that takes events in; [`follow`] is the one place that talks to the API server.

mod document;
mod members;

use std::fmt::Debug;

use futures::StreamExt as _;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

pub use document::{Document, Problem};
pub use members::MembersView;

/// Hands every event of a watch to `on` until `stop`. The API server being away is not an event: it is waited out, with
/// growing pauses.
pub async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    mut on: impl FnMut(watcher::Event<K>),
    stop: CancellationToken,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default,
{
    let resource = K::plural(&K::DynamicType::default()).into_owned();
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    let mut failing = false;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = stop.cancelled() => return,
        };
        match event {
            Some(Ok(event)) => {
                if std::mem::take(&mut failing) {
                    tracing::info!(resource, "watching again");
                }
                on(event);
            }
            // Once: it is tried again until it works.
            Some(Err(error)) if !failing => {
                tracing::warn!(resource, %error, "cannot watch; what is known stays in force");
                failing = true;
            }
            Some(Err(_)) => {}
            None => return,
        }
    }
}
