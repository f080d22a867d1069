//! Tests of the decisions: what is written when, what stays, what goes.

use std::fs;

use tidepool_api::MirrorNode;
use tidepool_config::{MirrorEntry, Mode, NodeSelector, NodesDocument};

use super::*;
use crate::{forward::Routings, metrics::Metrics, node::RuntimeVersion, states::Trouble};

/// A controller with its inputs in hand.
struct Rig {
    temp: tempfile::TempDir,
    controller: Controller,
    document: watch::Sender<Document>,
    _members: watch::Sender<Members>,
    node: watch::Sender<Option<NodeFacts>>,
    listening: watch::Sender<Listening>,
    reach: watch::Sender<BTreeMap<String, Reach>>,
    report: watch::Receiver<Option<Report>>,
}

fn containerd() -> NodeFacts {
    NodeFacts { runtime: RuntimeVersion::parse("containerd://2.4.2"), ..NodeFacts::default() }
}

fn one_mirror() -> NodesDocument {
    NodesDocument::new(vec![MirrorEntry {
        name: "m".to_owned(),
        uid: "u".to_owned(),
        priority: 0,
        created: "2026-01-01T00:00:00Z".to_owned(),
        mode: Mode::Configure,
        selector: NodeSelector::default(),
        registries: vec![RegistryName::docker_hub()],
    }])
}

impl Rig {
    /// A node that knows what `last` says, with a listener that listens and a document from the API server.
    fn new(last: Last) -> Self {
        Self::on(tempfile::tempdir().unwrap(), last)
    }

    fn on(temp: tempfile::TempDir, last: Last) -> Self {
        let (root, state) = (temp.path().join("certs.d"), temp.path().join("state"));
        fs::create_dir_all(&root).unwrap();
        let (document, document_in) = watch::channel(Document::remembered(last.document.clone()));
        let (members, members_in) = watch::channel(last.members.clone());
        let (node, node_in) = watch::channel(last.node.clone());
        let (listening, listening_in) = watch::channel(Listening::Yes);
        let (reach, reach_in) = watch::channel(BTreeMap::new());
        let (report_out, report) = watch::channel(None);
        let inputs = Inputs {
            document: document_in,
            members: members_in,
            node: node_in,
            listening: listening_in,
            reach: reach_in,
            honored: Honored::default(),
        };
        let files = NodeFiles::new(&root, "/etc/containerd/certs.d".to_owned(), &state, Metrics::default());
        let able = watch::channel(false).0;
        let outputs = Outputs { routings: Arc::new(Routings::default()), files, report: report_out, able, state };
        let places = Places {
            port: 909,
            runtime_config_dir: temp.path().to_owned(),
            runtime_config_host_dir: "/etc/containerd".into(),
            registry_dir_name: "/etc/containerd/certs.d".to_owned(),
            registries_conf: temp.path().join("registries.conf"),
            pull_from_mirror: PullFromMirror::DigestOnly,
        };
        let controller = Controller::new(inputs, outputs, places, last);
        Self { temp, controller, document, _members: members, node, listening, reach, report }
    }

    /// A node whose file is in place.
    async fn in_place() -> Self {
        let mut rig = Self::new(Last::default());
        rig.node.send_replace(Some(containerd()));
        rig.document.send_replace(Document::remembered(Some(one_mirror())));
        rig.reach(Reach::Up);
        rig.step().await;
        assert!(rig.has_file());
        rig
    }

    fn reach(&self, reach: Reach) {
        self.reach.send_replace([("u".to_owned(), reach)].into());
    }

    async fn step(&mut self) {
        self.controller.step().await.unwrap();
    }

    fn has_file(&self) -> bool {
        self.temp.path().join("certs.d/docker.io/hosts.toml").exists()
    }

    /// Inode and times of all that is in the registry directory.
    fn touched(&self) -> BTreeMap<PathBuf, (u64, i64, i64, i64)> {
        use std::os::unix::fs::MetadataExt as _;
        let root = self.temp.path().join("certs.d");
        let all = [root.clone(), root.join("docker.io"), root.join("docker.io/hosts.toml")];
        let touched = |path: PathBuf| {
            let metadata = fs::metadata(&path).unwrap();
            (path, (metadata.ino(), metadata.mtime_nsec(), metadata.ctime_nsec(), metadata.ctime()))
        };
        all.into_iter().map(touched).collect()
    }

    /// The reason of condition Ready.
    fn reason(&self) -> Option<String> {
        let report = self.report.borrow().clone()?;
        let status = report.status(&MirrorNode::default(), jiff::Timestamp::now());
        Some(status.conditions[0].reason.clone())
    }

    /// The next agent on the same node.
    fn restarted(self) -> Self {
        let last = Last::load(&self.temp.path().join("state"));
        let Self { temp, controller, .. } = self;
        drop(controller);
        Self::on(temp, last)
    }
}

#[tokio::test]
async fn n3_nothing_is_written_until_the_listener_answers_and_a_member_is_proven() {
    let mut rig = Rig::new(Last::default());
    rig.node.send_replace(Some(containerd()));
    rig.document.send_replace(Document::remembered(Some(one_mirror())));
    rig.listening.send_replace(Listening::No("port 909 is taken".to_owned()));
    rig.reach(Reach::Up);
    rig.step().await;
    assert!(!rig.has_file());
    assert_eq!(rig.reason().unwrap(), "ListenerFailed");
    rig.listening.send_replace(Listening::Yes);
    let mut rig = rig.restarted();
    rig.step().await;
    assert!(!rig.has_file());
    assert_eq!(rig.reason(), None, "before a member was asked there is nothing to say");
    rig.reach(Reach::Down { why: Trouble::Silent(1), long: false });
    rig.step().await;
    assert!(!rig.has_file());
    assert_eq!(rig.reason().unwrap(), "MemberUnreachable");
    rig.reach(Reach::Up);
    rig.step().await;
    assert!(rig.has_file());
    assert_eq!(rig.reason().unwrap(), "Configured");
}

#[tokio::test]
async fn n3_after_that_neither_health_nor_the_listener_nor_a_restart_touches_the_file() {
    let mut rig = Rig::in_place().await;
    let (root, written) = (rig.temp.path().join("certs.d"), rig.touched());
    rig.reach(Reach::Down { why: Trouble::NoMember, long: true });
    rig.listening.send_replace(Listening::No("taken".to_owned()));
    rig.step().await;
    assert!(rig.has_file());
    let mut rig = rig.restarted();
    rig.listening.send_replace(Listening::No("taken".to_owned()));
    rig.reach(Reach::Down { why: Trouble::NoMember, long: true });
    rig.step().await;
    assert!(rig.has_file());
    rig.listening.send_replace(Listening::Yes);
    rig.step().await;
    assert!(rig.has_file());
    assert_eq!(rig.reason().unwrap(), "NoMember");
    // Members come and go, with and without a restart between.
    for round in 0..3 {
        for reach in [Reach::Up, Reach::Down { why: Trouble::Silent(2), long: round > 0 }] {
            rig.reach(reach);
            let address = std::net::SocketAddr::from(([10, 0, 0, round], 5443));
            rig._members.send_replace([("m".to_owned(), [("m-0".to_owned(), address)].into())].into());
            rig.step().await;
        }
        rig = rig.restarted();
        rig.step().await;
    }
    assert_eq!(rig.touched(), written, "{}", root.display());
}

#[tokio::test]
async fn n8_what_is_known_is_kept_again_where_somebody_removed_it() {
    let mut rig = Rig::in_place().await;
    let kept = rig.temp.path().join("state/last.json");
    let known = fs::read(&kept).unwrap();
    Last::forget(&rig.temp.path().join("state"));
    rig.step().await;
    assert_eq!(fs::read(&kept).unwrap(), known);
}

#[tokio::test]
async fn a_node_that_boots_while_the_api_server_is_away_knows_its_routes_and_keeps_its_files() {
    let rig = Rig::in_place().await;
    let mut rig = rig.restarted();
    rig.step().await;
    assert!(rig.has_file());
    assert_eq!(rig.controller.outputs.routings.current().mirror_of(&RegistryName::docker_hub()), Some("m"));
}

#[tokio::test]
async fn files_go_when_the_mirror_goes_is_withdrawn_or_the_node_is_excluded_or_no_longer_selected() {
    let mut withdrawn = one_mirror();
    withdrawn.mirrors[0].mode = Mode::Withdraw;
    let mut elsewhere = one_mirror();
    elsewhere.mirrors[0].selector.match_labels.insert("zone".to_owned(), "b".to_owned());
    for document in [NodesDocument::new(Vec::new()), withdrawn, elsewhere] {
        let mut rig = Rig::in_place().await;
        rig.document.send_replace(Document::remembered(Some(document)));
        rig.step().await;
        assert!(!rig.has_file());
    }
    let mut rig = Rig::in_place().await;
    let mut excluded = containerd();
    excluded.labels.insert("tidepool.dev/exclude".to_owned(), "true".to_owned());
    rig.node.send_replace(Some(excluded));
    rig.step().await;
    assert!(!rig.has_file());
}

#[tokio::test]
async fn without_a_document_ever_seen_nothing_is_touched() {
    let rig = Rig::in_place().await;
    fs::remove_file(rig.temp.path().join("state/last.json")).unwrap();
    let mut rig = rig.restarted();
    rig.node.send_replace(Some(containerd()));
    rig.step().await;
    assert!(rig.has_file() && rig.reason().is_none());
    rig.document.send_modify(|document| {
        document.on(&kube::runtime::watcher::Event::Init);
        document.on(&kube::runtime::watcher::Event::InitDone);
    });
    rig.step().await;
    assert!(rig.has_file());
    assert_eq!(rig.reason().unwrap(), "DocumentMissing");
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

/// Condition Honored: status and reason, where there is one.
fn honored(rig: &Rig) -> Option<(String, String)> {
    let report = rig.report.borrow().clone()?;
    let status = report.status(&MirrorNode::default(), jiff::Timestamp::now());
    let found = status.conditions.into_iter().find(|condition| condition.type_ == "Honored")?;
    Some((found.status, found.reason))
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
async fn a_mirror_that_was_made_again_has_to_be_proven_again() {
    let mut rig = Rig::in_place().await;
    rig.document.send_replace(Document::remembered(Some(NodesDocument::new(Vec::new()))));
    rig.step().await;
    let mut again = one_mirror();
    again.mirrors[0].uid = "v".to_owned();
    rig.document.send_replace(Document::remembered(Some(again)));
    rig.step().await;
    assert!(!rig.has_file(), "proven by a member of the mirror before");
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

#[tokio::test]
async fn n6_an_agent_behind_another_neither_writes_nor_reports_nor_remembers_but_knows_its_routes() {
    let rig = Rig::in_place().await;
    let (state, kept) = (rig.temp.path().join("state"), rig.temp.path().join("state/last.json"));
    let before = fs::read_to_string(&kept).unwrap();
    let other = crate::files::Files::open(&rig.temp.path().join("certs.d"), &state);
    assert!(other.is_err(), "the first agent has the lock");
    let Rig { temp, controller: first, .. } = rig;
    let mut rig = Rig::on(temp, Last::load(&state));
    let mut changed = one_mirror();
    changed.mirrors[0].registries.push("ghcr.io".parse().unwrap());
    rig.document.send_replace(Document::remembered(Some(changed)));
    rig.reach(Reach::Up);
    rig.step().await;
    let ghcr = "ghcr.io".parse().unwrap();
    assert_eq!(rig.controller.outputs.routings.current().mirror_of(&ghcr), Some("m"));
    assert!(!rig.temp.path().join("certs.d/ghcr.io").exists() && rig.reason().is_none());
    assert_eq!(fs::read_to_string(&kept).unwrap(), before);
    drop(first);
    rig.controller.outputs.files.taken_over().await;
    rig.step().await;
    assert!(rig.temp.path().join("certs.d/ghcr.io/hosts.toml").exists());
    assert_eq!(rig.reason().unwrap(), "Configured");
    assert_ne!(fs::read_to_string(&kept).unwrap(), before);
}
