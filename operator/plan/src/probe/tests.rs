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
        Act::End { now, .. } => if *now { "remove" } else { "end" }.to_owned(),
        Act::Say(_, saying) => format!("{}/{}", saying.status, saying.reason),
    };
    acts.iter().map(word).collect()
}

#[test]
fn n5_a_node_that_nobody_knows_of_is_probed_and_said_to_be() {
    for honored in [None, Some(("Unknown", "Unproven"))] {
        let got = acts(&node("n", honored), &[], &mut Trials::default(), 0);
        assert_eq!(got, ["start", "Unknown/Probing"], "{honored:?}");
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
    assert_eq!(
        super::tests::acts(&node, &failed, &mut trials, 29),
        ["Unknown/Probing"],
        "from when it was seen to fail"
    );
    let (acts, _) = probes(&[&node], &failed, &mut trials, seconds(30), 5);
    let [Act::Say(_, saying), Act::End { .. }] = acts.as_slice() else { panic!("{acts:?}") };
    assert_eq!((saying.status, saying.reason), ("False", "NotHonored"));
    assert!(saying.message.contains("set it to /a alone") && saying.message.contains("no such host"), "{saying:?}");
}

#[test]
fn n5_a_kubelet_that_does_nothing_and_a_pod_that_is_refused_say_nothing_of_the_runtime() {
    let mut trials = Trials::default();
    let node = node("n", None);
    let _ = acts(&node, &[], &mut trials, 0);
    assert_eq!(acts(&node, &[pod("n", Outcome::Waiting)], &mut trials, 89), ["Unknown/Probing"]);
    assert_eq!(acts(&node, &[pod("n", Outcome::Waiting)], &mut trials, 90), ["Unknown/ProbeFailed", "remove"]);
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
    let (acts, _) = probes(&all, &ending, &mut trials, seconds(61), 5);
    assert_eq!(started(&acts), 5, "dead nodes hold nobody up");
    assert!(acts.iter().any(|act| matches!(act, Act::End { now: true, node, .. } if node == "n0")), "{acts:?}");
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
fn n5_a_take_over_waits_for_the_verdict_of_a_probe_that_is_over() {
    let (mut trials, probing) = (Trials::default(), node("n", Some(("Unknown", "Probing"))));
    let (waiting, next) = probes(&[&probing], &[], &mut trials, seconds(0), 5);
    assert_eq!((waiting, next), (Vec::new(), seconds(60)), "the agent's report may be on its way");
    assert!(acts(&probing, &[], &mut trials, 59).is_empty());
    assert_eq!(acts(&probing, &[], &mut trials, 60)[0], "start", "and nobody ever says so if it is not");
}

#[test]
fn n5_who_was_never_probed_comes_before_who_was() {
    let nodes = [node("a", Some(("False", "NotHonored"))), node("b", Some(("Unknown", "Unproven"))), node("c", None)];
    let all: Vec<&MirrorNode> = nodes.iter().collect();
    let mut trials = Trials::default();
    let mut first = |nodes: &[&MirrorNode], at| {
        let (acts, _) = probes(nodes, &[], &mut trials, seconds(at), 1);
        acts.iter().find_map(|act| matches!(act, Act::Start(_)).then(|| act.node().to_owned()))
    };
    assert_eq!(first(&all[..2], 0).as_deref(), Some("b"));
    assert_eq!(first(&all, 601).as_deref(), Some("c"), "a and b are due, too");
    assert_eq!(first(&all, 602).as_deref(), Some("a"));
}

#[test]
fn n5_a_probe_that_came_to_nothing_leaves_a_verdict_and_is_soon_repeated() {
    let mut trials = Trials::default();
    let refused = [pod("n", Outcome::Refused("quota".to_owned()))];
    assert_eq!(acts(&node("n", Some(("False", "NotHonored"))), &refused, &mut trials, 0), ["end"]);
    let failed = node("n", Some(("Unknown", "ProbeFailed")));
    let mut began = Vec::new();
    for at in (0..86_400).step_by(60) {
        if !acts(&failed, &[], &mut trials, at).is_empty() {
            began.push(at);
        }
    }
    let pauses = began.windows(2).map(|pair| pair[1] - pair[0]);
    assert_eq!((began.first(), pauses.max()), (Some(&600), Some(3600)));
}

#[test]
fn n5_the_same_verdict_in_other_words_is_not_written_again() {
    let mut node = node("n", None);
    let failed = |why: &str| [pod("n", Outcome::PullFailed(why.to_owned()))];
    let mut trials = Trials::default();
    let _ = acts(&node, &failed("dial from port 1"), &mut trials, 0);
    let (said, _) = probes(&[&node], &failed("dial from port 1"), &mut trials, seconds(20), 5);
    let [Act::Say(_, saying), _] = said.as_slice() else { panic!("{said:?}") };
    let known = json!({"type": "Honored", "status": saying.status, "reason": saying.reason, "message": saying.message, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    node.status.as_mut().unwrap().conditions.push(serde_json::from_value(known).unwrap());
    assert_eq!(acts(&node, &failed("dial from port 2"), &mut trials, 21), ["end"]);
    node.status.as_mut().unwrap().runtime.as_mut().unwrap().advice = Some("another advice".to_owned());
    assert_eq!(acts(&node, &failed("dial from port 2"), &mut trials, 22), ["False/NotHonored", "end"]);
}

#[test]
fn n5_probing_is_not_said_for_ever_of_a_node_that_is_probed_no_more() {
    let mut idle = node("n", Some(("Unknown", "Probing")));
    idle.status.as_mut().unwrap().mirrors.clear();
    assert_eq!(acts(&idle, &[pod("n", Outcome::Waiting)], &mut Trials::default(), 0), ["Unknown/ProbeFailed", "end"]);
    assert_eq!(acts(&idle, &[], &mut Trials::default(), 0), ["Unknown/ProbeFailed"]);
    let node = node("n", Some(("Unknown", "Probing")));
    let (off, _) = probes(&[&node], &[], &mut Trials::default(), seconds(0), 0);
    assert!(matches!(off.as_slice(), [Act::Say(_, saying)] if saying.reason == "ProbeFailed"), "{off:?}");
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
fn n5_a_node_that_was_proven_and_is_doubted_again_is_probed_after_a_minute() {
    let mut trials = Trials::default();
    assert_eq!(acts(&node("n", None), &[], &mut trials, 0)[0], "start");
    for known in [("True", "ProbeSeen"), ("False", "RuntimeNotConfigured")] {
        assert!(acts(&node("n", Some(known)), &[], &mut trials, 10).is_empty());
    }
    let doubted = node("n", Some(("Unknown", "Unproven")));
    assert!(acts(&doubted, &[], &mut trials, 59).is_empty());
    assert_eq!(acts(&doubted, &[], &mut trials, 60)[0], "start");
}

#[test]
fn n5_a_pod_whose_node_is_gone_or_that_another_process_left_is_ended() {
    let mut trials = Trials::default();
    let (acts, _) = probes(&[], &[pod("gone", Outcome::Waiting)], &mut trials, seconds(0), 5);
    assert_eq!(acts, [Act::End { node: "gone".to_owned(), pod: probe_pod_name("gone"), now: false }]);
    let node = node("n", Some(("Unknown", "Probing")));
    let left = [pod("n", Outcome::Waiting)];
    let ends = |trials: &mut Trials, at| super::tests::acts(&node, &left, trials, at).contains(&"remove".to_owned());
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
