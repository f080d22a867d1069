//! Tests of the decisions: what is written when, what stays, what goes.

mod files;
mod runtime;

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
