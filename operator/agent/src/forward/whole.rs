//! Small replies (manifests, lists, errors) are taken whole before a word of them goes to the runtime: what breaks on the
//! way is asked for again, and the runtime never sees it. All of them together have [`Room`](super::room::Room).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http_body_util::BodyExt as _;
use hyper::{Response, body::Incoming};
use tokio::time::{Instant, timeout_at};

use super::{
    Member,
    exchange::{Ask, AskError, Exchange},
    headers,
};

/// The largest that is; containerd takes no manifest above 4.4 MB.
const LARGEST: u64 = 8 << 20;

/// A member's reply.
#[derive(Debug)]
pub(super) enum Reply {
    Whole(Parts, Bytes),
    Head(Response<Incoming>),
}

impl Reply {
    pub(super) fn head(&self) -> (http::StatusCode, &http::HeaderMap) {
        match self {
            Self::Whole(parts, _) => (parts.status, &parts.headers),
            Self::Head(reply) => (reply.status(), reply.headers()),
        }
    }
}

/// Whether the reply is of the kind that is taken whole.
fn is_taken(ask: &Ask, is_blob: bool, reply: &Response<Incoming>) -> bool {
    ask.method != http::Method::HEAD && !(is_blob && reply.status().is_success())
}

impl Exchange {
    /// Asks a member, and takes what is small whole. A body that stalls or breaks is asked for once more, for it may be the
    /// connection.
    pub(super) async fn ask_whole(
        &self,
        member: &Member,
        peers: &[Arc<Member>],
        ask: &Ask,
        is_blob: bool,
        deadline: Instant,
    ) -> Result<Reply, AskError> {
        let mut again = true;
        loop {
            let reply = self.ask(member, peers, ask, deadline).await?;
            let length = headers::content_length(reply.headers()).filter(|length| *length <= LARGEST);
            let Some(length) = length.filter(|_| is_taken(ask, is_blob, &reply)) else {
                return Ok(Reply::Head(reply));
            };
            let place = self.room.enter(length, deadline).await?;
            let (parts, body) = reply.into_parts();
            match self.take(member, peers, body, length, deadline).await {
                Ok(bytes) => return Ok(Reply::Whole(parts, place.hold(bytes))),
                Err(AskError::Body) if again => again = false,
                Err(error) => {
                    // On two connections, and it is alive: no pull is to pay for that again.
                    if matches!(error, AskError::Body) {
                        member.misbehaved();
                    }
                    return Err(error);
                }
            }
        }
    }

    async fn take(
        &self,
        member: &Member,
        peers: &[Arc<Member>],
        mut body: Incoming,
        length: u64,
        deadline: Instant,
    ) -> Result<Bytes, AskError> {
        // No more than there is room for: what grows as it comes takes twice as much.
        let mut bytes = BytesMut::with_capacity(usize::try_from(length).unwrap_or_default());
        loop {
            let silent = Instant::now();
            let patience = (silent + self.limits.silence).min(deadline);
            match timeout_at(patience, body.frame()).await {
                Ok(None) => return Ok(bytes.freeze()),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        bytes.extend_from_slice(&data);
                    }
                }
                Ok(Some(Err(_))) => return Err(AskError::Body),
                Err(_) if Instant::now() >= deadline => return Err(AskError::Deadline),
                Err(_) if self.is_there(member, peers, silent).await => return Err(AskError::Body),
                Err(_) => return Err(AskError::Dead),
            }
        }
    }
}
