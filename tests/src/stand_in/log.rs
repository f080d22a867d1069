//! The request log of the stand-ins, one JSON object a line.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// One request that a stand-in answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// When it came, in milliseconds since 1970.
    pub time_ms: u64,
    /// The registry's [`crate::StandIn::name`].
    pub registry: String,
    /// `GET`, `HEAD` and so on.
    pub method: String,
    /// The path, which begins with `/v2/` or is `/token`.
    pub path: String,
    /// The query without its question mark; empty if there is none.
    pub query: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// The status of the answer.
    pub status: u16,
    /// Bytes of the answer's body that were sent.
    pub bytes: u64,
    /// Whether the whole body was sent.
    pub complete: bool,
    /// Whether a valid token or login came along.
    pub authorized: bool,
    /// The user of the login or token that came along, right or wrong; never a password.
    pub user: Option<String>,
    /// Whether a name and password came along: a login, right or wrong.
    pub login: bool,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// The address that asked; empty where it came through the egress proxy.
    pub client: String,
}

impl Request {
    /// Whether it asks for a tag or a manifest.
    pub fn is_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }

    /// Whether it asks for a blob.
    pub fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }

    /// Whether it asks for a token.
    pub fn is_token(&self) -> bool {
        self.path == "/token"
    }

    /// The tag or digest that it asks for.
    pub fn reference(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether contents were had by it: a `GET` that was answered with them, whole or in part.
    pub fn served(&self) -> bool {
        self.method == "GET" && (self.status == 200 || self.status == 206)
    }
}

/// The log as its writer holds it.
pub(super) struct Log {
    file: Mutex<File>,
}

impl Log {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path).context("cannot open the request log")?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Adds a line, whole: readers may look at any time.
    pub(super) fn write(&self, request: &Request) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let line = serde_json::to_string(request).map(|line| line + "\n").unwrap_or_default();
        if let Err(error) = file.write_all(line.as_bytes()) {
            eprintln!("cannot write the request log: {error}");
        }
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Reads the requests that one registry got so far.
pub(crate) fn read(folder: &Path, registry: &str) -> Result<Vec<Request>> {
    let text = fs::read_to_string(folder.join(super::files::LOG)).context("cannot read the request log")?;
    let parsed: Result<Vec<Request>, _> = text.lines().map(serde_json::from_str).collect();
    let requests = parsed.context("cannot parse the request log")?;
    Ok(requests.into_iter().filter(|request| request.registry == registry).collect())
}
