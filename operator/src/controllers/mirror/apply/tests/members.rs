//! More members and fewer, and the claims of those that go.

use super::*;

/// What a spec plans, where the claims of three members are there that go with the mirror.
fn planned_as(spec: Value) -> (Identity, Objects) {
    let claim = ClaimFact { requested: 50 << 30, owned: true, ..ClaimFact::default() };
    let claims = (0..3).map(|number| (number, claim.clone())).collect();
    planned_by("1", "key", spec, &Referenced { claims, ..Referenced::default() })
}

/// What comes of a spec where these Deployments are there.
async fn step(live: &Live, spec: Value) -> (Applied, Vec<(String, Value)>) {
    let (applied, deleted_claims, written) = step_but(live, spec, "none", &Rollouts::default()).await;
    (Applied { deleted_claims, ..applied.unwrap() }, written)
}

/// The same while something is refused: also the claims that go.
async fn step_but(
    live: &Live,
    spec: Value,
    refused: &'static str,
    rollouts: &Rollouts,
) -> (Result<Applied, ApplyError>, Vec<String>, Vec<(String, Value)>) {
    let (service, server) = mock::pair::<Request<Body>, Response<Body>>();
    let served = tokio::spawn(serve(server, refused));
    let mut deleted_claims = Vec::new();
    let applied = {
        let client = Client::new(service, "deep");
        let applier = Applier { client: &client, rollouts, all: live.deployments.clone() };
        let (identity, objects) = planned_as(spec);
        applier.apply(UID, &identity, &objects, live, &mut deleted_claims).await
    };
    (applied, deleted_claims, served.await.unwrap())
}

/// What a spec has made, with its Deployments as the API server has them; the first may not be ready.
async fn made(spec: Value, first_is_ready: bool) -> Live {
    let mut live = live(planned_as(spec.clone()).1);
    live.deployments.clear();
    let (_, written) = step(&live, spec).await;
    for (_, deployment) in written.into_iter().filter(|(what, _)| what == "PATCH deployments") {
        let mut deployment: Deployment = serde_json::from_value(deployment).unwrap();
        let available = i32::from(first_is_ready || name(&deployment) != "mirror-reef-0");
        let status = json!({
            "replicas": 1, "updatedReplicas": 1, "readyReplicas": available, "availableReplicas": available,
        });
        deployment.status = serde_json::from_value(status).unwrap();
        live.deployments.push(Arc::new(deployment));
    }
    live
}

fn spec(replicas: i32, retention: &str) -> Value {
    let storage = json!({"volume": {"retention": retention}});
    json!({"upstreams": [{"registry": "ghcr.io"}], "proxy": {"replicas": replicas}, "storage": storage})
}

fn count(written: &[(String, Value)], what: &str) -> usize {
    names(written).into_iter().filter(|it| *it == what).count()
}

#[tokio::test]
async fn members_that_are_wanted_no_more_go_and_their_claims_as_retention_says() {
    let live = made(spec(3, "Delete"), true).await;
    let (applied, written) = step(&live, spec(1, "Delete")).await;
    assert_eq!((count(&written, "DELETE deployments"), count(&written, "DELETE persistentvolumeclaims")), (2, 2));
    assert_eq!(applied.deleted_claims, ["mirror-reef-1", "mirror-reef-2"]);
    assert_eq!(applied.deployments.len(), 1);
    assert_eq!(count(&written, "PATCH deployments"), 0, "the one that stays is left alone");
}

#[tokio::test]
async fn claims_that_shall_stay_from_the_change_on_that_takes_their_members_away_stay() {
    let live = made(spec(3, "Delete"), true).await;
    let (applied, written) = step(&live, spec(1, "Retain")).await;
    assert_eq!((count(&written, "DELETE deployments"), count(&written, "DELETE persistentvolumeclaims")), (2, 0));
    let released = written.iter().filter(|(what, _)| what == "PATCH persistentvolumeclaims");
    let released: Vec<_> = released.map(|(_, claim)| &claim["metadata"]["ownerReferences"]).collect();
    assert!(released.len() == 3 && released.iter().all(|owners| owners.is_null()), "{released:?}");
    assert_eq!((applied.claims.len(), applied.deleted_claims.len()), (3, 0));
}

#[tokio::test]
async fn members_that_are_wanted_no_more_serve_until_one_that_stays_does() {
    let live = made(spec(3, "Delete"), false).await;
    let (applied, written) = step(&live, spec(1, "Delete")).await;
    assert_eq!(applied.former.iter().map(name).collect::<Vec<_>>(), ["mirror-reef-1", "mirror-reef-2"]);
    assert_eq!(applied.deployments.len(), 1);
    assert!(!names(&written).iter().any(|what| what.starts_with("DELETE")), "{:?}", names(&written));
}

fn patched(written: &[(String, Value)]) -> Vec<String> {
    let patched = written.iter().filter(|(what, _)| what == "PATCH deployments");
    patched.map(|(_, it)| it["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// Other pods than those of [`spec`].
fn changed(replicas: i32) -> Value {
    let mut changed = spec(replicas, "Retain");
    changed["proxy"]["podAnnotations"] = json!({"a": "b"});
    changed
}

#[tokio::test]
async fn more_members_restart_none_and_of_those_that_change_one_rolls_at_a_time() {
    let live = made(spec(2, "Retain"), true).await;
    let (applied, written) = step(&live, spec(3, "Retain")).await;
    assert_eq!((patched(&written), applied.behind), (vec!["mirror-reef-2".to_owned()], None));
    let (applied, written) = step(&live, changed(2)).await;
    assert_eq!(patched(&written), ["mirror-reef-0"]);
    assert_eq!(applied.behind, Some(Behind::Rolling("mirror-reef-0".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_spec_with_which_one_member_does_not_become_available_takes_no_other_down() {
    let (rollouts, mut live) = (Rollouts::default(), made(spec(3, "Retain"), true).await);
    live.deployments[0] = Arc::clone(&made(changed(3), false).await.deployments[0]);
    let (applied, _, _) = step_but(&live, changed(3), "none", &rollouts).await;
    assert_eq!(applied.unwrap().behind, Some(Behind::Rolling("mirror-reef-0".to_owned())));
    tokio::time::advance(std::time::Duration::from_secs(3600)).await;
    let (applied, _, written) = step_but(&live, changed(3), "none", &rollouts).await;
    assert_eq!(applied.unwrap().behind, Some(Behind::Sibling("mirror-reef-0".to_owned())));
    assert!(patched(&written).is_empty(), "{written:?}");
    // What was before is put back at once.
    let (applied, _, written) = step_but(&live, spec(3, "Retain"), "none", &rollouts).await;
    assert_eq!((patched(&written), applied.unwrap().behind), (vec!["mirror-reef-0".to_owned()], None));
}

#[tokio::test]
async fn a_claim_that_is_refused_holds_up_its_own_member_only() {
    let mut live = made(spec(1, "Retain"), true).await;
    live.claims.truncate(1);
    let refused = "persistentvolumeclaims/mirror-reef-1";
    let (applied, _, written) = step_but(&live, changed(3), refused, &Rollouts::default()).await;
    let applied = applied.unwrap();
    assert!(matches!(applied.refused, Some(ApplyError::Apply { name, .. }) if name == "mirror-reef-1"));
    assert_eq!(patched(&written), ["mirror-reef-0", "mirror-reef-2"]);
    for kind in ["services", "networkpolicies", "poddisruptionbudgets", "secrets"] {
        assert_eq!(count(&written, &format!("PATCH {kind}")), 1, "{kind}");
    }
    assert_eq!((applied.claims.len(), applied.deployments.len()), (2, 2));
}

#[tokio::test]
async fn claims_that_were_deleted_are_told_also_where_a_later_one_is_refused() {
    let live = made(spec(3, "Delete"), true).await;
    let refused = "persistentvolumeclaims/mirror-reef-2";
    let (applied, deleted_claims, _) = step_but(&live, spec(1, "Delete"), refused, &Rollouts::default()).await;
    assert!(matches!(applied, Err(ApplyError::Delete { name, .. }) if name == "mirror-reef-2"));
    assert_eq!(deleted_claims, ["mirror-reef-1"]);
}
