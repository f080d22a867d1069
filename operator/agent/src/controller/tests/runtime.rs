//! What the runtime and its configuration make of it, and proof that it pulls through here.

use super::*;

/// Condition Honored: status and reason, where there is one.
fn honored(rig: &Rig) -> Option<(String, String)> {
    let report = rig.report.borrow().clone()?;
    let status = report.status(&MirrorNode::default(), jiff::Timestamp::now());
    let found = status.conditions.into_iter().find(|condition| condition.type_ == "Honored")?;
    Some((found.status, found.reason))
}

#[tokio::test]
async fn a_runtime_that_reads_no_hosts_toml_gets_none() {
    let mut rig = Rig::in_place().await;
    let crio = NodeFacts { runtime: RuntimeVersion::parse("cri-o://1.36.0"), ..NodeFacts::default() };
    rig.node.send_replace(Some(crio));
    rig.step().await;
    assert!(!rig.has_file());
    assert_eq!(rig.reason().unwrap(), "RuntimeUnsupported");
}

#[tokio::test]
async fn a_configuration_without_config_path_is_reported_until_a_pull_proves_it_wrong() {
    let rig = Rig::new(Last::default());
    fs::write(rig.temp.path().join("config.toml"), "version = 2\n").unwrap();
    let old = NodeFacts { runtime: RuntimeVersion::parse("containerd://1.7.34"), ..NodeFacts::default() };
    rig.node.send_replace(Some(old));
    rig.document.send_replace(Document::remembered(Some(one_mirror())));
    rig.reach(Reach::Up);
    let mut rig = rig;
    rig.step().await;
    assert!(rig.has_file(), "harmless, and ready for when it is configured");
    assert_eq!(rig.reason().unwrap(), "RuntimeNotConfigured");
    rig.controller.inputs.honored.set();
    rig.step().await;
    assert_eq!(rig.reason().unwrap(), "Configured");
    let mut rig = rig.restarted();
    rig.reach(Reach::Up);
    rig.step().await;
    assert_eq!(rig.reason().unwrap(), "Configured", "a restart forgot the proof");
}

#[tokio::test]
async fn n5_a_change_of_the_runtimes_configuration_is_seen_by_the_next_look_and_ends_a_proof() {
    let mut rig = Rig::in_place().await;
    let set =
        "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d'\n";
    fs::write(rig.temp.path().join("config.toml"), set).unwrap();
    rig.step().await;
    assert_eq!(honored(&rig), None, "the operator is to find out");
    rig.controller.inputs.honored.set_by_probe();
    rig.step().await;
    assert_eq!(honored(&rig).unwrap(), ("True".to_owned(), "ProbeSeen".to_owned()));
    fs::write(rig.temp.path().join("config.toml"), set.replace("certs.d'", "other'")).unwrap();
    rig.step().await;
    assert_eq!(honored(&rig).unwrap(), ("False".to_owned(), "RuntimeNotConfigured".to_owned()));
    assert_eq!(rig.reason().unwrap(), "RuntimeNotConfigured");
    fs::write(rig.temp.path().join("config.toml"), set).unwrap();
    rig.step().await;
    assert_eq!(honored(&rig), None, "the proof was of another configuration");
    assert!(RESYNC <= Duration::from_secs(30), "a node says why within a minute");
}

#[tokio::test]
async fn n5_the_probes_file_comes_and_goes_with_the_others_and_changes_with_nothing() {
    let mut rig = Rig::in_place().await;
    let file = rig.temp.path().join("certs.d/probe.tidepool.invalid/hosts.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("http://127.0.0.1:909") && !text.contains("server"), "{text}");
    let written = || fs::metadata(&file).unwrap().modified().unwrap();
    let first = written();
    rig.controller.inputs.honored.set_by_probe();
    rig.step().await;
    assert_eq!(written(), first);
    rig.document.send_replace(Document::remembered(Some(NodesDocument::new(Vec::new()))));
    rig.step().await;
    assert!(!file.exists());
}

#[tokio::test]
async fn n5_a_mode_that_only_reports_writes_nothing_and_says_what_it_would() {
    let mut rig = Rig::in_place().await;
    let mut looking = one_mirror();
    looking.mirrors[0].mode = Mode::ReportOnly;
    rig.document.send_replace(Document::remembered(Some(looking)));
    rig.step().await;
    assert!(!rig.has_file());
    let report = rig.report.borrow().clone().unwrap();
    let mirror = report.status(&MirrorNode::default(), jiff::Timestamp::now()).mirrors.remove(0);
    assert!(mirror.reason == "ReportOnly" && mirror.message.contains("docker.io"), "{mirror:?}");
}

#[tokio::test]
async fn n2_a_crio_node_gets_a_drop_in_where_the_directory_is_for_one_and_says_how_it_takes_effect() {
    let mut rig = Rig::new(Last::default());
    rig.controller.places.registry_dir_name = "/etc/containers/registries.conf.d".to_owned();
    let crio = NodeFacts { runtime: RuntimeVersion::parse("cri-o://1.36.0"), ..NodeFacts::default() };
    rig.node.send_replace(Some(crio));
    rig.document.send_replace(Document::remembered(Some(one_mirror())));
    rig.reach(Reach::Up);
    rig.step().await;
    let text = fs::read_to_string(rig.temp.path().join("certs.d/50-tidepool.conf")).unwrap();
    assert!(text.contains("location = \"127.0.0.1:909/docker.io\"") && !rig.has_file(), "{text}");
    assert_eq!(rig.reason().unwrap(), "Configured");
    let report = rig.report.borrow().clone().unwrap().status(&MirrorNode::default(), jiff::Timestamp::now());
    let honored = &report.conditions[1];
    assert_eq!((honored.type_.as_str(), honored.status.as_str()), ("Honored", "Unknown"));
    assert!(honored.message.contains("systemctl reload crio"), "{}", honored.message);
}
