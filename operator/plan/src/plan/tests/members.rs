//! Several members of one mirror.

use super::*;

const VOLUME: &str = "storage: {type: Volume}";
const EPHEMERAL: &str = "storage: {type: Ephemeral}";

fn with(replicas: i32, storage: &str) -> Objects {
    planned(&format!("{MINIMAL}\n{storage}\nproxy: {{replicas: {replicas}}}"))
}

fn names(objects: &Objects) -> Vec<&str> {
    objects.deployments.iter().filter_map(|deployment| deployment.metadata.name.as_deref()).collect()
}

fn pod(deployment: &Deployment) -> &k8s_openapi::api::core::v1::PodSpec {
    deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap()
}

#[test]
fn each_member_with_a_volume_has_a_deployment_and_a_claim_of_its_own() {
    let objects = with(3, VOLUME);
    let wanted = ["mirror-reef-0", "mirror-reef-1", "mirror-reef-2"];
    assert_eq!(names(&objects), wanted);
    let claims: Vec<_> = objects.claims.iter().map(|claim| claim.metadata.name.as_deref().unwrap()).collect();
    assert_eq!(claims, wanted);
    let mut selectors = Vec::new();
    for (deployment, wanted) in objects.deployments.iter().zip(wanted) {
        let spec = deployment.spec.as_ref().unwrap();
        assert_eq!((spec.replicas, spec.strategy.as_ref().unwrap().type_.as_deref()), (Some(1), Some("Recreate")));
        let volumes = pod(deployment).volumes.as_ref().unwrap();
        let claim = volumes.iter().find_map(|volume| volume.persistent_volume_claim.as_ref()).unwrap();
        assert_eq!(claim.claim_name, wanted);
        selectors.push(spec.selector.match_labels.clone().unwrap());
    }
    selectors.dedup();
    assert_eq!(selectors.len(), 3, "no Deployment takes another's pods");
}

#[test]
fn members_without_volumes_are_replicas_of_one_deployment() {
    let objects = with(3, EPHEMERAL);
    assert_eq!(names(&objects), ["mirror-reef-ephemeral"]);
    assert_eq!(objects.deployments[0].spec.as_ref().unwrap().replicas, Some(3));
}

#[test]
fn one_member_more_or_less_restarts_none() {
    for storage in [VOLUME, EPHEMERAL] {
        let (few, many) = (with(1, storage), with(16, storage));
        assert_eq!(few.config, many.config, "all share one configuration");
        for (one, other) in few.deployments.iter().zip(&many.deployments) {
            let template = |deployment: &Deployment| deployment.spec.clone().unwrap().template;
            assert_eq!(template(one), template(other), "{storage}");
        }
    }
}

#[test]
fn members_are_put_on_different_nodes_unless_the_spec_says_where() {
    let constraint = |deployment: &Deployment| pod(deployment).topology_spread_constraints.clone().unwrap().remove(0);
    for storage in [VOLUME, EPHEMERAL] {
        for deployment in with(2, storage).deployments {
            let spread = constraint(&deployment);
            assert_eq!(
                (spread.topology_key.as_str(), spread.when_unsatisfiable.as_str()),
                ("kubernetes.io/hostname", "ScheduleAnyway")
            );
            let counted = spread.label_selector.unwrap().match_labels.unwrap();
            let template = deployment.spec.unwrap().template.metadata.unwrap().labels.unwrap();
            assert!(counted.iter().all(|(key, value)| template.get(key) == Some(value)), "it counts the members");
            assert!(!counted.contains_key(names::MEMBER_LABEL), "all of them");
        }
    }
    let said = "[{maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}, {maxSkew: 1, topologyKey: rack, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {a: b}}}]";
    let objects = planned(&format!("{MINIMAL}\nproxy: {{replicas: 2, topologySpreadConstraints: {said}}}"));
    let spread = pod(&objects.deployments[0]).topology_spread_constraints.as_ref().unwrap();
    assert_eq!(spread.len(), 2);
    let counted = |n: usize| spread[n].label_selector.clone().unwrap().match_labels.unwrap();
    assert_eq!((counted(0), counted(1)), (names::selector("reef"), [("a".to_owned(), "b".to_owned())].into()));
}

#[test]
fn a_client_of_several_members_stays_with_one() {
    let affinity = |replicas| with(replicas, VOLUME).service.spec.unwrap().session_affinity;
    assert_eq!((affinity(1), affinity(2).as_deref()), (None, Some("ClientIP")));
}
