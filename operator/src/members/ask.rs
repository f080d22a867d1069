//! One question to one member.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tidepool_config::{
    ProxyState,
    names::{ADMIN_PORT, STATE_PATH},
};

/// A member answers in a millisecond; one that needs longer is in trouble.
const WITHIN: Duration = Duration::from_secs(2);
/// More than 64 upstreams with messages are long.
const MOST_BYTES: usize = 256 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("the pod has no address that can be asked")]
    Address,
    #[error("no answer within {} s", WITHIN.as_secs())]
    Deadline,
    #[error("cannot ask")]
    Request(#[from] hyper_util::client::legacy::Error),
    #[error("answers {0}")]
    Status(StatusCode),
    #[error("breaks its answer off, or says too much")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("answers what is no state of a member")]
    Json(#[from] serde_json::Error),
}

/// Asks members on their admin port.
pub(super) struct Asker(Client<HttpConnector, Empty<Bytes>>);

impl Default for Asker {
    fn default() -> Self {
        // Half a minute apart, connections are not worth keeping.
        Self(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http())
    }
}

impl Asker {
    /// The state of the member whose pod has this address.
    pub(super) async fn ask(&self, address: &str) -> Result<ProxyState, AskError> {
        let uri = uri(address, ADMIN_PORT).ok_or(AskError::Address)?;
        tokio::time::timeout(WITHIN, self.get(uri)).await.map_err(|_| AskError::Deadline)?
    }

    async fn get(&self, uri: Uri) -> Result<ProxyState, AskError> {
        let answer = self.0.get(uri).await?;
        if answer.status() != StatusCode::OK {
            return Err(AskError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await.map_err(AskError::Body)?;
        Ok(serde_json::from_slice(&body.to_bytes())?)
    }
}

fn uri(address: &str, port: u16) -> Option<Uri> {
    let host = match address.parse().ok()? {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    format!("http://{host}:{port}{STATE_PATH}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    /// What comes of asking a server that answers with this.
    async fn asked(answer: &'static str) -> Result<ProxyState, AskError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /state HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let server = tokio::spawn(served);
        let state = Asker::default().get(uri("127.0.0.1", port).unwrap()).await;
        server.await.unwrap();
        state
    }

    #[tokio::test]
    async fn an_answer_is_read_and_what_is_none_is_told() {
        let state = asked("HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"revision\":\"a\"}").await.unwrap();
        assert_eq!(state.revision.as_deref(), Some("a"));
        let failed = asked("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await;
        assert!(matches!(failed, Err(AskError::Status(_))), "{failed:?}");
        let failed = asked("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno").await;
        assert!(matches!(failed, Err(AskError::Json(_))), "{failed:?}");
        let failed = asked("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nno").await;
        assert!(matches!(failed, Err(AskError::Body(_))), "{failed:?}");
    }

    #[test]
    fn addresses_of_both_families_can_be_asked() {
        assert_eq!(uri("10.0.0.1", 1).unwrap(), "http://10.0.0.1:1/state");
        assert_eq!(uri("fd00::1", 1).unwrap(), "http://[fd00::1]:1/state");
        assert!(uri("evil.example/", 1).is_none());
    }
}
