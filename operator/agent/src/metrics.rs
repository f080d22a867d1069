//! What the agent counts. Labels are bounded: mirrors of the document, and closed sets.

use http::StatusCode;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::forward::TlsFailure;

/// The agent's metrics; clones share the counters.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    requests: Family<Request, Counter>,
    resumes: Family<Resume, Counter>,
    files: Family<File, Counter>,
    tls_failures: Family<Tls, Counter>,
}

/// How a pull's request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A member had it.
    Served,
    /// A member says that there is no such thing, or that it may not be had.
    Refused,
    /// No member could serve it: the runtime goes upstream.
    Bypassed,
}

/// What became of a body that stalled or broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// Another connection to the same member was faster.
    Hedged,
    /// It went on at another member, or at the same one once more.
    Completed,
    /// The runtime has to go on by itself.
    Broken,
}

/// What happened to a file on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// Written or rewritten.
    Written,
    /// Taken back.
    Withdrawn,
    /// Found edited; the edit was kept.
    Edited,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    mirror: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Resume {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct File {
    change: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tls {
    reason: &'static str,
}

impl Outcome {
    /// The outcome of a relayed status.
    #[must_use]
    pub fn of(status: StatusCode) -> Self {
        if status.is_success() {
            Self::Served
        } else if status.is_server_error() {
            Self::Bypassed
        } else {
            Self::Refused
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Refused => "refused",
            Self::Bypassed => "bypassed",
        }
    }
}

impl Resumed {
    const fn label(self) -> &'static str {
        match self {
            Self::Hedged => "hedged",
            Self::Completed => "completed",
            Self::Broken => "broken",
        }
    }
}

impl FileChange {
    const fn label(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Withdrawn => "withdrawn",
            Self::Edited => "edited",
        }
    }
}

impl Metrics {
    /// Puts the metrics into a registry, under `tidepool_agent_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tidepool_agent");
        registry.register("requests", "Pull requests on loopback, by mirror and result", self.requests.clone());
        registry.register(
            "resumes",
            "Bodies that stalled or broke on their way, by what became of them",
            self.resumes.clone(),
        );
        registry.register("files", "Changes to files of the runtime", self.files.clone());
        let help = "Connections to members on which one side did not prove who it is, by reason";
        registry.register("tls_failures", help, self.tls_failures.clone());
    }

    /// Counts a request.
    pub fn count(&self, mirror: &str, result: Outcome) {
        self.requests.get_or_create(&Request { mirror: mirror.to_owned(), result: result.label() }).inc();
    }

    /// Counts changes to files.
    pub fn count_files(&self, change: FileChange, files: usize) {
        if files > 0 {
            self.files.get_or_create(&File { change: change.label() }).inc_by(files as u64);
        }
    }

    pub(crate) fn count_tls_failure(&self, failure: TlsFailure) {
        self.tls_failures.get_or_create(&Tls { reason: failure.label() }).inc();
    }

    pub(crate) fn count_resume(&self, result: Resumed) {
        self.resumes.get_or_create(&Resume { result: result.label() }).inc();
    }
}
