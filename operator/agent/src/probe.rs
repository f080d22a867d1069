//! `tidepool-agent probe`: asks a running agent over its socket. By exec, since on the host's network another process
//! could answer on a port.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use crate::{args::ProbeArgs, supervise::pulse};

/// How long writing and reading may take each. The kubelet's own limits, 4 s and 5 s, are above the sum, and end a connect
/// that hangs.
const WITHIN: Duration = Duration::from_millis(1500);

/// Why the answer is no.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody answers.
    #[error("the agent does not answer on {socket}")]
    Silent {
        /// Its socket.
        socket: String,
        /// Why.
        source: io::Error,
    },
    /// It says no.
    #[error("the agent says no: {0}")]
    No(String),
    /// The agent would not be missed, were it to stop.
    #[error("the agent's supervisor does not run")]
    Unsupervised,
}

/// Asks the agent behind the socket for `/readyz` or `/livez`; its supervisor must be alive for the latter.
///
/// # Errors
/// [`ProbeError`] unless it answers 200 in time.
pub fn probe(args: &ProbeArgs) -> Result<(), ProbeError> {
    let ProbeArgs { admin_socket: socket, ready, run_dir } = args;
    if !ready && !pulse::is_felt(run_dir) {
        return Err(ProbeError::Unsupervised);
    }
    let ask = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(WITHIN))?;
        stream.set_write_timeout(Some(WITHIN))?;
        let route = if *ready { "/readyz" } else { "/livez" };
        stream.write_all(format!("GET {route} HTTP/1.0\r\nhost: agent\r\n\r\n").as_bytes())?;
        // The status line is in the first bytes that come.
        let mut answer = [0; 256];
        let read = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..read]).lines().next().unwrap_or_default().to_owned())
    };
    let line = ask().map_err(|source| ProbeError::Silent { socket: socket.display().to_string(), source })?;
    if line.split(' ').nth(1) == Some("200") { Ok(()) } else { Err(ProbeError::No(line)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidepool_runtime::admin::{AdminServer, Readiness};

    #[tokio::test(flavor = "multi_thread")]
    async fn tells_alive_from_ready_and_both_from_absent() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let args = |ready| ProbeArgs { admin_socket: socket.clone(), ready, run_dir: folder.path().to_owned() };
        assert!(matches!(probe(&args(false)), Err(ProbeError::Silent { .. })));
        let (ready, stop) = (Readiness::default(), tokio_util::sync::CancellationToken::new());
        let server = AdminServer::bind_unix(&socket).unwrap();
        let serve = server.serve(Default::default(), ready.clone(), axum::Router::new(), stop.clone());
        let task = tokio::spawn(serve);
        let ask = |ready| {
            let args = args(ready);
            tokio::task::spawn_blocking(move || probe(&args))
        };
        assert!(ask(false).await.unwrap().is_ok());
        assert!(matches!(ask(true).await.unwrap(), Err(ProbeError::No(line)) if line.contains("503")));
        ready.set(true);
        assert!(ask(true).await.unwrap().is_ok());
        let touched = std::fs::File::create(folder.path().join("supervisor")).unwrap();
        touched.set_modified(std::time::SystemTime::now() - Duration::from_secs(60)).unwrap();
        assert!(matches!(ask(false).await.unwrap(), Err(ProbeError::Unsupervised)));
        assert!(ask(true).await.unwrap().is_ok(), "pulls are served all the same");
        stop.cancel();
        task.await.unwrap().unwrap();
    }
}
