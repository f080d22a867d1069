//! Certificates that are not good yet, or not any more: what a node sees whose clock is wrong, or whose operator has
//! been away for too long. The authority's own key signs them, so that nothing but the dates is wrong.

use std::time::Duration;

use anyhow::Result;
use tidepool_tests::matrix::Pull;
use tidepool_tests::{Authority, Disturbance, Role, until};

use crate::agents;
use crate::operator::{secret_entry, with_secret_entry};
use crate::stage::{AGENTS, MIRROR, PAIRS, SYSTEM, Stage};

const AGENT_SECRET: &str = "tidepool-agent-identity";

fn authority(stage: &Stage) -> Result<Authority> {
    let entry = |key: &str| secret_entry(stage, SYSTEM, "tidepool-authority", key);
    Authority::read(&entry("tls.crt")?, &entry("tls.key")?)
}

fn uid(stage: &Stage) -> Result<String> {
    stage.cluster.kubectl(&["get", "registrymirror", MIRROR, "-o", "jsonpath={.metadata.uid}"])
}

/// Gives members a certificate that begins tomorrow, and makes them anew, so that they show it at once. The operator,
/// which would give them a good one, is gone before.
pub(crate) fn member_of_tomorrow(stage: &Stage, pull: Pull) -> Result<Disturbance<'_>> {
    let secret = format!("mirror-{MIRROR}-config");
    let key = secret_entry(stage, SYSTEM, &secret, "tls.key")?;
    let name = format!("member.{}.tidepool.internal", uid(stage)?);
    let certificate = authority(stage)?.issue_dated(&name, Role::Member, &key, (-1, 30))?;
    let skewed = with_secret_entry(stage, (SYSTEM, &secret, "tls.crt"), &certificate)?;
    stage.renew_members()?;
    if pull != Pull::Running {
        let label = format!("tidepool.dev/mirror={MIRROR}");
        stage.cluster.kubectl(&[
            "wait",
            "--for=condition=Ready",
            "pod",
            "-n",
            SYSTEM,
            "-l",
            &label,
            "--timeout=180s",
        ])?;
    }
    Ok(skewed)
}

/// Gives agents a certificate that ended yesterday. The operator is gone before.
pub(crate) fn agent_of_yesterday(stage: &Stage, pull: Pull) -> Result<Disturbance<'_>> {
    let key = secret_entry(stage, AGENTS, AGENT_SECRET, "tls.key")?;
    let uid = uid(stage)?;
    let name = format!("agent.{uid}.tidepool.internal");
    let certificate = authority(stage)?.issue_dated(&name, Role::Agent, &key, (31, 30))?;
    let struck = with_secret_entry(stage, (AGENTS, AGENT_SECRET, &format!("{uid}.crt")), &certificate)?;
    if pull != Pull::Running {
        for (node, ..) in PAIRS {
            let what = format!("agent on node{node} that learns of its certificate");
            let learnt = || Ok(!agents::answers(stage, node)?);
            until(Duration::from_secs(30), Duration::from_millis(200), &what, learnt)?;
        }
    }
    Ok(struck)
}
