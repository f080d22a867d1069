//! Who is probed when, and what is said of it.

use serde_json::json;

use super::*;

/// A node whose files are in place; `honored` is status and reason.
fn node(name: &str, honored: Option<(&str, &str)>) -> MirrorNode {
    let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let mut conditions = vec![condition("Ready", "True", "Configured")];
    conditions.extend(honored.map(|(status, reason)| condition("Honored", status, reason)));
    let mirror = json!({"name": "m", "uid": "u", "state": "Active", "reason": "Serving"});
    let runtime = json!({"name": "containerd", "version": "2.4.2", "configuration": "Configured"});
    let object = json!({
        "apiVersion": "tidepool.dev/v1alpha1", "kind": "MirrorNode", "metadata": {"name": name, "uid": "n"}, "spec": {},
        "status": {"conditions": conditions, "mirrors": [mirror], "runtime": runtime},
    });
    serde_json::from_value(object).unwrap()
}

fn pod(node: &str, outcome: Outcome) -> ProbePod {
    ProbePod { name: probe_pod_name(node), node: node.to_owned(), ending: false, outcome }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What is done of one node, as words: `start`, `end`, and the reason that is said.
fn acts(node: &MirrorNode, pods: &[ProbePod], trials: &mut Trials, at: u64) -> Vec<String> {
    let (acts, _) = probes(&[node], pods, trials, seconds(at), 5);
    let word = |act: &Act| match act {
        Act::Start(_) => "start".to_owned(),
        Act::End(_) => "end".to_owned(),
        Act::Say(_, saying) => format!("{}/{}", saying.status, saying.reason),
    };
    acts.iter().map(word).collect()
}

#[test]
fn n5_a_node_that_nobody_knows_of_is_probed_and_said_to_be() {
    for honored in [None, Some(("Unknown", "Unproven")), Some(("Unknown", "Probing"))] {
        let said: &[&str] =
            if honored == Some(("Unknown", "Probing")) { &["start"] } else { &["start", "Unknown/Probing"] };
        // Where it says so already, the words may differ.
        let got = acts(&node("n", honored), &[], &mut Trials::default(), 0);
        assert_eq!(got.first().map(String::as_str), said.first().copied(), "{honored:?}");
    }
    for known in [("True", "PullSeen"), ("False", "RuntimeNotConfigured"), ("Unknown", "NativeConfiguration")] {
        assert!(acts(&node("n", Some(known)), &[], &mut Trials::default(), 0).is_empty(), "{known:?}");
    }
    let mut idle = node("n", None);
    idle.status.as_mut().unwrap().mirrors.clear();
    assert!(acts(&idle, &[], &mut Trials::default(), 0).is_empty(), "no file is there to prove");
    let mut bypassing = node("n", None);
    bypassing.status.as_mut().unwrap().conditions[0].status = "False".to_owned();
    assert!(acts(&bypassing, &[], &mut Trials::default(), 0).is_empty());
}

#[test]
fn n5_the_pod_goes_when_the_agent_has_said_so_or_the_image_came() {
    let mut trials = Trials::default();
    let proven = node("n", Some(("True", "ProbeSeen")));
    assert_eq!(acts(&proven, &[pod("n", Outcome::Pulled)], &mut trials, 1), ["end"]);
    let probing = node("n", Some(("Unknown", "Probing")));
    assert_eq!(
        acts(&probing, &[pod("n", Outcome::Pulled)], &mut trials, 1),
        ["end"],
        "the agent's report is on its way"
    );
    assert!(acts(&probing, &[], &mut trials, 30).is_empty(), "and no second pod meanwhile");
}

#[test]
fn n5_a_pull_that_went_past_the_agent_is_said_with_the_remedy_once_it_failed_twice() {
    let mut trials = Trials::default();
    let mut node = node("n", None);
    assert_eq!(acts(&node, &[], &mut trials, 0), ["start", "Unknown/Probing"]);
    let failed = [pod("n", Outcome::PullFailed("no such host".to_owned()))];
    assert_eq!(acts(&node, &failed, &mut trials, 10), ["Unknown/Probing"], "the agent may have been away");
    node.status.as_mut().unwrap().runtime.as_mut().unwrap().advice = Some("set it to /a alone".to_owned());
    let (acts, _) = probes(&[&node], &failed, &mut trials, seconds(25), 5);
    let [Act::Say(_, saying), Act::End(_)] = acts.as_slice() else { panic!("{acts:?}") };
    assert_eq!((saying.status, saying.reason), ("False", "NotHonored"));
    assert!(saying.message.contains("set it to /a alone") && saying.message.contains("no such host"), "{saying:?}");
}

#[test]
fn n5_a_kubelet_that_does_nothing_and_a_pod_that_is_refused_say_nothing_of_the_runtime() {
    let mut trials = Trials::default();
    let node = node("n", None);
    let _ = acts(&node, &[], &mut trials, 0);
    assert_eq!(acts(&node, &[pod("n", Outcome::Waiting)], &mut trials, 89), ["Unknown/Probing"]);
    assert_eq!(acts(&node, &[pod("n", Outcome::Waiting)], &mut trials, 90), ["Unknown/ProbeFailed", "end"]);
    let refused = pod("n", Outcome::Refused("OutOfpods".to_owned()));
    assert_eq!(acts(&node, &[refused], &mut trials, 1), ["Unknown/ProbeFailed", "end"]);
}

#[test]
fn n5_probes_are_few_at_once_and_ever_more_seldom_and_a_switch_stops_them() {
    let nodes: Vec<_> = (0..20).map(|n| node(&format!("n{n}"), None)).collect();
    let all: Vec<&MirrorNode> = nodes.iter().collect();
    let started = |acts: &[Act]| acts.iter().filter(|act| matches!(act, Act::Start(_))).count();
    let mut trials = Trials::default();
    let (acts, _) = probes(&all, &[], &mut trials, seconds(0), 5);
    assert_eq!(started(&acts), 5);
    let pods: Vec<_> = (0..5).map(|n| pod(&format!("n{n}"), Outcome::Waiting)).collect();
    assert_eq!(started(&probes(&all, &pods, &mut trials, seconds(1), 5).0), 0);
    let ending: Vec<_> = pods.into_iter().map(|pod| ProbePod { ending: true, ..pod }).collect();
    assert_eq!(started(&probes(&all, &ending, &mut trials, seconds(1), 5).0), 0, "they are there still");
    assert_eq!(started(&probes(&all, &[], &mut Trials::default(), seconds(0), 0).0), 0);

    let judged = node("n", Some(("False", "NotHonored")));
    let mut trials = Trials::default();
    let mut began = Vec::new();
    for at in (0..86_400).step_by(60) {
        if !super::tests::acts(&judged, &[], &mut trials, at).is_empty() {
            began.push(at);
        }
    }
    assert_eq!(began[..3], [600, 1800, 4200], "a take-over asks nobody at once, and the pauses double");
    assert!(began.len() <= 9, "{began:?}");
}

#[test]
fn n5_another_configuration_is_probed_anew_and_what_was_said_stands_meanwhile() {
    let mut judged = node("n", Some(("False", "NotHonored")));
    let mut trials = Trials::default();
    assert!(acts(&judged, &[], &mut trials, 0).is_empty());
    judged.status.as_mut().unwrap().runtime.as_mut().unwrap().version = "2.5.0".to_owned();
    assert!(acts(&judged, &[], &mut trials, 30).is_empty(), "not at every blink");
    assert_eq!(acts(&judged, &[], &mut trials, 60), ["start"]);
}

#[test]
fn n5_a_pod_whose_node_is_gone_or_that_another_process_left_is_ended() {
    let mut trials = Trials::default();
    let (acts, _) = probes(&[], &[pod("gone", Outcome::Waiting)], &mut trials, seconds(0), 5);
    assert_eq!(acts, [Act::End(probe_pod_name("gone"))]);
    let node = node("n", Some(("Unknown", "Probing")));
    let left = [pod("n", Outcome::Waiting)];
    let ends = |trials: &mut Trials, at| super::tests::acts(&node, &left, trials, at).contains(&"end".to_owned());
    assert!(!ends(&mut trials, 1000), "it has its time from when it is first seen");
    assert!(ends(&mut trials, 1090));
}

#[test]
fn n5_a_pods_status_is_read() {
    let of = |status: serde_json::Value| {
        Outcome::of(&serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap())
    };
    let waiting = |reason: &str| {
        let state = json!({"waiting": {"reason": reason, "message": "m"}});
        json!({"phase": "Pending", "containerStatuses": [{"name": "probe", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]})
    };
    assert_eq!(of(json!({})), Outcome::Waiting);
    assert_eq!(of(waiting("ContainerCreating")), Outcome::Waiting);
    assert_eq!(of(waiting("ErrImagePull")), Outcome::PullFailed("m".to_owned()));
    assert_eq!(of(waiting("ImagePullBackOff")), Outcome::PullFailed("m".to_owned()));
    assert_eq!(of(waiting("CreateContainerError")), Outcome::Pulled);
    assert_eq!(of(json!({"phase": "Succeeded"})), Outcome::Pulled);
    let refused = of(json!({"phase": "Failed", "reason": "OutOfpods", "message": "full"}));
    assert_eq!(refused, Outcome::Refused("OutOfpods: full".to_owned()));
}

#[test]
fn n5_the_pod_is_restricted_and_has_nothing_of_anybodys() {
    let pod = serde_json::to_value(probe_pod(&node("n", None), "system")).unwrap();
    let spec = &pod["spec"];
    assert_eq!((&spec["nodeName"], &spec["automountServiceAccountToken"]), (&json!("n"), &json!(false)));
    assert_eq!(spec["tolerations"], json!([{"operator": "Exists"}]));
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    assert_eq!(spec["containers"][0]["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(spec["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(spec["containers"][0]["image"], "probe.tidepool.invalid/node:probe");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "n");
    let long = "a".repeat(253);
    assert!(probe_pod_name(&long).len() <= 63 && probe_pod_name("a") != probe_pod_name("b"));
}
