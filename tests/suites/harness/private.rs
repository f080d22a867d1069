//! Registries with users, with a demand for certificates, and out of reach but through the way out.

use tidepool_tests::{Cluster, ImageSpec, Output, Request};

use crate::cluster;

/// What manifests here are.
const ACCEPT: &str = "Accept: application/vnd.oci.image.manifest.v1+json";

fn push(cluster: &Cluster, registry: &str, repository: &str) {
    cluster.registry(registry).unwrap().push(&ImageSpec::new(repository, "1")).unwrap();
}

/// What `curl` on node1 gets, with the status on a line of its own at the end.
fn curl(cluster: &Cluster, args: &[&str]) -> Output {
    cluster.try_in_node(1, &[&["curl", "-sS", "-w", "\n%{http_code}", "-H", ACCEPT], args].concat()).unwrap()
}

fn status(cluster: &Cluster, args: &[&str]) -> String {
    curl(cluster, args).stdout.lines().last().unwrap_or_default().to_owned()
}

/// A token of the private registry for `team/app`, with this login.
fn token(cluster: &Cluster, login: &[&str]) -> Option<String> {
    let url = "https://login.test/token?service=private.test&scope=repository:team/app:pull";
    let answer = curl(cluster, &[login, &[url]].concat()).stdout;
    let value: serde_json::Value = serde_json::from_str(answer.lines().next().unwrap_or_default()).unwrap();
    value["token"].as_str().map(str::to_owned)
}

#[test]
fn a_private_repository_is_read_by_its_users_alone_and_every_login_is_counted() {
    let Some(cluster) = cluster() else { return };
    let registry = cluster.registry("private.test").unwrap();
    push(cluster, "private.test", "team/app");
    push(cluster, "private.test", "library/app");
    cluster.pull(1, "private.test/library/app:1").unwrap();
    let refused = cluster.try_pull(1, "private.test/team/app:1").unwrap();
    assert!(!refused.success, "{refused:?}");

    let login = |login: &str| ["crictl", "pull", "--creds", login, "private.test/team/app:1"].map(str::to_owned);
    let pull = |text: &str| {
        let command = login(text);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        cluster.try_in_node(1, &command)
    };
    let (right, log) = registry.requests_during(|| pull("me:right")).unwrap();
    assert!(right.success, "{right:?}");
    assert!(log.iter().any(|request| request.login && request.user.as_deref() == Some("me") && request.authorized));
    assert!(log.iter().filter(|request| request.served() && !request.is_token()).all(|r| r.user.is_some()), "{log:#?}");

    let token = token(cluster, &["-u", "me:right"]).unwrap();
    let bearer = format!("Authorization: Bearer {token}");
    let manifest = ["-H", &bearer, "https://private.test/v2/team/app/manifests/1"];
    assert_eq!(status(cluster, &manifest), "200");
    registry.set_password("me", "changed").unwrap();
    assert_eq!(status(cluster, &manifest), "401", "the token of the old password is void");
    let (wrong, log) = registry.requests_during(|| pull("me:right")).unwrap();
    assert!(!wrong.success);
    let logins: Vec<&Request> = log.iter().filter(|request| request.login).collect();
    assert!(!logins.is_empty() && logins.iter().all(|login| !login.authorized && login.status == 401), "{log:#?}");
    assert!(
        !std::fs::read_to_string(cluster.folder().unwrap().join("registries/requests.jsonl"))
            .unwrap()
            .contains("right")
    );
    assert!(self::token(cluster, &["-u", "me:right"]).is_none());
    registry.set_password("me", "right").unwrap();
}

#[test]
fn a_basic_registry_takes_a_login_with_every_request_and_challenges_without() {
    let Some(cluster) = cluster() else { return };
    push(cluster, "basic.test", "app");
    let manifest = "https://basic.test/v2/app/manifests/1";
    assert_eq!(status(cluster, &[manifest]), "401");
    assert_eq!(status(cluster, &["-u", "me:wrong", manifest]), "401");
    assert_eq!(status(cluster, &["-u", "me:right", manifest]), "200");
}

#[test]
fn a_registry_that_wants_a_certificate_answers_nobody_without() {
    let Some(cluster) = cluster() else { return };
    push(cluster, "mutual.test", "app");
    let manifest = "https://mutual.test/v2/app/manifests/1";
    assert!(!curl(cluster, &[manifest]).success);
    let issued = cluster.issue(&["me"]).unwrap();
    let home = cluster.folder().unwrap().join("node1");
    let (certificate, key) = (home.join("me.crt"), home.join("me.key"));
    std::fs::write(&certificate, issued.certificate).unwrap();
    std::fs::write(&key, issued.key).unwrap();
    let shown = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap(), manifest];
    assert_eq!(status(cluster, &shown), "200");
}

#[test]
fn a_hidden_registry_is_found_by_the_way_out_alone_which_wants_a_login() {
    let Some(cluster) = cluster() else { return };
    push(cluster, "far.test", "app");
    let manifest = "https://far.test/v2/app/manifests/1";
    let lost = curl(cluster, &[manifest]);
    assert!(!lost.success && lost.stderr.contains("resolve"), "{lost:?}");
    let out = ["-x", "http://out.test:3128"];
    let refused = curl(cluster, &[&out[..], &[manifest]].concat());
    assert!(!refused.success && refused.stderr.contains("407"), "{refused:?}");
    let through = [&out[..], &["--proxy-user", "traveller:toll"]].concat();
    assert_eq!(status(cluster, &[&through[..], &[manifest]].concat()), "200");
    assert_eq!(status(cluster, &[&through[..], &["http://far.test/v2/"]].concat()), "200", "the absolute form");
    let passages = cluster.passages().unwrap();
    let went = |method: &str, target: &str, status: u16| {
        passages.iter().any(|p| p.method == method && p.target.starts_with(target) && p.status == status)
    };
    assert!(went("CONNECT", "far.test:443", 407) && went("CONNECT", "far.test:443", 200), "{passages:#?}");
    assert!(went("GET", "http://far.test/v2/", 200), "{passages:#?}");
    assert!(passages.iter().any(|passage| passage.user.as_deref() == Some("traveller")), "{passages:#?}");
}

#[test]
fn past_its_limit_docker_hub_serves_who_logs_in() {
    let Some(cluster) = cluster() else { return };
    let hub = cluster.registry("docker.io").unwrap();
    push(cluster, "docker.io", "library/limited");
    let url = "https://auth.docker.io/token?service=registry.docker.io&scope=repository:library/limited:pull";
    let manifest = |login: &[&str]| {
        let answer = curl(cluster, &[login, &[url]].concat()).stdout;
        let value: serde_json::Value = serde_json::from_str(answer.lines().next().unwrap()).unwrap();
        let bearer = format!("Authorization: Bearer {}", value["token"].as_str().unwrap());
        status(cluster, &["-H", &bearer, "https://registry-1.docker.io/v2/library/limited/manifests/1"])
    };
    assert_eq!(manifest(&[]), "200");
    hub.limit_anonymous(true).unwrap();
    let (anybody, payer) = (manifest(&[]), manifest(&["-u", "payer:paid"]));
    hub.limit_anonymous(false).unwrap();
    assert_eq!((anybody.as_str(), payer.as_str()), ("429", "200"));
}
