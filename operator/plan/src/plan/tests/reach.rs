//! How members are reached: Service, Ingress, NetworkPolicy.

use super::*;

#[test]
fn the_service_and_the_pod_name_both_ports_alike() {
    let objects = planned(MINIMAL);
    let ports = objects.service.spec.unwrap().ports.unwrap();
    let service: Vec<_> = ports.iter().map(|port| (port.name.clone().unwrap(), port.port)).collect();
    assert_eq!(service, [("registry".to_owned(), 5000), ("agents".to_owned(), 5443)]);
    let pod = objects.deployments[0].spec.clone().unwrap().template.spec.unwrap();
    let named: Vec<_> = pod.containers[0]
        .ports
        .iter()
        .flatten()
        .map(|port| (port.name.clone().unwrap(), port.container_port))
        .collect();
    assert_eq!(named[..2], service);
    assert_eq!(named[2], ("admin".to_owned(), 8080));
}

#[test]
fn an_ingress_is_as_the_user_wrote_it() {
    assert!(planned(MINIMAL).ingress.is_none());
    let made = |routing: &str| {
        planned(&format!(
            "{MINIMAL}\ningress: {{host: reef.example.com, className: nginx, tlsSecretName: cert, annotations: {{a.io/b: c}}, routing: {routing}}}"
        ))
    };
    for (routing, hosts) in [
        ("Path", vec!["reef.example.com"]),
        ("HostPerUpstream", vec!["docker-io.reef.example.com", "ghcr-io.reef.example.com"]),
    ] {
        let objects = made(routing);
        let ingress = objects.ingress.clone().unwrap();
        assert_eq!(ingress.metadata.annotations.unwrap(), [("a.io/b".to_owned(), "c".to_owned())].into());
        let spec = ingress.spec.unwrap();
        assert_eq!(spec.ingress_class_name.as_deref(), Some("nginx"));
        let tls = spec.tls.unwrap().remove(0);
        assert_eq!(
            (tls.hosts.unwrap(), tls.secret_name.as_deref()),
            (hosts.iter().map(|it| (*it).to_owned()).collect(), Some("cert"))
        );
        let rules = spec.rules.unwrap();
        assert_eq!(rules.iter().map(|rule| rule.host.as_deref().unwrap()).collect::<Vec<_>>(), hosts);
        for path in rules.into_iter().flat_map(|rule| rule.http.unwrap().paths) {
            let service = path.backend.service.unwrap();
            assert_eq!(
                (service.name.as_str(), service.port.unwrap().name.as_deref()),
                ("mirror-reef", Some("registry"))
            );
        }
        let named: Vec<_> = file(&objects).upstreams.into_iter().filter_map(|upstream| upstream.host).collect();
        assert_eq!(named, if routing == "Path" { vec![] } else { hosts });
    }
}

#[test]
fn the_admin_port_is_for_the_operator_and_for_those_who_were_let_in() {
    let objects = planned(MINIMAL);
    let spec = objects.network_policy.spec.unwrap();
    let rules: Vec<_> = spec
        .ingress
        .unwrap()
        .into_iter()
        .map(|rule| {
            let ports: Vec<_> = rule.ports.unwrap().into_iter().map(|port| port.port.unwrap()).collect();
            (ports, rule.from.map(|from| serde_json::to_string(&from).unwrap()))
        })
        .collect();
    assert_eq!(rules[0], (vec![IntOrString::Int(5000), IntOrString::Int(5443)], None));
    let admin = rules[1].1.as_ref().unwrap();
    assert_eq!(rules[1].0, [IntOrString::Int(8080)]);
    assert!(
        admin.contains("\"app.kubernetes.io/component\":\"operator\"")
            && admin.contains("\"tidepool.dev/metrics\":\"true\"")
    );
    let budget = objects.budget.spec.unwrap();
    assert_eq!(budget.max_unavailable, Some(IntOrString::Int(1)));
    let labels = objects.deployments[0].spec.clone().unwrap().template.metadata.unwrap().labels.unwrap();
    for selector in [spec.pod_selector.unwrap(), budget.selector.unwrap()] {
        let selector = selector.match_labels.unwrap();
        assert!(!selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value)));
    }
}
