//! Another image and configuration, while members of other mirrors are ready or not.

use super::*;

/// A Deployment of another mirror, ready or not.
fn other(ready: i32) -> Arc<Deployment> {
    let status = json!({"replicas": 1, "updatedReplicas": 1, "availableReplicas": ready});
    let other =
        json!({"metadata": {"name": "mirror-other-0"}, "spec": {"selector": {}, "template": {}}, "status": status});
    Arc::new(serde_json::from_value(other).unwrap())
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
