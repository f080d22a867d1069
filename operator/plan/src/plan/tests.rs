//! Real `validate` and `plan` on small specs.

mod config;
mod members;
mod reach;

use proptest::prelude::*;
use tidepool_config::{ProxyFile, UpstreamGone};

use super::*;
use crate::{
    Referenced,
    testing::{MINIMAL, mirror, valid},
    validate,
};

fn defaults() -> Defaults {
    Defaults {
        image: "reg.io/tidepool:1".into(),
        pull_policy: "IfNotPresent".into(),
        namespace: "deep".into(),
        log_level: None,
    }
}

fn identity() -> Identity {
    Identity { certificate: "CERT".into(), key: "KEY".into(), authorities: "CA".into() }
}

fn planned(spec: &str) -> Objects {
    plan(&valid(spec), &identity(), &defaults()).unwrap()
}

/// What is planned when the spec finds these.
fn planned_with(spec: &str, referenced: &Referenced) -> Objects {
    plan(&validate(&mirror(spec), referenced).unwrap(), &identity(), &defaults()).unwrap()
}

fn file(objects: &Objects) -> ProxyFile {
    let bytes = &objects.config.data.as_ref().unwrap()["proxy.yaml"].0;
    ProxyFile::parse(std::str::from_utf8(bytes).unwrap()).unwrap()
}

/// The content of an entry of the configuration.
fn entry(objects: &Objects, key: &str) -> String {
    String::from_utf8(objects.config.data.as_ref().unwrap()[key].0.clone()).unwrap()
}

/// The content of a file that the configuration names.
fn named(objects: &Objects, path: Option<&std::path::PathBuf>) -> String {
    let path = path.unwrap().to_str().unwrap();
    entry(objects, path.strip_prefix("/etc/tidepool/").unwrap())
}

fn revision(objects: &Objects) -> String {
    let revision = objects.config.metadata.annotations.as_ref().unwrap()[names::REVISION].clone();
    assert_eq!(file(objects).revision.as_ref(), Some(&revision));
    assert!(revision.len() == 16 && revision.bytes().all(|b| b.is_ascii_hexdigit()), "{revision}");
    revision
}

/// Metadata of all objects, with their kinds.
fn metadata(objects: &Objects) -> Vec<(&'static str, ObjectMeta)> {
    let Objects { config, network_policy, budget, service_account, service, claims, deployments, ingress } =
        objects.clone();
    let mut all = vec![("Secret", config.metadata), ("Service", service.metadata)];
    all.extend([("NetworkPolicy", network_policy.metadata), ("PodDisruptionBudget", budget.metadata)]);
    all.extend(ingress.map(|object| ("Ingress", object.metadata)));
    all.extend(service_account.map(|object| ("ServiceAccount", object.metadata)));
    all.extend(claims.into_iter().map(|object| ("PersistentVolumeClaim", object.metadata)));
    all.extend(deployments.into_iter().map(|object| ("Deployment", object.metadata)));
    all
}

#[test]
fn a_volume_mirror_has_these_objects() {
    let names: Vec<_> =
        metadata(&planned(MINIMAL)).into_iter().map(|(kind, meta)| format!("{kind}/{}", meta.name.unwrap())).collect();
    let wanted = [
        "Secret/mirror-reef-config",
        "Service/mirror-reef",
        "NetworkPolicy/mirror-reef",
        "PodDisruptionBudget/mirror-reef",
        "ServiceAccount/mirror-reef",
        "PersistentVolumeClaim/mirror-reef-0",
        "Deployment/mirror-reef-0",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn an_ephemeral_mirror_has_no_claim_and_rolls_without_a_gap() {
    let objects = planned(&format!("{MINIMAL}\nstorage: {{type: Ephemeral, ephemeral: {{sizeLimit: 10Gi}}}}"));
    assert!(objects.claims.is_empty());
    let deployment = &objects.deployments[0];
    assert_eq!(deployment.metadata.name.as_deref(), Some("mirror-reef-ephemeral"));
    let spec = deployment.spec.as_ref().unwrap();
    assert_eq!(spec.strategy.as_ref().unwrap().type_.as_deref(), Some("RollingUpdate"));
    let volumes = spec.template.spec.as_ref().unwrap().volumes.as_ref().unwrap();
    let limit = volumes.iter().find_map(|volume| volume.empty_dir.as_ref()?.size_limit.clone());
    assert_eq!(limit, Some(Quantity("10Gi".into())));
    assert_eq!(file(&objects).storage.unwrap().limit, Some(ByteSize((10_u64 << 30) / 10 * 9)));
}

#[test]
fn every_object_carries_the_labels_and_the_owner_but_a_retained_claim() {
    for retention in ["Retain", "Delete"] {
        let objects = planned(&format!("{MINIMAL}\nstorage: {{volume: {{retention: {retention}}}}}"));
        for (kind, meta) in metadata(&objects) {
            assert_eq!(meta.namespace.as_deref(), Some("deep"), "{kind}");
            let labels = meta.labels.unwrap();
            for (key, value) in names::labels("reef") {
                assert_eq!(labels.get(&key), Some(&value), "{kind}");
            }
            let kept = kind == "PersistentVolumeClaim" && retention == "Retain";
            let owned = meta.owner_references.is_some_and(|owners| {
                owners.iter().any(|owner| owner.uid == "uid-of-reef" && owner.controller == Some(true))
            });
            assert_eq!(owned, !kept, "{kind}");
        }
    }
}

#[test]
fn selectors_meet_the_pods_they_are_for() {
    let objects = planned(MINIMAL);
    let spec = objects.deployments[0].spec.as_ref().unwrap();
    let labels = spec.template.metadata.as_ref().unwrap().labels.as_ref().unwrap();
    let service = objects.service.spec.as_ref().unwrap().selector.as_ref().unwrap();
    for (key, value) in service.iter().chain(spec.selector.match_labels.as_ref().unwrap()) {
        assert_eq!(labels.get(key), Some(value));
    }
}

#[test]
fn the_configuration_reads_back_and_says_what_the_spec_says() {
    let spec =
        "upstreams: [{registry: docker.io}, {registry: 'reg.io:5000', url: 'http://a.b/c', repositories: ['t/**']}]";
    let file = file(&planned(spec));
    assert_eq!(file.upstreams[1].url.as_ref().unwrap().as_str(), "http://a.b/c");
    assert_eq!(file.upstreams[1].repositories, ["t/**"]);
    assert_eq!(file.storage.as_ref().unwrap().path.as_ref().unwrap().to_str(), Some("/var/lib/tidepool/store"));
    assert_eq!(file.storage.unwrap().limit, Some(ByteSize((50_u64 << 30) / 10 * 9)));
    assert_eq!(file.listen.unwrap().port(), 5000);
}

#[test]
fn how_tags_are_kept_reaches_the_configuration_and_the_defaults_leave_it_as_it_was() {
    let tags = "{revalidateAfter: 10m, serveStaleFor: 168h, immutable: ['v*.*.*'], upstreamGone: Refuse}";
    let file =
        file(&planned(&format!("upstreams: [{{registry: a.io, tags: {tags}}}, {{registry: b.io, tags: {{}}}}]")));
    let said = file.upstreams[0].tags.clone().unwrap();
    assert_eq!(
        (said.revalidate_after.to_string(), said.serve_stale_for.unwrap().to_string()),
        ("10m".into(), "168h".into())
    );
    assert!(said.is_immutable("v1.2.3") && !said.is_immutable("v1"));
    assert_eq!(said.upstream_gone, UpstreamGone::Refuse);
    assert_eq!(file.upstreams[1].tags, None, "members of 0.2.0 know no such key");
}

#[test]
fn pods_meet_the_restricted_standard() {
    let pod = planned(MINIMAL).deployments.remove(0).spec.unwrap().template.spec.unwrap();
    let security = pod.security_context.unwrap();
    assert_eq!(security.run_as_non_root, Some(true));
    assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
    let container = pod.containers[0].security_context.clone().unwrap();
    assert_eq!(container.allow_privilege_escalation, Some(false));
    assert_eq!(container.read_only_root_filesystem, Some(true));
    assert_eq!(container.capabilities.unwrap().drop, Some(vec!["ALL".to_owned()]));
    assert_eq!(pod.automount_service_account_token, Some(false));
}

#[test]
fn pod_settings_reach_the_pod() {
    let spec = format!(
        "{MINIMAL}\nproxy: {{nodeSelector: {{a: b}}, tolerations: [{{operator: Exists}}], priorityClassName: high, serviceAccountName: mine, podAnnotations: {{c: d}}, resources: {{limits: {{memory: 1Gi}}}}}}"
    );
    let objects = planned(&spec);
    assert!(objects.service_account.is_none());
    let template = objects.deployments[0].spec.clone().unwrap().template;
    assert_eq!(template.metadata.unwrap().annotations.unwrap()["c"], "d");
    let pod = template.spec.unwrap();
    assert_eq!(pod.node_selector.unwrap()["a"], "b");
    assert_eq!(pod.tolerations.unwrap().len(), 1);
    assert_eq!(pod.priority_class_name.as_deref(), Some("high"));
    assert_eq!(pod.service_account_name.as_deref(), Some("mine"));
    assert!(pod.containers[0].resources.as_ref().unwrap().requests.is_none());
}

proptest! {
    #[test]
    fn names_and_labels_fit_kubernetes_limits(name in "[a-z]([-a-z0-9]{0,38}[a-z0-9])?", ephemeral: bool) {
        let storage = if ephemeral { "Ephemeral" } else { "Volume" };
        let spec = format!("{MINIMAL}\nstorage: {{type: {storage}}}\ningress: {{host: a.io}}\nproxy: {{replicas: 16}}");
        let mut mirror = mirror(&spec);
        mirror.metadata.name = Some(name);
        let valid = validate(&mirror, &Referenced::default()).unwrap();
        let objects = plan(&valid, &identity(), &defaults()).unwrap();
        prop_assert_eq!(&objects, &plan(&valid, &identity(), &defaults()).unwrap());
        for (_, meta) in metadata(&objects) {
            let name = meta.name.unwrap();
            prop_assert!(name.len() <= 63 && !name.ends_with('-'), "{}", name);
            prop_assert!(meta.labels.unwrap().values().all(|value| value.len() <= 63));
        }
    }

    #[test]
    fn mirrors_of_different_names_share_no_object(one in "[a-b]([-0-1]{0,3}[0-1])?", other in "[a-b]([-0-1]{0,3}[0-1])?") {
        prop_assume!(one != other);
        let names = |name: String| {
            let mut mirror = mirror(&format!("{MINIMAL}\nproxy: {{replicas: 12}}"));
            mirror.metadata.name = Some(name);
            let objects = plan(&validate(&mirror, &Referenced::default()).unwrap(), &identity(), &defaults()).unwrap();
            metadata(&objects).into_iter().map(|(kind, meta)| (kind, meta.name)).collect::<Vec<_>>()
        };
        let (one, other) = (names(one), names(other));
        prop_assert!(one.iter().all(|object| !other.contains(object)));
    }
}
