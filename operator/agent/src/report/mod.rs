//! Reporting in this node's MirrorNode: on change alone, and never in step with the other nodes (design N8).

mod pace;
mod status;

use std::time::Duration;

use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use tidepool_api::{MirrorNode, MirrorNodeStatus};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

pub use status::{Report, is_said};

use crate::{node::RuntimeVersion, watch::Document};
use pace::Pace;

const MANAGER: &str = "tidepool-agent";
/// How often the object is read again, give or take half: somebody may have deleted it or written into it. A watch
/// would need to see every node's.
const REREAD: Duration = Duration::from_secs(480);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const REQUEST: Duration = Duration::from_secs(10);
/// For everything that is said of an agent that stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why a report did not arrive.
#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error("MirrorNode {0} does not exist yet")]
    Missing(String),
    #[error("MirrorNode {0} changed meanwhile")]
    Changed(String),
    #[error("cannot {act} MirrorNode {name}")]
    Api { act: &'static str, name: String, source: Box<kube::Error> },
    #[error("the API server did not answer")]
    Timeout(#[from] tokio::time::error::Elapsed),
}

/// Writes reports to the MirrorNode of one node.
pub struct Reporter {
    nodes: Api<MirrorNode>,
    name: String,
    reread: Duration,
    /// The object as it was last read or written.
    known: Option<MirrorNode>,
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Reporter {
    /// A reporter for the node of that name.
    #[must_use]
    pub fn new(client: Client, name: &str) -> Self {
        Self { nodes: Api::all(client), name: name.to_owned(), reread: REREAD, known: None }
    }

    /// Reads the object again this often, give or take half.
    #[must_use]
    pub fn rereading_every(self, reread: Duration) -> Self {
        Self { reread, ..self }
    }

    /// Publishes each new report until `stop`, and the last one again where the object lost it; the more nodes `document`
    /// knows of, the more slowly.
    pub async fn run(
        mut self,
        mut reports: watch::Receiver<Option<Report>>,
        document: watch::Receiver<Document>,
        stop: CancellationToken,
    ) {
        let mut pace = Pace::default();
        loop {
            tokio::select! {
                changed = reports.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(self.reread.mul_f64(0.5 + rand::random::<f64>())) => self.known = None,
                () = stop.cancelled() => return,
            }
            let wait = pace.wait(document.borrow().nodes(), Instant::now(), rand::random());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                wrote = self.publish_until_done(&mut reports) => if wrote { pace.wrote(Instant::now()) },
                () = stop.cancelled() => return,
            }
        }
    }

    /// Says once that the agent is gone from this node for good. Nobody waits long for that: the pod is about to end.
    pub async fn say_stopped(mut self, runtime: Option<&RuntimeVersion>) {
        let said = tokio::time::timeout(LAST_WORDS, self.publish(&Report::stopped(runtime))).await;
        if let Err(error) = said.map_err(ReportError::from).flatten() {
            tracing::info!(%error, "MirrorNode does not say that the agent stopped");
        }
    }

    /// Publishes the newest report, again and again with growing pauses, until it is there; whether that took a write.
    async fn publish_until_done(&mut self, reports: &mut watch::Receiver<Option<Report>>) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(report) = reports.borrow_and_update().clone() else { return false };
            let error = match self.publish(&report).await {
                Ok(wrote) => return wrote,
                Err(error) => error,
            };
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            // The operator makes the object a moment after the node appears, and has its part in it: no reason to worry
            // anybody.
            if matches!(error, ReportError::Missing(_) | ReportError::Changed(_)) {
                tracing::debug!(%error, "cannot report yet");
            } else {
                tracing::warn!(%error, cause, "cannot report, trying again");
            }
            // What we believe of the object may be wrong.
            self.known = None;
            tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Writes one report, unless the object says just that already; whether it wrote.
    async fn publish(&mut self, report: &Report) -> Result<bool, ReportError> {
        let known = match self.known.take() {
            Some(known) => known,
            None => self.read().await?,
        };
        let status = report.status(&known, Timestamp::now());
        if is_said(&status, &known) {
            self.known = Some(known);
            return Ok(false);
        }
        self.known = Some(self.write(&status, known.metadata.resource_version.as_deref()).await?);
        Ok(true)
    }

    async fn read(&self) -> Result<MirrorNode, ReportError> {
        let read = tokio::time::timeout(REQUEST, self.nodes.get(&self.name)).await?;
        read.map_err(|error| self.failed("read", error))
    }

    /// Applies the agent's part. Not over what it has not read: what the operator says of `Honored` decides what the
    /// agent does.
    async fn write(&self, status: &MirrorNodeStatus, version: Option<&str>) -> Result<MirrorNode, ReportError> {
        let mut patch = serde_json::json!({
            "apiVersion": "tidepool.dev/v1alpha1",
            "kind": "MirrorNode",
            "metadata": {"name": self.name},
            "status": status,
        });
        if let Some(version) = version {
            patch["metadata"]["resourceVersion"] = version.into();
        }
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(patch);
        let written = tokio::time::timeout(REQUEST, self.nodes.patch_status(&self.name, &params, &patch)).await?;
        written.map_err(|error| self.failed("write status of", error))
    }

    fn failed(&self, act: &'static str, error: kube::Error) -> ReportError {
        match error {
            kube::Error::Api(status) if status.code == 404 => ReportError::Missing(self.name.clone()),
            kube::Error::Api(status) if status.code == 409 => ReportError::Changed(self.name.clone()),
            source => ReportError::Api { act, name: self.name.clone(), source: Box::new(source) },
        }
    }
}

#[cfg(test)]
mod tests;
