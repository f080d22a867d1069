//! What the agent watches (design N8): a ConfigMap and a Secret by name, EndpointSlices by label, its own Node. Nothing else.
//!
//! Each view is a plain value that takes events in; [`follow`] is the one place that talks to the API server.

mod document;
mod members;

use std::{fmt::Debug, time::Duration};

use futures::StreamExt as _;
use kube::{
    Api, Resource,
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

pub use document::{Document, Problem};
pub use members::MembersView;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long an agent may be behind an API server that came back; with the jitter, what thousands of them ask meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Hands every event of a watch to `on` until `stop`. The API server being away is not an event: it is waited out, with
/// growing pauses. (Not with kube's backoff: that starts again at each `Init`, which comes before every failed list.)
pub async fn follow<K>(api: Api<K>, config: watcher::Config, mut on: impl FnMut(Event<K>), stop: CancellationToken)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default,
{
    let resource = K::plural(&K::DynamicType::default()).into_owned();
    let mut events = std::pin::pin!(watcher(api, config));
    let mut pauses = Pauses::default();
    while let Some(Some(event)) = stop.run_until_cancelled(events.next()).await {
        match event {
            Ok(event) => {
                if !matches!(event, Event::Init) && pauses.end() {
                    tracing::info!(resource, "watching again");
                }
                on(event);
            }
            Err(error) => {
                // Once: it is tried again until it works.
                if pauses.is_first() {
                    tracing::warn!(resource, %error, "cannot watch; what is known stays in force");
                }
                if stop.run_until_cancelled(tokio::time::sleep(pauses.next())).await.is_none() {
                    return;
                }
            }
        }
    }
}

/// Pauses between attempts: doubled each time up to a limit, each shortened at random by up to half.
#[derive(Debug, Default)]
struct Pauses(u32);

impl Pauses {
    fn is_first(&self) -> bool {
        self.0 == 0
    }

    fn next(&mut self) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(self.0)).min(LONGEST_PAUSE);
        self.0 = self.0.saturating_add(1);
        pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }

    /// It works; whether it did not before.
    fn end(&mut self) -> bool {
        std::mem::take(&mut self.0) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use http::{Request, Response};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{Client, client::Body};

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_is_away_is_asked_ever_less_often() {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let server = tokio::spawn(async move {
            while let Some((_, send)) = handle.next_request().await {
                count.fetch_add(1, Ordering::SeqCst);
                send.send_error(std::io::Error::other("refused"));
            }
        });
        let maps: Api<ConfigMap> = Api::namespaced(Client::new(service, "a"), "a");
        let stop = CancellationToken::new();
        let on = |event: Event<ConfigMap>| assert!(matches!(event, Event::Init));
        let following = tokio::spawn(follow(maps, watcher::Config::default(), on, stop.clone()));
        tokio::time::sleep(Duration::from_secs(600)).await;
        let asked = asked.load(Ordering::SeqCst);
        assert!((20..50).contains(&asked), "{asked} times in ten minutes");
        stop.cancel();
        following.await.unwrap();
        server.abort();
    }
}
