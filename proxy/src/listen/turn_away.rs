//! A word to a client for whom there is no place, so that it knows when to come back.

use std::{io, sync::Arc, time::Duration};

use tidepool_oci::{ErrorBody, ErrorCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};

use super::LARGEST_HEAD;
use crate::error::{ApiError, RETRY_AFTER};

/// How long a client that is turned away may take to ask and to hear it: it is sending its request.
const HEARD_WITHIN: Duration = Duration::from_secs(1);
/// How many are told at once; further ones see their connection closed.
const MOST_TOLD: usize = 512;

/// Those who are being told. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    answer: Arc<[u8]>,
    slots: Arc<Semaphore>,
}

impl Refusal {
    pub(super) fn new() -> Self {
        let body = ErrorBody::new(ErrorCode::Unavailable, ApiError::Crowded.to_string());
        let body = serde_json::to_string(&body).unwrap_or_default();
        let answer = format!(
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             retry-after: {RETRY_AFTER}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        Self { answer: answer.into_bytes().into(), slots: Arc::new(Semaphore::new(MOST_TOLD)) }
    }

    /// Answers 503 to whatever is asked, and closes. Not before it is asked: clients take that for nonsense.
    pub(super) async fn tell(self, mut stream: TcpStream) {
        let Ok(_slot) = self.slots.try_acquire() else { return };
        let told = async {
            hear(&mut stream).await?;
            stream.write_all(&self.answer).await?;
            stream.shutdown().await?;
            // To close with something unread would take the answer back. No more than a head: a flood is not heard out.
            let mut heard = [0; 1024];
            for _ in 0..16 {
                if stream.read(&mut heard).await? == 0 {
                    break;
                }
            }
            Ok::<_, io::Error>(())
        };
        // Whoever does not listen is left.
        let _ = timeout(HEARD_WITHIN, told).await;
    }
}

/// Reads the head of a request, or as much as one may have.
async fn hear(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    while head.len() < LARGEST_HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    Ok(())
}
