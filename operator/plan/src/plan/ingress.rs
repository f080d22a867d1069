//! How clients outside the cluster reach a mirror.

use k8s_openapi::{
    api::networking::v1::{
        HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
        IngressSpec, IngressTLS, ServiceBackendPort,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use tidepool_config::names::MEMBER_PORT_NAME;

use crate::{ValidIngress, names};

/// The Ingress of mirror `mirror`. Its annotations are the user's: each controller has its own words.
pub(super) fn ingress(mirror: &str, valid: &ValidIngress, mut metadata: ObjectMeta) -> Ingress {
    metadata.annotations = Some(valid.annotations.clone()).filter(|annotations| !annotations.is_empty());
    let tls = valid
        .tls_secret
        .as_ref()
        .map(|secret| IngressTLS { hosts: Some(valid.hosts.clone()), secret_name: Some(secret.clone()) });
    let spec = IngressSpec {
        ingress_class_name: valid.class.clone(),
        rules: Some(valid.hosts.iter().map(|host| rule(mirror, host)).collect()),
        tls: tls.map(|tls| vec![tls]),
        default_backend: None,
    };
    Ingress { metadata, spec: Some(spec), status: None }
}

/// All paths of a host lead to the mirror: what they mean, its members know.
fn rule(mirror: &str, host: &str) -> IngressRule {
    let port = ServiceBackendPort { name: Some(MEMBER_PORT_NAME.to_owned()), number: None };
    let service = IngressServiceBackend { name: names::service(mirror), port: Some(port) };
    let path = HTTPIngressPath {
        path: Some("/".to_owned()),
        path_type: "Prefix".to_owned(),
        backend: IngressBackend { service: Some(service), resource: None },
    };
    IngressRule { host: Some(host.to_owned()), http: Some(HTTPIngressRuleValue { paths: vec![path] }) }
}
