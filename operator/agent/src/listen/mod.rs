//! Keeping the listener up: it is bound, bound again where that fails, and asked over loopback before anybody relies
//! on it (design N3); and handing the port over from agent to agent without a connection lost (design N6).
//!
//! The next agent binds the same port while this one goes on. Once it can serve, it directs new connections to itself.
//! This one, told to stop, sees to it that they go elsewhere, takes what the kernel had accepted for it, closes, and
//! ends its streams.

mod steer;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{
    controller::Listening,
    forward::{Answers, Forwarder, Mark, server},
};
use steer::Group;

/// How often the port is tried: an agent of a release that does not share it may be about to end.
const RETRY: Duration = Duration::from_millis(250);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long an agent before this one goes on alone while this one cannot serve pulls yet.
const ABLE_WITHIN: Duration = Duration::from_secs(10);
/// How long an agent that does not share its port may keep it without being called trouble.
const HANDOVER: Duration = Duration::from_secs(60);

/// What the listener is made of.
#[derive(Debug)]
pub struct Listener {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// What answers.
    pub forwarder: Arc<Forwarder>,
    /// How long streams may take to end.
    pub drain: Duration,
    /// Whether pulls can be served: an agent before this one goes on until then.
    pub able: watch::Receiver<bool>,
    /// Where its state is told.
    pub listening: watch::Sender<Listening>,
}

impl Listener {
    /// Serves pulls until `stop`. A port that is taken is tried again and again: ending would help nobody.
    pub async fn run(mut self, stop: CancellationToken) {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let mark = Mark::new();
        let Some(listener) = stop.run_until_cancelled(self.bind(address, &mark)).await else { return };
        let address = listener.local_addr().unwrap_or(address);
        let listener = Arc::new(listener);
        let group = Group { listener: Arc::downgrade(&listener), address, mark: mark.clone() };
        let close = CancellationToken::new();
        let serving = server::serve(listener, Arc::clone(&self.forwarder), mark, close.clone(), self.drain);
        let standing = async {
            stop.run_until_cancelled(self.take_over(&group)).await;
            stop.cancelled().await;
            let handed_over = group.leave().await;
            tracing::info!(handed_over, "no more connections");
            close.cancel();
        };
        tokio::join!(serving, standing);
    }

    /// Takes the node's connections over from an agent that may be there, and says so once they come: what answers over
    /// loopback then is what a runtime would reach. A node that is too busy for it now may not be in a moment.
    async fn take_over(&mut self, group: &Group) {
        if group.stand_back().await {
            tracing::info!("another agent listens, following it");
            // An error is the end of who would tell.
            let _ = tokio::time::timeout(ABLE_WITHIN, self.able.wait_for(|able| *able)).await;
        }
        let address = group.address;
        let mut pause = FIRST_PAUSE;
        while !group.take().await {
            tracing::warn!(%address, "the listener does not answer itself, asking again");
            let why = format!("{address} does not answer itself; the node may be overloaded");
            self.listening.send_replace(Listening::No(why));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        tracing::info!(%address, "listening");
        self.listening.send_replace(Listening::Yes);
    }

    async fn bind(&self, address: SocketAddr, mark: &Mark) -> TcpListener {
        let began = Instant::now();
        loop {
            let error = match server::bind(address) {
                Ok(listener) => return listener,
                Err(error) => error,
            };
            let taken = error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < HANDOVER;
            // Another registry on this port is most likely an agent of a release that does not share it.
            if taken && mark.who_answers(address, FIRST_PAUSE).await == Answers::Another {
                self.say(Listening::Behind);
            } else {
                let why = format!("cannot listen on {address}: {error}; end what listens there, or change agent.port");
                self.say(Listening::No(why));
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn say(&self, state: Listening) {
        self.listening.send_if_modified(|known| {
            let changed = *known != state;
            if changed {
                tracing::warn!(?state, "no listener yet, trying again");
            }
            *known = state;
            changed
        });
    }
}

#[cfg(test)]
mod tests;
