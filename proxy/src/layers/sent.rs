//! An answer on its way: how much of it was taken, and how it ended.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::header;
use http_body::{Body as _, Frame, SizeHint};

use super::{
    Gate,
    access_log::{End, Line},
};
use crate::{
    listen::crowd::Place,
    metrics::{CutBy, Held},
};

/// What an answer holds until its end: its places among those in flight.
#[derive(Debug)]
pub(super) struct Holds {
    pub(super) gate: Arc<Gate>,
    pub(super) _in_flight: Held,
    pub(super) _place: Option<Place>,
}

/// The body of an answer; at its end, however that comes, its line is logged.
#[derive(Debug)]
pub(crate) struct Sent {
    body: Body,
    length: Option<u64>,
    sent: u64,
    /// Whether it ended as it should; known at once where there is nothing to send.
    whole: bool,
    failed: bool,
    line: Line,
    holds: Holds,
}

/// How many bytes an answer announces.
pub(super) fn length(response: &Response) -> Option<u64> {
    let announced = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    announced.or_else(|| response.body().size_hint().exact())
}

impl Sent {
    /// `length`: how many bytes it should have, where that is known.
    pub(super) fn new(body: Body, length: Option<u64>, line: Line, holds: Holds) -> Self {
        Self { body, length, sent: 0, whole: length == Some(0), failed: false, line, holds }
    }
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                self.whole = self.length == Some(self.sent);
            }
            Poll::Ready(Some(Err(_))) => self.failed = true,
            Poll::Ready(None) => self.whole = self.length.is_none_or(|length| length == self.sent),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let cut = match (self.whole, self.failed) {
            (true, _) => None,
            (false, true) => Some(CutBy::Proxy),
            (false, false) => Some(CutBy::Client),
        };
        if let Some(by) = cut {
            self.holds.gate.metrics.cut(self.line.class(), by);
        }
        self.line.log(&End { sent: self.sent, cut });
    }
}
