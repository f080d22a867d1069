//! Faults of members and of the way to them.

use anyhow::{Context, Result, ensure};
use tidepool_tests::matrix::Pull;
use tidepool_tests::{Act, Disturbance, Pods};

use crate::operator;
use crate::stage::{MIRROR, Member, PAIRS, SERVERS, SYSTEM, Stage, VOLUMES};

/// A member's command line.
const PROGRAM: &str = "/tidepool-proxy";
/// Where members listen for agents.
const PORT: u16 = 5443;
/// The first port of what stands in a member's place.
const PLACES_FROM: u16 = 7100;
/// More than a question of health, less than the largest layer.
const IN_THE_BODY: u64 = 6 << 20;

/// The first member, which is at home for about half of what is pulled.
fn first(stage: &Stage) -> Result<Member> {
    stage.members()?.into_iter().next().context("there is no member")
}

pub(crate) fn killed(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    kill(stage, Pods::One(SERVERS, &first(stage)?.uid), 1)
}

pub(crate) fn all_killed(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    kill(stage, Pods::Of(SERVERS), stage.members()?.len())
}

fn kill<'a>(stage: &'a Stage, pods: Pods<'_>, members: usize) -> Result<Disturbance<'a>> {
    let killed = stage.cluster.kill_in_pods(pods, PROGRAM)?;
    ensure!(killed == members, "{killed} of {members} members were killed");
    Ok(Disturbance::none())
}

pub(crate) fn stopped(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    stage.cluster.stop_in_pods(Pods::One(SERVERS, &first(stage)?.uid), PROGRAM)
}

pub(crate) fn all_stopped(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    stage.cluster.stop_in_pods(Pods::Of(SERVERS), PROGRAM)
}

pub(crate) fn unreachable(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    black_holed(stage, &[first(stage)?])
}

pub(crate) fn all_unreachable(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    black_holed(stage, &stage.members()?)
}

fn black_holed<'a>(stage: &'a Stage, members: &[Member]) -> Result<Disturbance<'a>> {
    let mut all = Disturbance::none();
    for member in members {
        for (node, ..) in PAIRS {
            all = all.and(stage.cluster.drop_packets(node, &member.address)?);
        }
    }
    Ok(all)
}

/// Makes the file system that all volumes are on as large as what is in it.
pub(crate) fn full(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    let volumes = stage.volumes()?;
    // Again where a member wrote meanwhile: no file system is made smaller than what is in it.
    let shrink = "for try in $(seq 50); do \
                    mount -o remount,size=$(df --output=used -B1 $0 | tail -n 1) $0 2>/dev/null && exit; \
                  done; exit 1";
    stage.cluster.in_node(SERVERS, &["sh", "-c", shrink, &volumes])?;
    Ok(Disturbance::until(move || {
        let options = format!("remount,size={VOLUMES}");
        stage.cluster.in_node(SERVERS, &["mount", "-o", &options, &volumes]).map(drop)
    }))
}

/// Takes from members, which are no root, the right to look into their stores.
pub(crate) fn unreadable(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    let volumes = stage.volumes()?;
    let chmod = move |change: &str| {
        let script = "for store in $0/*/store; do [ ! -d $store ] || chmod $1 $store; done";
        stage.cluster.in_node(SERVERS, &["sh", "-c", script, &volumes, change]).map(drop)
    };
    chmod("a-rwx")?;
    Ok(Disturbance::until(move || chmod("ug+rwx")))
}

/// Puts a server with the members' own certificate in the place of the first that answers 500: an agent cannot tell.
pub(crate) fn refusing(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    let entry = |key: &str| operator::secret_entry(stage, SYSTEM, &format!("mirror-{MIRROR}-config"), key);
    let (certificate, key) = (entry("tls.crt")?, entry("tls.key")?);
    let refuser = stage.cluster.refuser(PLACES_FROM, (&certificate, &key), 500)?;
    diverted(stage, refuser, &[(PLACES_FROM, first(stage)?)])
}

/// Puts relays before members, which pass everything.
pub(crate) fn relayed(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    let places: Vec<(u16, Member)> = (PLACES_FROM..).zip(stage.members()?).collect();
    let mut relays = Disturbance::none();
    for (port, member) in &places {
        relays = relays.and(stage.cluster.relay(*port, &format!("{}:{PORT}", member.address))?);
    }
    let all = diverted(stage, relays, &places)?;
    // Connections from before have ended when pulls go through the mirror again.
    stage.settle()?;
    Ok(all)
}

pub(crate) fn cut(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    told(stage, Act::Cut(IN_THE_BODY))
}

pub(crate) fn stalled(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    told(stage, Act::Stall(IN_THE_BODY))
}

/// Tells all relays; they go with their preparation.
fn told(stage: &Stage, act: Act) -> Result<Disturbance<'_>> {
    for (port, _) in (PLACES_FROM..).zip(stage.members()?) {
        stage.cluster.tell_relay(port, act)?;
    }
    Ok(Disturbance::none())
}

/// Leads the pulling nodes' connections with these members to ports of the control plane.
fn diverted<'a>(stage: &'a Stage, mut all: Disturbance<'a>, places: &[(u16, Member)]) -> Result<Disturbance<'a>> {
    for (port, member) in places {
        for (node, ..) in PAIRS {
            all = all.and(stage.cluster.divert(node, &member.address, PORT, *port)?);
        }
    }
    Ok(all)
}

/// Takes all members away. The operator, which would make them again, is gone before.
pub(crate) fn gone(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    let label = format!("tidepool.dev/mirror={MIRROR}");
    let scale = move |replicas: &str| {
        let label = format!("tidepool.dev/mirror={MIRROR}");
        stage.cluster.kubectl(&["scale", "deployment", "-n", SYSTEM, "-l", &label, "--replicas", replicas]).map(drop)
    };
    let back = Disturbance::until(move || scale("1"));
    scale("0")?;
    stage.cluster.kubectl(&["delete", "pod", "-n", SYSTEM, "-l", &label, "--grace-period=1", "--timeout=180s"])?;
    Ok(back)
}
