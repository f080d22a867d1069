//! Keeping the listener up: it is bound, bound again where that fails, and asked over loopback before anybody relies
//! on it (design N3).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{
    controller::Listening,
    forward::{Forwarder, answers, server},
};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long the listener may take to answer itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// Serves pulls on `127.0.0.1:port` until `stop`, then lets streams end within `drain`. A port that is taken is tried
/// again and again: ending would help nobody.
pub async fn listen(
    port: u16,
    forwarder: Arc<Forwarder>,
    listening: watch::Sender<Listening>,
    drain: Duration,
    stop: CancellationToken,
) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let Some(listener) = bind(address, &listening, &stop).await else { return };
    let address = listener.local_addr().unwrap_or(address);
    let serving = server::serve(listener, Arc::clone(&forwarder), stop.clone(), drain);
    tokio::join!(serving, stop.run_until_cancelled(ask_until_answered(address, PATIENCE, &listening)));
}

/// Asks over loopback until the listener answers: what answers there is what a runtime would reach. A node that is too
/// busy for it now may not be in a moment.
async fn ask_until_answered(address: SocketAddr, patience: Duration, listening: &watch::Sender<Listening>) {
    let mut pause = FIRST_PAUSE;
    while !answers(address, patience).await {
        tracing::warn!(%address, "the listener does not answer itself, asking again");
        listening.send_replace(Listening::No(format!("{address} does not answer itself; the node may be overloaded")));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    tracing::info!(%address, "listening");
    listening.send_replace(Listening::Yes);
}

async fn bind(
    address: SocketAddr,
    listening: &watch::Sender<Listening>,
    stop: &CancellationToken,
) -> Option<TcpListener> {
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match server::bind(address) {
            Ok(listener) => return Some(listener),
            Err(error) => error,
        };
        let message = format!("cannot listen on {address}: {error}; end what listens there, or change agent.port");
        listening.send_if_modified(|known| {
            let said = Listening::No(message.clone());
            let changed = *known != said;
            if changed {
                tracing::error!(message, "listener failed, trying again");
            }
            *known = said;
            changed
        });
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            () = stop.cancelled() => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        forward::{Honored, Limits, Routings},
        metrics::Metrics,
    };

    #[tokio::test]
    async fn a_port_that_is_taken_is_reported_and_had_once_it_is_free() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let routings = Arc::new(Routings::default());
        let forwarder = Forwarder::new(routings, Limits::default(), Metrics::default(), Honored::default());
        let (send, mut receive) = watch::channel(Listening::Starting);
        let stop = CancellationToken::new();
        let task = tokio::spawn(listen(port, Arc::new(forwarder), send, Duration::from_secs(1), stop.clone()));
        receive.changed().await.unwrap();
        let said = receive.borrow_and_update().clone();
        assert!(
            matches!(&said, Listening::No(why) if why.contains(&port.to_string()) && why.contains("agent.port")),
            "{said:?}"
        );
        drop(taken);
        tokio::time::timeout(Duration::from_secs(10), receive.changed()).await.unwrap().unwrap();
        assert_eq!(*receive.borrow(), Listening::Yes);
        stop.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_self_check_that_fails_is_tried_again_until_it_answers() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap();
        let routings = Arc::new(Routings::default());
        let forwarder = Arc::new(Forwarder::new(routings, Limits::default(), Metrics::default(), Honored::default()));
        let (send, mut receive) = watch::channel(Listening::Starting);
        let asking = ask_until_answered(address, Duration::from_millis(50), &send);
        let answering = async {
            receive.changed().await.unwrap();
            assert!(matches!(&*receive.borrow_and_update(), Listening::No(_)));
            // What lay in the queue goes, and from now on it answers.
            let stop = CancellationToken::new();
            let serving = server::serve(silent, Arc::clone(&forwarder), stop.clone(), Duration::ZERO);
            let told = async {
                receive.wait_for(|said| *said == Listening::Yes).await.unwrap();
                stop.cancel();
            };
            tokio::join!(serving, told);
        };
        tokio::time::timeout(Duration::from_secs(10), async { tokio::join!(asking, answering) }).await.unwrap();
    }
}
