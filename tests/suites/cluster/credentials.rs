//! Private registries: what nodes may pull with the credentials of a mirror, and Secrets that are wrong or change.

use serde_json::{Value, json};
use tidepool_tests::{Cluster, ImageSpec, Request, StandIn};

use crate::installed::{
    MIRROR, SOON, SYSTEM, apply_and_await, asked_by_pull, await_condition, await_revision, condition, installed_with,
    login, members, mirror_of, pull,
};

/// A registry whose realm is another host, and of whose repositories `team/` is private.
fn private() -> StandIn {
    StandIn::with_realm("private.test", "login.test").user("me", "right").private("team/")
}

fn with_credentials(mirror: &mut Value, upstream: usize, secret: &str, scope: &str) {
    mirror["spec"]["upstreams"][upstream]["credentials"] = json!({"secretRef": {"name": secret}, "scope": scope});
}

fn push(cluster: &Cluster, registry: &str, repository: &str) {
    cluster.registry(registry).unwrap().push(&ImageSpec::new(repository, "1").layers(&[1])).unwrap();
}

/// Only the mirror asked, and somebody was given contents.
fn assert_mirrored(log: &[Request]) {
    assert!(log.iter().all(|request| request.user_agent.starts_with("tidepool")), "around the mirror: {log:#?}");
    assert!(log.iter().any(Request::served), "nothing was had: {log:#?}");
}

#[test]
fn nodes_without_pull_secrets_pull_what_the_scope_of_the_credentials_says() {
    let hub = StandIn::docker_hub().user("payer", "paid").private("secret/");
    let stand_ins = vec![private(), StandIn::basic("basic.test").user("me", "right"), hub];
    let Some(cluster) = installed_with(1, stand_ins, None) else { return };
    let docker_config = json!({"auths": {"https://basic.test": {"username": "me", "password": "right"}}});
    let secrets = [
        login("private-login", "me", "right"),
        json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
               "metadata": {"name": "basic-login", "namespace": SYSTEM},
               "stringData": {".dockerconfigjson": docker_config.to_string()}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hub-login", "namespace": SYSTEM},
               "stringData": {"username": "payer", "password": "paid"}}),
    ];
    secrets.iter().for_each(|secret| drop(cluster.apply(&secret.to_string()).unwrap()));
    let mut mirror = mirror_of(MIRROR, &["private.test", "basic.test", "docker.io"]);
    with_credentials(&mut mirror, 0, "private-login", "AllImages");
    with_credentials(&mut mirror, 1, "basic-login", "AllImages");
    with_credentials(&mut mirror, 2, "hub-login", "PublicImages");
    apply_and_await(&cluster, &mirror);

    for (registry, repository) in [("private.test", "team/app"), ("private.test", "open/app"), ("basic.test", "app")] {
        push(&cluster, registry, repository);
        assert_mirrored(&asked_by_pull(&cluster, registry, 1, &format!("{registry}/{repository}:1")));
    }
    push(&cluster, "docker.io", "library/app");
    push(&cluster, "docker.io", "secret/app");
    let hub = cluster.registry("docker.io").unwrap();
    hub.limit_anonymous(true).unwrap();
    let log = asked_by_pull(&cluster, "docker.io", 1, "app:1");
    assert_mirrored(&log);
    let manifests = log.iter().filter(|request| request.is_manifest() && request.served());
    assert!(manifests.clone().count() > 0 && manifests.clone().all(|r| r.user.as_deref() == Some("payer")), "{log:#?}");
    hub.limit_anonymous(false).unwrap();

    let (refused, log) = hub.requests_during(|| cluster.try_pull(1, "docker.io/secret/app:1")).unwrap();
    assert!(!refused.success, "PublicImages serves no private image: {refused:?}");
    let beyond = |request: &&Request| request.is_blob() || (request.is_manifest() && request.served());
    assert_eq!(log.iter().filter(beyond).count(), 0, "nor fetches it: {log:#?}");

    await_condition(&cluster, "CredentialsValid", "True", "");
    await_revision(&cluster);
}

/// The statuses of many requests by a node for a private manifest.
fn ask_often(cluster: &Cluster, times: usize) -> anyhow::Result<Vec<String>> {
    let url = format!("http://127.0.0.1:909/v2/team/app/manifests/[1-{times}]?ns=private.test");
    let curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}\n", &url];
    Ok(cluster.in_node(1, &curl)?.lines().map(str::to_owned).collect())
}

#[test]
fn a_refused_login_is_named_and_tried_thrice_at_most_and_a_mended_one_needs_no_restart() {
    let Some(cluster) = installed_with(1, vec![private()], None) else { return };
    let registry = cluster.registry("private.test").unwrap();
    push(&cluster, "private.test", "team/app");
    cluster.apply(&login("private-login", "me", "wrong").to_string()).unwrap();
    let mut mirror = mirror_of(MIRROR, &["private.test"]);
    with_credentials(&mut mirror, 0, "private-login", "AllImages");
    apply_and_await(&cluster, &mirror);
    let before = members(&cluster, MIRROR);

    let (statuses, log) = registry.requests_during(|| ask_often(&cluster, 200)).unwrap();
    assert!(statuses.len() == 200 && statuses.iter().all(|status| status == "503"), "never 404: {statuses:?}");
    let logins = log.iter().filter(|request| request.login).count();
    assert!((1..=3).contains(&logins), "{logins} logins for 200 requests");
    let message = await_condition(&cluster, "CredentialsValid", "False", "Unauthorized");
    assert!(message.contains("private.test") && message.contains("private-login"), "{message}");
    assert_eq!(condition(&cluster, "Ready").unwrap().0, "True", "what is kept is served all the same");
    assert!(!cluster.diagnose().contains("wrong\""), "no password in Events or logs");

    cluster.apply(&login("private-login", "me", "right").to_string()).unwrap();
    let served = || Ok(cluster.try_pull(1, "private.test/team/app:1")?.success);
    cluster.wait_until(SOON, "pull with the mended Secret", served).unwrap();
    await_condition(&cluster, "CredentialsValid", "True", "");
    await_revision(&cluster);
    assert_eq!(members(&cluster, MIRROR), before, "the same pods, not restarted");

    // The registry's side changes first, as in the field, and the Secret follows.
    registry.set_password("me", "rotated").unwrap();
    push(&cluster, "private.test", "team/next");
    cluster.apply(&login("private-login", "me", "rotated").to_string()).unwrap();
    cluster
        .wait_until(SOON, "pull after the rotation", || Ok(cluster.try_pull(1, "private.test/team/next:1")?.success))
        .unwrap();
    assert_eq!(members(&cluster, MIRROR), before);
}

#[test]
fn a_secret_that_is_missing_or_malformed_is_named_until_it_is_there() {
    let Some(cluster) = installed_with(1, vec![private()], None) else { return };
    push(&cluster, "private.test", "open/app");
    push(&cluster, "private.test", "team/app");
    let mut mirror = mirror_of(MIRROR, &["private.test"]);
    apply_and_await(&cluster, &mirror);
    let before = members(&cluster, MIRROR);
    with_credentials(&mut mirror, 0, "private-login", "AllImages");
    cluster.apply(&mirror.to_string()).unwrap();
    let message = await_condition(&cluster, "Accepted", "False", "SecretNotFound");
    assert!(
        message.contains("spec.upstreams[0].credentials.secretRef") && message.contains("private-login"),
        "{message}"
    );
    pull(&cluster, 1, "private.test/open/app:1");

    let empty = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "private-login", "namespace": SYSTEM},
        "stringData": {"user": "me"}});
    cluster.apply(&empty.to_string()).unwrap();
    let message = await_condition(&cluster, "Accepted", "False", "SecretInvalid");
    assert!(message.contains("private-login") && message.contains("username"), "{message}");
    cluster.kubectl(&["delete", "secret", "private-login", "-n", SYSTEM]).unwrap();
    cluster.apply(&login("private-login", "me", "right").to_string()).unwrap();
    await_condition(&cluster, "Accepted", "True", "");
    await_revision(&cluster);
    pull(&cluster, 1, "private.test/team/app:1");
    assert_eq!(members(&cluster, MIRROR), before, "the same pods, not restarted");
}
