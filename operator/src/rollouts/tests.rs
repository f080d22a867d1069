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
            "observedGeneration": observed, "replicas": 1, "updatedReplicas": 1, "availableReplicas": ready,
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

const OLD: &str = "tidepool:1";
const NEW: &str = "tidepool:2";

fn of(image: &str, deployment: &Deployment) -> Arc<Deployment> {
    let mut deployment = deployment.clone();
    let container = json!([{"name": "proxy", "image": image}]);
    let pod = json!({"containers": container});
    deployment.spec.as_mut().unwrap().template.spec = serde_json::from_value(pod).unwrap();
    Arc::new(deployment)
}

fn to_new() -> Change<'static> {
    Change { image: Some(NEW), ..Change::default() }
}

fn stuck(name: &str) -> Arc<Deployment> {
    deployment(name, 2, 2, 0)
}

fn waits(behind: &str) -> Result<(), Behind> {
    Err(Behind::Rolling(behind.to_owned()))
}

/// Takes the turn and changes the Deployment to this.
fn change(rollouts: &Rollouts, to: &Deployment, all: &[Arc<Deployment>]) -> Result<(), Behind> {
    rollouts.take(name(to), Change::default(), all).map(|turn| turn.applied(to))
}

/// Whether a Deployment might be changed.
fn may(rollouts: &Rollouts, deployment: &str, all: &[Arc<Deployment>]) -> Result<(), Behind> {
    rollouts.take(deployment, Change::default(), all).map(drop)
}

/// Whether a Deployment might get the new image.
fn may_get(rollouts: &Rollouts, deployment: &str, all: &[Arc<Deployment>]) -> Result<(), Behind> {
    rollouts.take(deployment, to_new(), all).map(drop)
}

#[tokio::test(start_paused = true)]
async fn a_turn_lasts_until_its_change_is_rolled_out_also_while_the_cache_is_behind() {
    let rollouts = Rollouts::default();
    let before = [ready("a"), ready("b")];
    let turn = rollouts.take("a", Change::default(), &before).unwrap();
    assert_eq!(may(&rollouts, "b", &before), waits("a"));
    turn.applied(&deployment("a", 2, 1, 1));
    // The cache has it as it was, then as it changes, then ready.
    assert_eq!(may(&rollouts, "b", &before), waits("a"));
    assert_eq!(may(&rollouts, "b", &[deployment("a", 2, 1, 1), ready("b")]), waits("a"));
    assert_eq!(may(&rollouts, "b", &[stuck("a"), ready("b")]), waits("a"));
    let after = [deployment("a", 2, 2, 1), ready("b")];
    assert_eq!(change(&rollouts, &deployment("b", 2, 1, 1), &after), Ok(()));
    // Now it is the other way round.
    assert_eq!(may(&rollouts, "a", &after), waits("b"));
}

#[tokio::test(start_paused = true)]
async fn whose_turn_it_is_may_change_again_and_has_it_still_where_that_fails() {
    let rollouts = Rollouts::default();
    change(&rollouts, &deployment("a", 2, 1, 1), &[ready("a")]).unwrap();
    assert_eq!(may(&rollouts, "a", &[ready("a"), ready("b")]), Ok(()));
    assert_eq!(may(&rollouts, "b", &[ready("a"), ready("b")]), waits("a"));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_was_refused_or_given_up_ends_the_turn_and_so_does_a_deletion() {
    let rollouts = Rollouts::default();
    drop(rollouts.take("a", Change::default(), &[ready("a"), ready("b")]).unwrap());
    assert_eq!(change(&rollouts, &deployment("b", 2, 1, 1), &[ready("a"), ready("b")]), Ok(()));
    assert_eq!(may(&rollouts, "a", &[ready("a")]), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn what_rolls_already_comes_first_after_a_restart() {
    let rollouts = Rollouts::default();
    assert_eq!(may(&rollouts, "b", &[stuck("a"), ready("b")]), waits("a"));
    assert_eq!(may(&rollouts, "b", &[ready("a"), ready("b")]), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn stuck_ones_hold_others_up_for_five_minutes_all_together_and_once_more_when_changed() {
    let rollouts = Rollouts::default();
    let all = [stuck("a"), deployment("c", 1, 1, 0), ready("b")];
    assert_eq!(may(&rollouts, "b", &all), waits("a"));
    advance(PATIENCE - SECOND).await;
    assert_eq!(may(&rollouts, "b", &all), waits("a"));
    advance(SECOND).await;
    assert_eq!(may(&rollouts, "b", &all), Ok(()));
    for wanted in [waits("a"), Ok(())] {
        change(&rollouts, &deployment("a", 3, 2, 0), &all).unwrap();
        let after = [deployment("a", 3, 3, 0), deployment("c", 1, 1, 0), ready("b")];
        assert_eq!(may(&rollouts, "b", &after), wanted);
        advance(PATIENCE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_whose_change_gets_stuck_ends() {
    let rollouts = Rollouts::default();
    change(&rollouts, &deployment("a", 2, 1, 1), &[ready("a"), ready("b")]).unwrap();
    let all = [stuck("a"), ready("b")];
    assert_eq!(may(&rollouts, "b", &all), waits("a"));
    advance(PATIENCE).await;
    assert_eq!(may(&rollouts, "b", &all), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn who_fights_over_one_deployment_does_not_starve_the_others() {
    let (rollouts, begun) = (Rollouts::default(), Instant::now());
    for generation in (2..).step_by(2) {
        let all = [deployment("a", generation, generation - 1, 0), ready("b")];
        let _ = change(&rollouts, &deployment("a", generation + 1, generation, 0), &all);
        if may(&rollouts, "b", &all).is_ok() {
            break;
        }
        advance(5 * SECOND).await;
        assert!(begun.elapsed() < 2 * PATIENCE + 10 * SECOND, "b starves");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_with_which_one_got_stuck_is_rolled_out_no_further() {
    let rollouts = Rollouts::default();
    let (before, wanted) = ([of(OLD, &ready("a")), of(OLD, &ready("b"))], of(NEW, &deployment("a", 2, 1, 1)));
    rollouts.take("a", to_new(), &before).unwrap().applied(&wanted);
    let all = [of(NEW, &stuck("a")), of(OLD, &ready("b"))];
    assert_eq!(may_get(&rollouts, "b", &all), waits("a"));
    advance(PATIENCE).await;
    let failed = Err(Behind::Failed("a".to_owned()));
    assert_eq!(may_get(&rollouts, "b", &all), failed);
    advance(10 * PATIENCE).await;
    assert_eq!(may_get(&rollouts, "b", &all), failed);
    // A change of something else may go on, and the one that is stuck may be mended.
    assert_eq!(may(&rollouts, "b", &all), Ok(()));
    assert_eq!(may_get(&rollouts, "a", &all), Ok(()));
    assert_eq!(may_get(&rollouts, "b", &[of(NEW, &deployment("a", 3, 3, 1)), of(OLD, &ready("b"))]), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_not_ready_before_it_got_the_image_does_not_speak_against_it() {
    let rollouts = Rollouts::default();
    let sick = [of(OLD, &deployment("a", 1, 1, 0)), of(OLD, &ready("b"))];
    assert_eq!(may_get(&rollouts, "b", &sick), waits("a"));
    rollouts.take("a", to_new(), &sick).unwrap().applied(&of(NEW, &deployment("a", 2, 1, 0)));
    let all = [of(NEW, &stuck("a")), of(OLD, &ready("b"))];
    assert_eq!(may_get(&rollouts, "b", &all), waits("a"));
    advance(PATIENCE).await;
    assert_eq!(may_get(&rollouts, "b", &all), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_first_seen_not_ready_with_an_image_does_not_speak_against_it() {
    let rollouts = Rollouts::default();
    // It was made with it, or another process gave it to it.
    let all = [of(NEW, &stuck("a")), of(OLD, &ready("b"))];
    assert_eq!(may_get(&rollouts, "b", &all), waits("a"));
    advance(PATIENCE).await;
    assert_eq!(may_get(&rollouts, "b", &all), Ok(()));
    // Nor when something else of it is changed.
    change(&rollouts, &of(NEW, &deployment("a", 3, 2, 0)), &all).unwrap();
    advance(PATIENCE).await;
    assert_eq!(may_get(&rollouts, "b", &[of(NEW, &deployment("a", 3, 3, 0)), of(OLD, &ready("b"))]), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn one_that_became_ready_with_an_image_speaks_against_it_no_more() {
    let rollouts = Rollouts::default();
    let before = [of(OLD, &ready("a")), of(OLD, &ready("b"))];
    rollouts.take("a", to_new(), &before).unwrap().applied(&of(NEW, &deployment("a", 2, 1, 1)));
    // The cache is behind, then has it ready, then its node is gone.
    assert_eq!(may_get(&rollouts, "b", &before), waits("a"));
    assert_eq!(may_get(&rollouts, "b", &[of(NEW, &deployment("a", 2, 2, 1)), of(OLD, &ready("b"))]), Ok(()));
    let all = [of(NEW, &stuck("a")), of(OLD, &ready("b"))];
    assert_eq!(may_get(&rollouts, "b", &all), waits("a"));
    advance(PATIENCE).await;
    assert_eq!(may_get(&rollouts, "b", &all), Ok(()));
}

#[test]
fn a_deployment_rolls_until_all_its_pods_are_new_and_ready() {
    assert!(!is_rolling(&ready("a")));
    assert!(is_rolling(&deployment("a", 2, 1, 1)) && is_rolling(&deployment("a", 1, 1, 0)));
    assert!(is_rolling(&deployment_with("a", 1, &Value::Null)));
    let surge = json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 2});
    assert!(is_rolling(&deployment_with("a", 1, &surge)));
    let mut going = Deployment::clone(&deployment("a", 1, 1, 0));
    going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    assert!(!is_rolling(&going));
}

#[tokio::test(start_paused = true)]
async fn a_deployment_of_many_pods_is_waited_for_as_long_as_one_more_becomes_ready_in_time() {
    let of_three = |generation: i64, updated: i32| {
        let status = json!({
            "observedGeneration": generation, "replicas": 3, "updatedReplicas": updated, "availableReplicas": 3,
        });
        let mut deployment = Deployment::clone(&deployment_with("a", generation, &status));
        deployment.spec.as_mut().unwrap().replicas = Some(3);
        deployment
    };
    let rolling = |updated: i32| [of(NEW, &of_three(2, updated)), of(OLD, &ready("b"))];
    let rollouts = Rollouts::default();
    let before = [of(OLD, &of_three(1, 3)), of(OLD, &ready("b"))];
    rollouts.take("a", to_new(), &before).unwrap().applied(&rolling(0)[0]);
    for updated in 0..=2 {
        assert_eq!(may_get(&rollouts, "b", &rolling(updated)), waits("a"));
        advance(PATIENCE - SECOND).await;
        assert_eq!(may_get(&rollouts, "b", &rolling(updated)), waits("a"), "{updated}");
    }
    advance(SECOND).await;
    assert_eq!(may_get(&rollouts, "b", &rolling(2)), Err(Behind::Failed("a".to_owned())));
}

/// A Deployment whose pods are away, and what Kubernetes says of its roll-out.
fn away(name: &str, reason: &str) -> Arc<Deployment> {
    let condition = json!({"type": "Progressing", "status": "True", "reason": reason});
    let counts = json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "conditions": [condition]});
    deployment_with(name, 2, &counts)
}

/// Whether `b` might get what its sibling `a` has already.
fn may_follow(rollouts: &Rollouts, all: &[Arc<Deployment>]) -> Result<(), Behind> {
    rollouts.take("b", Change { image: None, as_wanted: &["a"] }, all).map(drop)
}

#[tokio::test(start_paused = true)]
async fn what_a_member_did_not_become_available_with_goes_to_no_sibling() {
    let rollouts = Rollouts::default();
    change(&rollouts, &deployment("a", 2, 1, 1), &[ready("a"), ready("b")]).unwrap();
    let all = [away("a", "NewReplicaSetAvailable"), ready("b")];
    assert_eq!(may_follow(&rollouts, &all), waits("a"));
    for _ in 0..3 {
        advance(PATIENCE).await;
        assert_eq!(may_follow(&rollouts, &all), Err(Behind::Sibling("a".to_owned())));
    }
    // Another mirror's is changed, and so is a sibling to something else.
    assert_eq!(may(&rollouts, "b", &all), Ok(()));
    assert_eq!(may_follow(&rollouts, &[deployment("a", 2, 2, 1), ready("b")]), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn the_next_leader_knows_from_the_deployment_that_a_member_was_never_available() {
    for (reason, wanted) in [
        ("NewReplicaSetCreated", Err(Behind::Sibling("a".to_owned()))),
        ("ReplicaSetUpdated", Err(Behind::Sibling("a".to_owned()))),
        ("ProgressDeadlineExceeded", Err(Behind::Sibling("a".to_owned()))),
        // Its node went since.
        ("NewReplicaSetAvailable", Ok(())),
    ] {
        let (rollouts, all) = (Rollouts::default(), [away("a", reason), ready("b")]);
        assert_eq!(may_follow(&rollouts, &all), waits("a"));
        advance(PATIENCE).await;
        assert_eq!(may_follow(&rollouts, &all), wanted, "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_corrected_goes_on_at_once() {
    let rollouts = Rollouts::default();
    change(&rollouts, &deployment("a", 2, 1, 1), &[ready("a"), ready("b")]).unwrap();
    let all = [away("a", "ReplicaSetUpdated"), ready("b")];
    assert_eq!(may_follow(&rollouts, &all), waits("a"));
    advance(PATIENCE).await;
    assert_eq!(may_follow(&rollouts, &all), Err(Behind::Sibling("a".to_owned())));
    change(&rollouts, &deployment("a", 3, 2, 0), &all).unwrap();
    assert_eq!(may_follow(&rollouts, &[deployment("a", 3, 3, 1), ready("b")]), Ok(()));
}
