//! In which order a mirror's objects are written, and what waits for its turn, against an API server that takes all.

use http::{Request, Response};
use http_body_util::BodyExt as _;
use k8s_openapi::api::networking::v1::Ingress;
use kube::client::Body;
use serde_json::{Value, json};
use tidepool_api::RegistryMirror;
use tidepool_plan::{ClaimFact, Defaults, Referenced, plan, validate};
use tower_test::mock::{self, Handle};

use super::*;

const UID: &str = "uid-of-reef";

/// What a version plans whose image is this.
fn planned(version: &str, key: &str) -> (Identity, Objects) {
    let spec = json!({"upstreams": [{"registry": "ghcr.io"}], "storage": {"volume": {"size": format!("{version}Gi")}}});
    planned_by(version, key, spec, &Referenced::default())
}

/// What a spec plans, where the claims of three members are there that go with the mirror.
fn planned_as(spec: Value) -> (Identity, Objects) {
    let claim = ClaimFact { requested: 50 << 30, owned: true, ..ClaimFact::default() };
    let claims = (0..3).map(|number| (number, claim.clone())).collect();
    planned_by("1", "key", spec, &Referenced { claims, ..Referenced::default() })
}

fn planned_by(version: &str, key: &str, spec: Value, referenced: &Referenced) -> (Identity, Objects) {
    let mut mirror = RegistryMirror::new("reef", serde_json::from_value(spec).unwrap());
    mirror.metadata.uid = Some(UID.to_owned());
    let valid = validate(&mirror, referenced).unwrap();
    let defaults = Defaults {
        image: format!("tidepool:{version}"),
        pull_policy: "IfNotPresent".to_owned(),
        namespace: "deep".to_owned(),
    };
    let part = |name: &str| format!("{name} {key}");
    let identity = Identity { certificate: part("certificate"), key: part("key"), authorities: part("authorities") };
    let objects = plan(&valid, &identity, &defaults).unwrap();
    (identity, objects)
}

/// The cluster after these objects were applied.
fn live(objects: Objects) -> Live {
    let Objects { config, network_policy, budget, service_account, service, claims, deployments, ingress } = objects;
    Live {
        secrets: vec![Arc::new(config)],
        service_accounts: service_account.into_iter().map(Arc::new).collect(),
        services: vec![Arc::new(service)],
        claims: claims.into_iter().map(Arc::new).collect(),
        deployments: deployments.into_iter().map(Arc::new).collect(),
        ingresses: ingress.into_iter().map(Arc::new).collect(),
        network_policies: vec![Arc::new(network_policy)],
        budgets: vec![Arc::new(budget)],
    }
}

/// A Deployment of another mirror, ready or not.
fn other(ready: i32) -> Arc<Deployment> {
    let status = json!({"replicas": 1, "updatedReplicas": 1, "availableReplicas": ready});
    let other =
        json!({"metadata": {"name": "mirror-other-0"}, "spec": {"selector": {}, "template": {}}, "status": status});
    Arc::new(serde_json::from_value(other).unwrap())
}

/// Takes every object but those of one kind, or the one that is `<kind>/<name>`, and says what was written:
/// `<method> <kind>`, and the object.
async fn serve(mut server: Handle<Request<Body>, Response<Body>>, refused: &str) -> Vec<(String, Value)> {
    let mut written = Vec::new();
    while let Some((request, send)) = server.next_request().await {
        let (request, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let (method, path) = (request.method.as_str(), request.uri.path().to_owned());
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let missing = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404});
        let quota = json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403});
        let kind = path.rsplit('/').nth(1).unwrap_or_default().to_owned();
        let (status, answer) = match method {
            "GET" => (404, &missing),
            _ if kind == refused || (refused.contains('/') && path.ends_with(refused)) => (403, &quota),
            _ => (200, &body),
        };
        let answer = Body::from(answer.to_string().into_bytes());
        send.send_response(Response::builder().status(status).body(answer).unwrap());
        if method != "GET" {
            written.push((format!("{method} {kind}"), body));
        }
    }
    written
}

/// What is written where version 2 finds what version 1 made, while another Deployment is ready or not.
async fn upgraded(live: &Live, key: &str, others_ready: i32) -> (Applied, Vec<(String, Value)>) {
    let (applied, written) = applied("2", live, key, others_ready, "none").await;
    (applied.unwrap(), written)
}

/// What is written where a version finds this, while one kind of object is refused.
async fn applied(
    version: &str,
    live: &Live,
    key: &str,
    others_ready: i32,
    refused: &'static str,
) -> (Result<Applied, ApplyError>, Vec<(String, Value)>) {
    let (service, server) = mock::pair::<Request<Body>, Response<Body>>();
    let served = tokio::spawn(serve(server, refused));
    let rollouts = Rollouts::default();
    let applied = {
        let client = Client::new(service, "deep");
        let all = live.deployments.iter().cloned().chain([other(others_ready)]).collect();
        let (identity, objects) = planned(version, key);
        let applier = Applier { client: &client, rollouts: &rollouts, all };
        applier.apply(UID, &identity, &objects, live, &mut Vec::new()).await
    };
    (applied, served.await.unwrap())
}

fn names(written: &[(String, Value)]) -> Vec<&str> {
    written.iter().map(|(what, _)| what.as_str()).collect()
}

/// What version 1 made, with a ServiceAccount that version 2 does not plan.
fn before() -> Live {
    let mut live = live(planned("1", "old").1);
    let mut account = live.service_accounts[0].as_ref().clone();
    account.metadata.name = Some("mirror-reef-old".to_owned());
    live.service_accounts.push(Arc::new(account));
    live
}

#[tokio::test]
async fn a_member_that_waits_for_its_image_keeps_its_configuration_and_all_it_is_made_of() {
    let live = before();
    let (applied, written) = upgraded(&live, "old", 0).await;
    assert_eq!(applied.behind, Some(Behind::Rolling("mirror-other-0".to_owned())));
    assert_eq!(applied.revision, revision(&live.secrets[0]));
    let written = names(&written);
    assert!(!written.iter().any(|it| it.contains("secrets") || it.contains("DELETE")), "{written:?}");
}

#[tokio::test]
async fn a_member_that_waits_for_its_image_gets_new_certificates() {
    let live = before();
    let (applied, written) = upgraded(&live, "new", 0).await;
    let (_, config) = written.iter().find(|(what, _)| what == "PATCH secrets").unwrap();
    let config: Secret = serde_json::from_value(config.clone()).unwrap();
    assert_eq!(applied.revision, revision(&config));
    let text = |config: &Secret, key: &str| String::from_utf8(config.data.as_ref().unwrap()[key].0.clone()).unwrap();
    assert_eq!(text(&config, "tls.key"), "key new");
    let file = |config: &Secret| {
        let mut file: serde_yaml::Value = serde_yaml::from_str(&text(config, "proxy.yaml")).unwrap();
        file.as_mapping_mut().unwrap().remove("revision").unwrap();
        file
    };
    assert_eq!(file(&config), file(&live.secrets[0]));
}

#[tokio::test]
async fn an_ingress_that_is_wanted_no_more_goes_while_a_member_waits() {
    let mut live = before();
    let metadata = live.deployments[0].metadata.clone();
    live.ingresses.push(Arc::new(Ingress { metadata, ..Ingress::default() }));
    let (applied, written) = upgraded(&live, "old", 0).await;
    assert!(applied.behind.is_some() && !applied.ingress);
    assert_eq!(names(&written).last(), Some(&"DELETE ingresses"));
}

#[tokio::test]
async fn in_its_turn_a_member_gets_its_configuration_then_its_image_then_what_is_not_needed_goes() {
    let (applied, written) = upgraded(&before(), "old", 1).await;
    assert_eq!(applied.behind, None);
    let last = ["PATCH secrets", "PATCH deployments", "DELETE serviceaccounts"];
    assert_eq!(names(&written)[written.len() - 3..], last);
}

#[tokio::test]
async fn what_is_refused_does_not_keep_the_configuration_from_members() {
    let kinds = ["serviceaccounts", "persistentvolumeclaims", "services", "networkpolicies", "poddisruptionbudgets"];
    for refused in kinds {
        for version in ["1", "2"] {
            let mut live = before();
            // None is as it should be: each is written.
            live.service_accounts.clear();
            live.claims.clear();
            live.services.clear();
            live.network_policies.clear();
            live.budgets.clear();
            let (result, written) = applied(version, &live, "new", 1, refused).await;
            let told = result.map_or_else(Some, |applied| applied.refused);
            assert!(matches!(told, Some(ApplyError::Apply { .. })), "{refused}");
            let (last, config) = written.last().unwrap();
            assert_eq!(last, "PATCH secrets", "{refused}: no member is changed");
            let config: Secret = serde_json::from_value(config.clone()).unwrap();
            assert_eq!(config.data.as_ref().unwrap()["tls.key"].0, b"key new");
            // What the other version cannot read comes with its image only.
            let (_, planned) = planned("1", "new");
            assert_eq!(revision(&config), revision(&planned.config), "{refused} {version}");
        }
    }
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
