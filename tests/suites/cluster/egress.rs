//! Upstreams that are reached through a proxy, or that ask for a certificate.

use serde_json::json;
use tidepool_tests::{Egress, ImageSpec, StandIn};

use crate::installed::{
    MIRROR, SYSTEM, apply_and_await, asked_by_pull, await_condition, await_next_revision, installed_with, login,
    mirror_of, wanted_revision,
};

#[test]
fn an_upstream_is_reached_through_the_egress_proxy_and_another_by_a_client_certificate() {
    let stand_ins = vec![StandIn::open("far.test").hidden(), StandIn::open("mutual.test").client_certificate()];
    let way_out = Egress::new("out.test", "traveller", "toll");
    let url = way_out.url();
    let Some(cluster) = installed_with(1, stand_ins, Some(way_out)) else { return };
    for registry in ["far.test", "mutual.test"] {
        cluster.registry(registry).unwrap().push(&ImageSpec::new("app", "1").layers(&[1])).unwrap();
    }
    let issued = cluster.issue(&["tidepool"]).unwrap();
    let certificate = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "client-certificate", "namespace": SYSTEM},
        "stringData": {"tls.crt": issued.certificate, "tls.key": issued.key},
    });
    cluster.apply(&certificate.to_string()).unwrap();
    cluster.apply(&login("proxy-login", "traveller", "toll").to_string()).unwrap();
    let mut mirror = mirror_of(MIRROR, &["far.test", "mutual.test"]);
    mirror["spec"]["upstreams"][1]["tls"]["clientCertSecretRef"] = json!({"name": "client-certificate"});
    mirror["spec"]["egressProxy"] =
        json!({"url": url, "noProxy": ["mutual.test"], "credentialsSecretRef": {"name": "proxy-login"}});
    apply_and_await(&cluster, &mirror);

    for registry in ["far.test", "mutual.test"] {
        let log = asked_by_pull(&cluster, registry, 1, &format!("{registry}/app:1"));
        assert!(log.iter().all(|request| request.user_agent.starts_with("tidepool")), "{log:#?}");
    }
    let passages = cluster.passages().unwrap();
    let through = |host: &str| passages.iter().filter(|passage| passage.target.starts_with(host)).count();
    assert!(through("far.test") > 0 && through("mutual.test") == 0, "noProxy is reached directly: {passages:#?}");
    let paid = passages.iter().filter(|p| p.status == 200);
    assert!(paid.clone().count() > 0 && paid.clone().all(|p| p.user.as_deref() == Some("traveller")), "{passages:#?}");

    // A way out that turns us down is an upstream that cannot be reached, and what is kept is served all the same.
    let before = wanted_revision(&cluster).unwrap();
    cluster.apply(&login("proxy-login", "traveller", "counterfeit").to_string()).unwrap();
    await_next_revision(&cluster, &before);
    cluster.registry("far.test").unwrap().push(&ImageSpec::new("cold", "1")).unwrap();
    assert!(!cluster.try_pull(1, "far.test/cold:1").unwrap().success);
    await_condition(&cluster, "UpstreamsReachable", "False", "Unreachable");
    cluster.remove_image(1, "far.test/app:1").unwrap();
    crate::installed::pull(&cluster, 1, "far.test/app:1");
}
