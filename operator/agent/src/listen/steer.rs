//! Which of the listeners that share the port gets the node's new connections.
//!
//! While one agent follows another both listen, and the kernel would deal connections out to both by hash: those that
//! lie in the queue of the one that closes are reset (33 of 60, measured). So a program for the whole group of sockets
//! names the one that gets them all.
//!
//! The program is a number: the place of a socket in its group. A new one takes the last place, and when one closes, the
//! last moves to where it was. A number without a socket means that the hash decides. Nobody tells a socket its place,
//! so it is found out: from the first place on, until the right one answers.
//!
//! The program outlives who wrote it, so that it may name a newcomer before that can serve. A newcomer's first act is
//! therefore to name the first place, which is its own only where it is alone.

use std::{io, net::SocketAddr, os::fd::AsFd, sync::Weak, time::Duration};

use nix::{
    libc::{BPF_K, BPF_RET, sock_filter, sock_fprog},
    sys::socket::{setsockopt, sockopt::AttachReusePortCbpf},
};
use tokio::net::TcpListener;

use crate::forward::{Answers, Mark};

/// More agents than this never meet on a node: one that ends, one that follows, one that follows that.
const PLACES: u32 = 4;
/// How often in a row the right one has to answer before a place is believed to be its own: where the hash decides, it
/// may answer by chance.
const SURE: u32 = 6;
/// Another agent that looks for its place at the same time spoils the search; not again and again.
const SEARCHES: u32 = 2;
/// How long a listener may take to answer. One that is stuck is passed over.
const PATIENCE: Duration = Duration::from_secs(1);

/// This process's listener, among those of its port. It does not keep it open.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) listener: Weak<TcpListener>,
    pub(super) address: SocketAddr,
    pub(super) mark: Mark,
}

impl Group {
    /// Directs new connections to the agent that was there before, if there is one that answers.
    pub(super) async fn stand_back(&self) -> bool {
        self.direct(0).is_ok() && self.who_answers().await == Answers::Another
    }

    /// Directs new connections to this listener; whether it answers then.
    pub(super) async fn take(&self) -> bool {
        self.direct_to(Answers::Us).await
    }

    /// Directs new connections to another listener, if there is one.
    pub(super) async fn leave(&self) -> bool {
        for _ in 0..SEARCHES {
            if self.direct_to(Answers::Another).await {
                return true;
            }
        }
        false
    }

    async fn direct_to(&self, wanted: Answers) -> bool {
        for place in 0..PLACES {
            if let Err(error) = self.direct(place) {
                tracing::warn!(%error, "cannot direct connections to one listener; agents that meet share them");
                return self.who_answers().await == wanted;
            }
            if self.always_answers(wanted).await {
                return true;
            }
        }
        false
    }

    async fn always_answers(&self, wanted: Answers) -> bool {
        for _ in 0..SURE {
            if self.who_answers().await != wanted {
                return false;
            }
        }
        true
    }

    fn direct(&self, place: u32) -> io::Result<()> {
        let listener = self.listener.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        direct(&*listener, place)
    }

    async fn who_answers(&self) -> Answers {
        self.mark.who_answers(self.address, PATIENCE).await
    }
}

/// Directs the new connections of all sockets that share this one's port to the one at a place among them.
fn direct(listener: &impl AsFd, place: u32) -> io::Result<()> {
    let code = u16::try_from(BPF_RET | BPF_K).map_err(io::Error::other)?;
    let mut program = [sock_filter { code, jt: 0, jf: 0, k: place }];
    let program = sock_fprog { len: 1, filter: program.as_mut_ptr() };
    Ok(setsockopt(listener, AttachReusePortCbpf, &program)?)
}
