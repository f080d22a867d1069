//! What a fault proxy has seen and sent.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::lock;

/// One request and what was answered so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// `GET`, `HEAD` and so on.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// The status; none yet, or never.
    pub status: Option<u16>,
    /// Bytes of the body that were sent.
    pub bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Records {
    exchanges: Mutex<Vec<Exchange>>,
    connections: AtomicUsize,
}

impl Records {
    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn all(&self) -> Vec<Exchange> {
        lock(&self.exchanges).clone()
    }

    /// Notes a request; the number is for what follows.
    pub(super) fn begun(&self, exchange: Exchange) -> usize {
        let mut exchanges = lock(&self.exchanges);
        exchanges.push(exchange);
        exchanges.len() - 1
    }

    pub(super) fn answered(&self, number: usize, status: u16) {
        if let Some(exchange) = lock(&self.exchanges).get_mut(number) {
            exchange.status = Some(status);
        }
    }

    pub(super) fn sent(&self, number: usize, bytes: u64) {
        if let Some(exchange) = lock(&self.exchanges).get_mut(number) {
            exchange.bytes += bytes;
        }
    }
}
