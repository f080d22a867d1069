//! What is said of a node without an agent, when, and how it is taken back.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;

fn node(name: &str, status: &Value) -> MirrorNode {
    serde_json::from_value(json!({
        "apiVersion": "tidepool.dev/v1alpha1", "kind": "MirrorNode", "metadata": {"name": name}, "spec": {}, "status": status,
    }))
    .unwrap()
}

fn ready(status: &str, reason: &str, message: &str) -> Value {
    let time = "2026-01-01T00:00:00Z";
    json!({"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": time})
}

/// A node whose agent said this, with one mirror in this state.
fn reported(ready: &Value, state: &str) -> MirrorNode {
    let mirror = json!({"name": "m", "uid": "u", "state": state, "reason": "NoMember", "message": "wait"});
    node("n", &json!({"conditions": [ready], "mirrors": [mirror]}))
}

fn active() -> MirrorNode {
    reported(&ready("True", "Configured", ""), "Active")
}

/// The node as it is once this was said of it.
fn told(word: &Word) -> MirrorNode {
    reported(&ready(&word.status, &word.reason, &word.message), "Active")
}

fn pod(status: &Value) -> AgentPod {
    let object = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": []}, "status": status});
    AgentPod::of(&serde_json::from_value::<Pod>(object).unwrap()).unwrap()
}

/// A pod whose container is so; `is_ready` is what the kubelet says of it.
fn with_container(state: &Value, is_ready: bool, restarts: u32) -> AgentPod {
    let container = json!({"name": "agent", "image": "i", "imageID": "", "ready": is_ready, "restartCount": restarts, "state": state});
    pod(&json!({"conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [container]}))
}

fn waiting(reason: &str, message: &str) -> AgentPod {
    with_container(&json!({"waiting": {"reason": reason, "message": message}}), false, 0)
}

fn not_ready(restarts: u32) -> AgentPod {
    with_container(&json!({"running": {}}), false, restarts)
}

/// A pod whose kubelet is away.
fn unknown() -> AgentPod {
    with_container(&json!({"running": {}}), true, 0)
}

fn running() -> AgentPod {
    pod(&json!({"conditions": [{"type": "Ready", "status": "True"}]}))
}

/// What is said of one node at a second.
fn said(node: &MirrorNode, pods: &[AgentPod], known: &mut Absences, at: u64) -> Option<Word> {
    let pods: Vec<_> = pods.iter().collect();
    let (mut words, _) = absences(&[node], &pods, known, Duration::from_secs(at));
    assert!(words.len() < 2);
    words.pop()
}

/// What is said of one node whose agent has been like this for long.
fn of(pods: &[AgentPod]) -> String {
    let mut known = Absences::default();
    assert_eq!(said(&active(), pods, &mut known, 0), None);
    let word = said(&active(), pods, &mut known, 60).unwrap();
    assert_eq!((word.status.as_str(), word.reason.as_str()), ("Unknown", "AgentNotReady"));
    word.message
}

#[test]
fn n5_a_node_without_an_agent_says_why_and_what_to_do() {
    let why = of(&[]);
    assert!(why.contains("agent.nodeSelector") && why.ends_with("pulls go to the registries meanwhile"), "{why}");
    assert!(why.contains("tidepool.dev/exclude=true"), "{why}");
    let why = of(&[waiting("ErrImagePull", "no such host")]);
    assert!(why.contains("imagePullSecrets") && why.ends_with("says: ErrImagePull: no such host"), "{why}");
    let ended = json!({"terminated": {"exitCode": 2, "reason": "Error"}});
    assert!(of(&[waiting("CrashLoopBackOff", "")]).contains("kubectl logs --previous"));
    assert!(of(&[with_container(&ended, false, 0)]).ends_with("says: Error: exit code 2"));
    for long_ago in [0, 1] {
        assert!(of(&[not_ready(long_ago)]).contains("not ready"));
    }
    assert!(of(&[waiting("ContainerCreating", "")]).contains("does not start"));
    let silent = with_container(&json!({"running": {}}), true, 3);
    let why = of(std::slice::from_ref(&silent));
    assert!(why.contains("kubelet") && !why.contains("meanwhile"), "nobody knows: {why}");
    let next = [pod(&json!({"phase": "Pending"})), waiting("ErrImagePull", "")];
    for next in next {
        assert!(of(&[silent.clone(), next]).contains("kubelet"), "who replaces it cannot start there either");
    }
}

#[test]
fn n5_a_pod_that_is_not_scheduled_speaks_for_the_node_that_it_was_made_for() {
    let terms = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]);
    let only = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    let scheduled = json!({"type": "PodScheduled", "status": "False", "message": "Insufficient cpu"});
    let mut object = json!({
        "metadata": {"name": "p"}, "spec": {"containers": [], "affinity": {"nodeAffinity": only}},
        "status": {"phase": "Pending", "conditions": [scheduled]},
    });
    let read = |object: &Value| AgentPod::of(&serde_json::from_value::<Pod>(object.clone()).unwrap());
    let why = of(&[read(&object).unwrap()]);
    assert!(why.contains("priorityClassName") && why.ends_with("Insufficient cpu"), "{why}");
    object["spec"]["affinity"] = Value::Null;
    assert_eq!(read(&object), None);
}

#[test]
fn n5_a_restart_of_agent_or_operator_is_no_news_and_neither_is_an_upgrade() {
    let mut known = Absences::default();
    assert_eq!(said(&active(), &[], &mut known, 0), None);
    assert_eq!(said(&active(), &[], &mut known, 59), None);
    assert_eq!(said(&active(), &[running()], &mut known, 60), None);
    assert_eq!(said(&active(), &[], &mut known, 61), None, "it counts from the beginning again");
    let surge = [waiting("ImagePullBackOff", ""), running()];
    assert_eq!(said(&active(), &surge, &mut known, 500), None, "the old one is there until the new one is ready");
    assert_eq!(said(&active(), &surge, &mut known, 5000), None);
}

#[test]
fn n5_it_is_said_once_and_anew_only_when_another_reason_has_lasted() {
    let mut known = Absences::default();
    said(&active(), &[waiting("ErrImagePull", "a")], &mut known, 0);
    let word = said(&active(), &[waiting("ErrImagePull", "a")], &mut known, 60).unwrap();
    let told = told(&word);
    for at in [61, 200, 5000] {
        assert_eq!(said(&told, &[waiting("ImagePullBackOff", "b")], &mut known, at), None, "other words");
    }
    assert_eq!(said(&told, &[], &mut known, 5001), None);
    assert_eq!(said(&told, &[], &mut known, 5060), None);
    assert_eq!(said(&told, &[waiting("ErrImagePull", "a")], &mut known, 5061), None);
    assert_eq!(said(&told, &[], &mut known, 5062), None);
    assert!(said(&told, &[], &mut known, 5122).unwrap().message.contains("no agent's pod"));
    // A process that takes over.
    assert_eq!(said(&told, &[waiting("ImagePullBackOff", "c")], &mut Absences::default(), 0), None);
}

#[test]
fn n5_an_agent_that_went_on_all_the_time_is_repeated_and_one_that_begins_anew_says_so_itself() {
    let before = reported(&ready("False", "DocumentUnreadable", "bring them to one release"), "Active");
    for (pod, repeated) in [(unknown(), true), (waiting("CrashLoopBackOff", ""), false)] {
        let mut known = Absences::default();
        said(&before, std::slice::from_ref(&pod), &mut known, 0);
        let told = told(&said(&before, &[pod], &mut known, 60).unwrap());
        assert_eq!(said(&told, &[running()], &mut known, 100), None, "it may say so itself");
        assert_eq!(said(&told, &[running()], &mut known, 249), None);
        let word = said(&told, &[running()], &mut known, 250);
        let words = word.as_ref().map(|word| (word.status.as_str(), word.reason.as_str(), word.message.as_str()));
        assert_eq!(words, repeated.then_some(("False", "DocumentUnreadable", "bring them to one release")));
        assert_eq!(said(&active(), &[running()], &mut known, 251), None, "the agent was first");
        // A process that takes over does not know, and asserts nothing.
        let mut other = Absences::default();
        assert_eq!(said(&told, &[running()], &mut other, 0), None);
        assert_eq!(said(&told, &[running()], &mut other, 5000), None);
    }
}

#[test]
fn n5_an_agent_that_runs_and_says_what_is_wrong_is_not_talked_over() {
    let taken = reported(&ready("False", "ListenerFailed", "free the port"), "Pending");
    let mut known = Absences::default();
    for at in [0, 60, 5000] {
        assert_eq!(said(&taken, &[not_ready(0)], &mut known, at), None);
    }
    assert_eq!(said(&taken, &[waiting("CrashLoopBackOff", "")], &mut known, 5001), None);
    assert!(said(&taken, &[waiting("CrashLoopBackOff", "")], &mut known, 5061).is_some(), "it runs no more");
}

#[test]
fn n5_what_the_last_agent_said_when_it_was_taken_away_is_not_said_by_the_next() {
    let stopped = reported(&ready("False", "AgentStopped", ""), "Active");
    let mut known = Absences::default();
    assert_eq!(said(&stopped, &[not_ready(0)], &mut known, 0), None);
    assert!(said(&stopped, &[not_ready(0)], &mut known, 60).is_some());
}

#[test]
fn n5_an_agent_that_reports_before_each_of_its_ends_silences_nobody() {
    let (mut known, mut object, mut silent) = (Absences::default(), active(), 0);
    for at in 0..24 * 3600 {
        // It is started every five minutes, says that all is well, and ends.
        let pod = if at % 300 < 5 { not_ready(9) } else { waiting("CrashLoopBackOff", "") };
        if at % 300 == 4 {
            object = active();
        }
        if let Some(word) = said(&object, &[pod], &mut known, at) {
            assert!(word.message.contains("ends again"), "{}", word.message);
            object = told(&word);
        }
        silent += u32::from(object == active());
    }
    assert!(silent < 24 * 3600 / 4, "{silent} s of a day");
}

#[test]
fn n5_patience_with_one_whose_kubelet_is_away_ends_where_there_is_another_reason() {
    let mut known = Absences::default();
    for at in 0..4 * 3600 {
        if let Some(word) = said(&active(), &[unknown()], &mut known, at) {
            said(&told(&word), &[unknown()], &mut known, at);
        }
    }
    assert_eq!(said(&active(), &[waiting("ErrImagePull", "")], &mut known, 4 * 3600), None);
    assert!(said(&active(), &[waiting("ErrImagePull", "")], &mut known, 4 * 3600 + 60).is_some());
}

#[test]
fn n5_a_node_that_cannot_be_written_is_left_alone_longer_each_time_and_stops_no_other() {
    let bad: Vec<_> = (0..AT_ONCE).map(|number| node(&format!("a{number}"), &json!({}))).collect();
    let good = node("b", &json!({}));
    let nodes: Vec<_> = bad.iter().chain([&good]).collect();
    let (mut known, mut tries, mut at_good) = (Absences::default(), 0, None);
    for at in 0..3600 {
        let (words, _) = absences(&nodes, &[], &mut known, Duration::from_secs(at));
        tries += words.iter().filter(|word| word.node == "a0").count();
        at_good = at_good.or(words.iter().any(|word| word.node == "b").then_some(at));
    }
    assert_eq!(at_good, Some(60 + PAUSE.as_secs()));
    assert!((5..=10).contains(&tries), "{tries} times in an hour");
}

#[test]
fn n5_a_node_whose_agent_never_spoke_says_why_and_waits_for_its_first_report() {
    let mut known = Absences::default();
    let new = node("n", &Value::Null);
    said(&new, &[waiting("ImagePullBackOff", "")], &mut known, 0);
    let word = said(&new, &[waiting("ImagePullBackOff", "")], &mut known, 60).unwrap();
    let told = node("n", &json!({"conditions": [ready(&word.status, &word.reason, &word.message)]}));
    assert_eq!(said(&told, &[running()], &mut known, 1000), None);
    assert_eq!(said(&told, &[running()], &mut known, 2000), None);
}

#[test]
fn n5_two_that_say_otherwise_do_not_write_by_turns_all_day() {
    let (mut known, mut words, mut object) = (Absences::default(), 0, active());
    let unknown = [unknown()];
    for at in 0..24 * 3600 {
        if let Some(word) = said(&object, &unknown, &mut known, at) {
            (words, object) = (words + 1, told(&word));
        }
        // The agent, which lives, reads its object again.
        if at % 480 == 0 {
            object = active();
        }
    }
    assert!((5..=12).contains(&words), "{words} times in a day");
}

#[test]
fn n5_an_agent_that_was_taken_away_for_good_has_said_so() {
    let stopped = reported(&ready("False", "AgentStopped", ""), "Active");
    let mut known = Absences::default();
    assert_eq!(said(&stopped, &[], &mut known, 0), None);
    assert_eq!(said(&stopped, &[], &mut known, 3600), None);
    assert_eq!(said(&stopped, &[waiting("ImagePullBackOff", "")], &mut known, 3601), None);
    assert!(said(&stopped, &[waiting("ImagePullBackOff", "")], &mut known, 3661).is_some(), "it was to come back");
}

#[test]
fn n5_a_cluster_without_power_is_written_in_small_steps() {
    let nodes: Vec<_> = (0..5000).map(|number| node(&format!("n{number}"), &json!({}))).collect();
    let nodes: Vec<_> = nodes.iter().collect();
    let mut known = Absences::default();
    assert_eq!(absences(&nodes, &[], &mut known, Duration::ZERO), (Vec::new(), GRACE));
    let (words, next) = absences(&nodes, &[], &mut known, GRACE);
    assert_eq!((words.len(), next), (AT_ONCE, PAUSE));
    // Each write rings.
    let (mut all, mut at) = (words.len(), GRACE);
    for _ in 0..100 {
        at += Duration::from_millis(100);
        all += absences(&nodes, &[], &mut known, at).0.len();
    }
    assert_eq!(all, 6 * AT_ONCE, "ten a second");
}
