//! Faults of the operator, of what it works through, and of upstream.

use anyhow::{Context, Result};
use serde_json::json;
use tidepool_tests::Disturbance;
use tidepool_tests::matrix::Pull;

use crate::stage::{AGENTS, PAIRS, SYSTEM, Stage};

const CONTROL_PLANE: &str = "cp";

pub(crate) fn gone(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    let scale = |replicas: &str| {
        let args = ["scale", "deployment/tidepool-operator", "-n", SYSTEM, "--replicas", replicas];
        stage.cluster.kubectl(&args).map(drop)
    };
    scale("0")?;
    let back = Disturbance::until(move || scale("1"));
    let label = "app.kubernetes.io/component=operator";
    let pods = ["pod", "-n", SYSTEM, "-l", label, "--timeout=180s"];
    stage.cluster.kubectl(&[&["delete"], &pods[..], &["--grace-period=1"]].concat())?;
    Ok(back)
}

pub(crate) fn api_stopped(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    stage.cluster.stop_daemon(CONTROL_PLANE, "apiserver")
}

pub(crate) fn api_killed(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    // Their watches may take minutes to notice that the API server is another one; new ones have none.
    let anew = |name: &'static str| move || stage.cluster.kill_daemon(CONTROL_PLANE, name)?.heal();
    let (makes, places) = (Disturbance::until(anew("controller-manager")), Disturbance::until(anew("scheduler")));
    // They end where they find none for ten seconds.
    let answers = Disturbance::until(|| stage.await_api());
    Ok(makes.and(places).and(answers).and(stage.cluster.kill_daemon(CONTROL_PLANE, "apiserver")?))
}

pub(crate) fn kube_proxy_gone(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    PAIRS.iter().try_fold(Disturbance::none(), |all, (node, ..)| Ok(all.and(stage.cluster.remove_kube_proxy(*node)?)))
}

pub(crate) fn upstream_off(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    stage.registry()?.off()?;
    Ok(Disturbance::until(move || stage.registry()?.on()))
}

/// Stops the stand-in: the kernel accepts for it, and what was under way stands still.
pub(crate) fn upstream_hung(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    stage.cluster.stop_daemon(CONTROL_PLANE, "stand-in")
}

pub(crate) fn upstream_429(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    upstream_fails(stage, 429)
}

pub(crate) fn upstream_503(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    upstream_fails(stage, 503)
}

fn upstream_fails(stage: &Stage, status: u16) -> Result<Disturbance<'_>> {
    stage.registry()?.fail(status)?;
    Ok(Disturbance::until(move || stage.registry()?.serve()))
}

/// Fills the document that agents follow with what is none. The operator is gone before.
pub(crate) fn document_garbage(stage: &Stage, _: Pull) -> Result<Disturbance<'_>> {
    let live = stage.cluster.kubectl_json(&["get", "configmap", "tidepool-nodes", "-n", AGENTS])?;
    let data = live["data"].as_object().context("the document has no data")?.clone();
    let garbage: serde_json::Map<_, _> = data.keys().map(|key| (key.clone(), json!("}{ no document"))).collect();
    let put = move |data: &serde_json::Map<String, serde_json::Value>| {
        let patch = json!({"data": data}).to_string();
        let args = ["patch", "configmap", "tidepool-nodes", "-n", AGENTS, "--type=merge", "-p", &patch];
        stage.cluster.kubectl(&args).map(drop)
    };
    put(&garbage)?;
    Ok(Disturbance::until(move || put(&data)))
}

/// An entry of a Secret, as text.
pub(crate) fn secret_entry(stage: &Stage, namespace: &str, secret: &str, key: &str) -> Result<String> {
    let template = format!(r#"go-template={{{{index .data "{key}" | base64decode}}}}"#);
    stage.cluster.kubectl(&["get", "secret", secret, "-n", namespace, "-o", &template])
}

/// Puts another text into an entry of a Secret until the fault is taken back.
pub(crate) fn with_secret_entry<'a>(
    stage: &'a Stage,
    (namespace, secret, key): (&'static str, &str, &str),
    text: &str,
) -> Result<Disturbance<'a>> {
    let before = secret_entry(stage, namespace, secret, key)?;
    let (secret, key) = (secret.to_owned(), key.to_owned());
    let put = move |text: &str| {
        let patch = json!({"stringData": {&key: text}}).to_string();
        stage.cluster.kubectl(&["patch", "secret", &secret, "-n", namespace, "-p", &patch]).map(drop)
    };
    put(text)?;
    Ok(Disturbance::until(move || put(&before)))
}
