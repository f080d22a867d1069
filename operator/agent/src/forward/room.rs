//! A bound on what whole replies take of the agent's memory, all together: each may be 8 MiB, and there may be hundreds.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::exchange::AskError;

/// Bytes of whole replies at once: two of the largest, some hundred of what large indexes are.
const MOST: usize = 16 << 20;
/// What is no larger needs no room of its own: a connection may hold as much for a slow runtime anyway. Nearly all
/// manifests are, so that nobody waits behind a few large ones.
const SMALL: u64 = 64 << 10;
/// How long a reply waits for those before it: they are written to the node itself, and the runtime may go upstream.
const WITHIN: Duration = Duration::from_secs(2);

/// What is left. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Semaphore>);

/// A reply's place, for as long as its bytes are here.
#[derive(Debug)]
pub(super) struct Place(Option<OwnedSemaphorePermit>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Room {
    /// Waits for room for a reply of this length. All of it at once: two that each have half of what they need would wait
    /// for each other.
    pub(super) async fn enter(&self, length: u64, deadline: Instant) -> Result<Place, AskError> {
        if length <= SMALL {
            return Ok(Place(None));
        }
        let length = u32::try_from(length).map_err(|_| AskError::Crowded)?;
        let entered = Arc::clone(&self.0).acquire_many_owned(length);
        match timeout_at(deadline.min(Instant::now() + WITHIN), entered).await {
            Ok(Ok(permit)) => Ok(Place(Some(permit))),
            Ok(Err(_)) | Err(_) => Err(AskError::Crowded),
        }
    }
}

impl Place {
    /// The reply's bytes, with whose last copy the place is free again.
    pub(super) fn hold(self, bytes: Bytes) -> Bytes {
        if self.0.is_none() { bytes } else { Bytes::from_owner(Held { bytes, _place: self }) }
    }
}

struct Held {
    bytes: Bytes,
    _place: Place,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: u64 = 8 << 20;

    #[tokio::test(start_paused = true)]
    async fn n6_large_replies_wait_for_room_not_for_long_and_small_ones_never() {
        let (room, began) = (Room::default(), Instant::now());
        let deadline = began + Duration::from_secs(11);
        let held: Vec<_> =
            [room.enter(LARGE, deadline).await, room.enter(LARGE, deadline).await].map(Result::unwrap).into();
        assert!(matches!(room.enter(LARGE, deadline).await, Err(AskError::Crowded)));
        assert_eq!(began.elapsed(), WITHIN);
        assert!(matches!(room.enter(LARGE, began + WITHIN).await, Err(AskError::Crowded)), "the deadline is over");
        room.enter(SMALL, deadline).await.unwrap();
        assert_eq!(began.elapsed(), WITHIN);
        drop(held);
        room.enter(LARGE, deadline).await.unwrap();
    }

    #[tokio::test]
    async fn a_place_is_free_when_the_last_copy_of_the_bytes_is_gone() {
        let (room, deadline) = (Room::default(), Instant::now() + WITHIN);
        let bytes = room.enter(LARGE, deadline).await.unwrap().hold(Bytes::from_static(b"all"));
        let copy = bytes.slice(1..);
        drop(bytes);
        assert_eq!((room.0.available_permits(), &copy[..]), (MOST - (8 << 20), &b"ll"[..]));
        drop(copy);
        assert_eq!(room.0.available_permits(), MOST);
    }
}
