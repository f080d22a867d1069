//! Real `validate` and `plan` on small specs.

use proptest::prelude::*;
use tidepool_config::ProxyFile;

use super::*;
use crate::{
    Referenced, Source,
    testing::{MINIMAL, PEM, mirror, valid},
    validate,
};

fn defaults() -> Defaults {
    Defaults { image: "reg.io/tidepool:1".into(), pull_policy: "IfNotPresent".into(), namespace: "deep".into() }
}

fn planned(spec: &str) -> Objects {
    plan(&valid(spec), &defaults()).unwrap()
}

fn file(objects: &Objects) -> ProxyFile {
    let bytes = &objects.config.data.as_ref().unwrap()["proxy.yaml"].0;
    ProxyFile::parse(std::str::from_utf8(bytes).unwrap()).unwrap()
}

fn config_hash(objects: &Objects) -> String {
    let template = &objects.deployments[0].spec.as_ref().unwrap().template;
    template.metadata.as_ref().unwrap().annotations.as_ref().unwrap()[names::CONFIG_HASH].clone()
}

/// Metadata of all objects, with their kinds.
fn metadata(objects: &Objects) -> Vec<(&'static str, ObjectMeta)> {
    let Objects { config, service_account, service, claims, deployments } = objects.clone();
    let mut all = vec![("Secret", config.metadata), ("Service", service.metadata)];
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
fn certificates_are_mounted_where_the_configuration_looks_and_new_ones_restart_the_pod() {
    let with = |text: &str| {
        let source = Source { data: [("ca.crt".to_owned(), text.into())].into(), ours: false };
        let sources = [((tidepool_api::CaKind::ConfigMap, "ca".to_owned()), source)].into();
        let mirror = mirror("upstreams: [{registry: 'reg.io:5000', tls: {caRef: {name: ca}}}]");
        plan(&validate(&mirror, &Referenced { sources, ..Referenced::default() }).unwrap(), &defaults()).unwrap()
    };
    let objects = with(PEM);
    let ca_file = file(&objects).upstreams[0].tls.clone().unwrap().ca_file.unwrap();
    let pod = objects.deployments[0].spec.as_ref().unwrap().template.spec.clone().unwrap();
    let mount = pod.containers[0].volume_mounts.as_ref().unwrap().iter().find(|mount| mount.name == "ca").unwrap();
    let projected = pod.volumes.unwrap().into_iter().find_map(|volume| volume.projected).unwrap();
    let item = projected.sources.unwrap()[0].config_map.clone().unwrap().items.unwrap().remove(0);
    assert_eq!(ca_file.to_str().unwrap(), format!("{}/{}", mount.mount_path, item.path));
    assert_eq!(item.key, "ca.crt");
    assert_ne!(config_hash(&objects), config_hash(&with(&PEM.repeat(2))));
}

#[test]
fn a_change_of_the_configuration_restarts_the_pod_and_nothing_else_does() {
    let base = config_hash(&planned(MINIMAL));
    assert_eq!(base, config_hash(&planned(&format!("{MINIMAL}\nnodes: {{mode: Withdraw}}"))));
    assert_ne!(base, config_hash(&planned("upstreams: [{registry: docker.io}]")));
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
fn pod_settings_reach_the_pod_and_our_annotation_wins() {
    let spec = format!(
        "{MINIMAL}\nproxy: {{nodeSelector: {{a: b}}, tolerations: [{{operator: Exists}}], priorityClassName: high, serviceAccountName: mine, podAnnotations: {{c: d, tidepool.dev/config-hash: e}}, resources: {{limits: {{memory: 1Gi}}}}}}"
    );
    let objects = planned(&spec);
    assert!(objects.service_account.is_none());
    let hash = config_hash(&objects);
    assert_ne!(hash, "e");
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
        let mut mirror = mirror(&format!("{MINIMAL}\nstorage: {{type: {storage}}}"));
        mirror.metadata.name = Some(name);
        let objects = plan(&validate(&mirror, &Referenced::default()).unwrap(), &defaults()).unwrap();
        for (_, meta) in metadata(&objects) {
            let name = meta.name.unwrap();
            prop_assert!(name.len() <= 63 && !name.ends_with('-'), "{}", name);
            prop_assert!(meta.labels.unwrap().values().all(|value| value.len() <= 63));
        }
    }

    #[test]
    fn mirrors_of_different_names_share_no_object(one in "[a-z][-a-z0-9]{0,8}[a-z0-9]", other in "[a-z][-a-z0-9]{0,8}[a-z0-9]") {
        prop_assume!(one != other);
        let names = |name: String| {
            let mut mirror = mirror(MINIMAL);
            mirror.metadata.name = Some(name);
            let objects = plan(&validate(&mirror, &Referenced::default()).unwrap(), &defaults()).unwrap();
            metadata(&objects).into_iter().map(|(kind, meta)| (kind, meta.name)).collect::<Vec<_>>()
        };
        let (one, other) = (names(one), names(other));
        prop_assert!(one.iter().all(|object| !other.contains(object)));
    }
}
