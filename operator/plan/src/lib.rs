//! The pure steps of the operator: no client, no clock, no async. Same input, same output, so each is tested as a function.
//!
//! 1. [`validate()`]: a RegistryMirror as the user wrote it, and the facts of the cluster it depends on, to a
//!    [`ValidMirror`], or to a list of what is wrong, each with field and remedy.
//! 2. [`plan()`]: a [`ValidMirror`] to the Kubernetes [`Objects`] that run it.
//! 3. [`nodes_document()`]: all mirrors to the one document that agents read.
//! 4. [`probes()`]: what nodes report to the probe pods that find out whether they pull through their agents.
//! 5. [`absences()`]: what nodes report and what pods their agents have to what is said where there is no agent.
//! 6. [`status()`]: what was seen to the status that is published, and [`notices()`] to the Events that go with a change.

mod absence;
mod document;
mod facts;
mod identity;
pub mod names;
mod notices;
mod plan;
mod probe;
mod quantity;
mod restricted;
mod status;
#[cfg(test)]
mod testing;
mod valid;
mod validate;

pub use absence::{Absences, Absent, AgentPod, Word, absences};
pub use document::{Standing, Told, UnknownPast, nodes_document};
pub use facts::{ClaimFact, ClassFact, Referenced, Source, references};
pub use identity::Identity;
pub use notices::{Notice, deleted_claims, notices};
pub use plan::{Defaults, Objects, PlanError, fingerprint, plan, renewed};
pub use probe::{Act, Outcome, PROBE_LABEL, ProbePod, Saying, Trials, probe_pod, probe_pod_name, probes};
pub use quantity::quantity;
pub use status::{
    Answer, ClaimFound, ClaimState, MemberFact, NodeFact, Report, Reports, Seen, StorageFact, Tally, Verdict, status,
    tally,
};
pub use valid::{
    ClientCertificate, Concealed, ValidAccess, ValidCredentials, ValidEgress, ValidIngress, ValidMirror, ValidStorage,
    ValidUpstream,
};
pub use validate::{Invalid, Reason, replicas, validate};
