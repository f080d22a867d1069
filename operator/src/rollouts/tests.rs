//! Turns, with the time paused.

use serde_json::{Value, json};
use tokio::time::advance;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A Deployment of one pod: the generation of its spec, the one that was acted on, and how many pods are ready.
fn deployment(name: &str, generation: i64, observed: i64, ready: i32) -> Arc<Deployment> {
    deployment_with(
        name,
        generation,
        &json!({
            "observedGeneration": observed, "replicas": 1, "updatedReplicas": 1, "readyReplicas": ready,
        }),
    )
}

fn deployment_with(name: &str, generation: i64, status: &Value) -> Arc<Deployment> {
    let object = json!({
        "metadata": {"name": name, "generation": generation},
        "spec": {"replicas": 1, "selector": {}, "template": {}},
        "status": status,
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn ready(name: &str) -> Arc<Deployment> {
    deployment(name, 1, 1, 1)
}

fn waits(behind: &str) -> Result<(), String> {
    Err(behind.to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_turn_lasts_until_its_change_is_rolled_out_also_while_the_cache_is_behind() {
    let rollouts = Rollouts::default();
    let before = [ready("a"), ready("b")];
    assert_eq!(rollouts.take("a", &before), Ok(()));
    assert_eq!(rollouts.take("b", &before), waits("a"));
    rollouts.applied("a", Some(&deployment("a", 2, 1, 1)));
    // The cache has it as it was, then as it changes, then ready.
    assert_eq!(rollouts.take("b", &before), waits("a"));
    assert_eq!(rollouts.take("b", &[deployment("a", 2, 1, 1), ready("b")]), waits("a"));
    assert_eq!(rollouts.take("b", &[deployment("a", 2, 2, 0), ready("b")]), waits("a"));
    assert_eq!(rollouts.take("b", &[deployment("a", 2, 2, 1), ready("b")]), Ok(()));
    // Now it is the other way round.
    assert_eq!(rollouts.take("a", &[deployment("a", 2, 2, 1), ready("b")]), waits("b"));
}

#[tokio::test(start_paused = true)]
async fn whose_turn_it_is_may_change_again() {
    let rollouts = Rollouts::default();
    rollouts.take("a", &[ready("a")]).unwrap();
    rollouts.applied("a", Some(&deployment("a", 2, 1, 1)));
    assert_eq!(rollouts.take("a", &[deployment("a", 2, 2, 0)]), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_was_refused_ends_the_turn_and_so_does_a_deletion() {
    let rollouts = Rollouts::default();
    rollouts.take("a", &[ready("a"), ready("b")]).unwrap();
    rollouts.applied("a", None);
    assert_eq!(rollouts.take("b", &[ready("a"), ready("b")]), Ok(()));
    rollouts.applied("b", Some(&deployment("b", 2, 1, 1)));
    assert_eq!(rollouts.take("a", &[ready("a")]), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn what_rolls_already_comes_first_after_a_restart() {
    let rollouts = Rollouts::default();
    assert_eq!(rollouts.take("b", &[deployment("a", 2, 2, 0), ready("b")]), waits("a"));
    assert_eq!(rollouts.take("b", &[ready("a"), ready("b")]), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn stuck_ones_hold_others_up_for_five_minutes_all_together() {
    let rollouts = Rollouts::default();
    let all = [deployment("a", 2, 2, 0), deployment("c", 1, 1, 0), ready("b")];
    assert_eq!(rollouts.take("b", &all), waits("a"));
    advance(PATIENCE - SECOND).await;
    assert_eq!(rollouts.take("b", &all), waits("a"));
    advance(SECOND).await;
    assert_eq!(rollouts.take("b", &all), Ok(()));
    // One that gets another chance is waited for again.
    rollouts.applied("b", Some(&ready("b")));
    let mended = [deployment("a", 3, 3, 0), deployment("c", 1, 1, 0), ready("b")];
    assert_eq!(rollouts.take("c", &mended), waits("a"));
}

#[tokio::test(start_paused = true)]
async fn a_turn_whose_change_gets_stuck_ends() {
    let rollouts = Rollouts::default();
    rollouts.take("a", &[ready("a"), ready("b")]).unwrap();
    rollouts.applied("a", Some(&deployment("a", 2, 1, 1)));
    let stuck = [deployment("a", 2, 2, 0), ready("b")];
    assert_eq!(rollouts.take("b", &stuck), waits("a"));
    advance(PATIENCE).await;
    assert_eq!(rollouts.take("b", &stuck), Ok(()));
}

#[test]
fn a_deployment_rolls_until_all_its_pods_are_new_and_ready() {
    assert!(!is_rolling(&ready("a")));
    assert!(is_rolling(&deployment("a", 2, 1, 1)) && is_rolling(&deployment("a", 1, 1, 0)));
    assert!(is_rolling(&deployment_with("a", 1, &Value::Null)));
    let surge = json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1, "readyReplicas": 2});
    assert!(is_rolling(&deployment_with("a", 1, &surge)));
    let mut going = Deployment::clone(&deployment("a", 1, 1, 0));
    going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    assert!(!is_rolling(&going));
}
