//! One step of the controller: wanted, routes, files, report.

use std::{collections::BTreeSet, time::Duration};

use tidepool_config::names::PROBE_REGISTRY;
use tidepool_oci::RegistryName;

use super::{Controller, Listening, Places};
use crate::{
    honored::Proof,
    hosts_toml,
    last::Last,
    node::{NodeFacts, RuntimeVersion},
    node_files::{Format, Placed, Stuck, Wish},
    registries_conf,
    report::Report,
    runtime_config::{self, ConfigFiles, Content, Place, Support, support},
    states::{Reach, Seen},
    wanted::{Part, Role, Wanted, wanted},
    watch::Document,
};

/// containerd's configuration, in the runtime's directory.
const CONFIG: &str = "config.toml";
/// How long reading it may take: beyond this its file system is sick, and pulls must not wait for that.
const CONFIG_WITHIN: Duration = Duration::from_secs(5);

impl Controller {
    /// Looks at everything and does what is missing.
    pub(super) async fn step(&mut self) -> Result<(), Stuck> {
        let document = self.inputs.document.borrow_and_update().clone();
        let node = self.inputs.node.borrow_and_update().clone();
        let members = self.inputs.members.borrow_and_update().clone();
        let Some(node) = node else { return Ok(()) };
        let files = configuration(self.places.clone()).await;
        // Never seen is not the same as empty: whatever is on the node stays.
        let Some(known) = &document.last else {
            self.report_without_document(&document, &node, &files);
            return Ok(());
        };
        let wanted = wanted(known, &node);
        self.outputs.routings.set(wanted.routes.clone(), wanted.uids(), &members);
        self.note_proven(&wanted);
        self.note_able(&wanted);
        let support = self.support(&node, &wanted, &files);
        self.note_honored(node.runtime.as_ref(), support.as_ref());
        let placed = self.place(&wanted, &node, support.as_ref()).await?;
        // The agent before is ending: until then it writes, reports and remembers.
        if self.outputs.files.is_behind() {
            return Ok(());
        }
        self.report(&wanted, &document, &node, support, placed);
        // What is remembered is a file too.
        if self.outputs.files.is_anothers() {
            return Ok(());
        }
        let (document, node) = (document.last, Some(node));
        self.remember(Last { document, members, node, proof: self.proof.clone() }).await;
        Ok(())
    }

    fn note_able(&self, wanted: &Wanted) {
        let reach = self.inputs.reach.borrow();
        let mut serving = wanted.mirrors.iter().filter(|part| matches!(part.role, Role::Serves { .. }));
        let able = serving.all(|part| reach.get(&part.uid) == Some(&Reach::Up));
        self.outputs.able.send_if_modified(|known| std::mem::replace(known, able) != able);
    }

    /// A pull was seen: the runtime as it is now reads our files. Another version, or another configuration, has to
    /// prove it again.
    fn note_honored(&mut self, runtime: Option<&RuntimeVersion>, support: Option<&Support>) {
        let (Some(runtime), Some(support)) = (runtime, support) else { return };
        let holds = |proof: &Proof| proof.runtime == *runtime && proof.configuration == support.word();
        if self.proof.as_ref().is_some_and(|proof| !holds(proof)) {
            self.proof = None;
            self.inputs.honored.reset();
        } else if self.proof.is_none()
            && let Some(evidence) = self.inputs.honored.evidence()
        {
            let configuration = support.word().to_owned();
            self.proof = Some(Proof { evidence, runtime: runtime.clone(), configuration });
        }
    }

    fn note_proven(&mut self, wanted: &Wanted) {
        let reach = self.inputs.reach.borrow_and_update();
        let up = wanted.mirrors.iter().filter(|part| reach.get(&part.uid) == Some(&Reach::Up));
        self.proven.extend(up.map(|part| part.uid.clone()));
    }

    /// What the runtime's configuration says, which is read anew each time: a change of it is noticed within a resync.
    fn support(&self, node: &NodeFacts, wanted: &Wanted, files: &ConfigFiles) -> Option<Support> {
        let config = self.places.runtime_config_host_dir.join(CONFIG).display().to_string();
        let place = Place { directory: &self.places.registry_dir_name, config: &config, port: self.places.port };
        let registries: Vec<_> = wanted.routes.keys().cloned().collect();
        support(node, files, place, &registries)
    }

    /// Writes files for mirrors that are proven, once the listener answers; what is there already stays.
    async fn place(&mut self, wanted: &Wanted, node: &NodeFacts, support: Option<&Support>) -> Result<Placed, Stuck> {
        let listens = *self.inputs.listening.borrow_and_update() == Listening::Yes;
        let mut wish = Wish { place: BTreeSet::new(), keep: BTreeSet::new(), format: self.format(node) };
        for part in &wanted.mirrors {
            let Role::Serves { registries, lost: _ } = &part.role else { continue };
            let registries = registries.iter().cloned();
            match support {
                Some(Support::OtherRuntime(_) | Support::Native(_)) => {}
                Some(_) if listens && self.proven.contains(&part.uid) => wish.place.extend(registries),
                Some(_) | None => wish.keep.extend(registries),
            }
        }
        let probed = node.runtime.as_ref().is_some_and(RuntimeVersion::is_containerd);
        if let Some(probe) = PROBE_REGISTRY.parse::<RegistryName>().ok().filter(|_| probed) {
            // The operator's probe pods pull by it; it is there with the others, and changes as seldom.
            if !wish.place.is_empty() {
                wish.place.insert(probe);
            } else if !wish.keep.is_empty() {
                wish.keep.insert(probe);
            }
        }
        let of_ours: BTreeSet<RegistryName> = wish.place.union(&wish.keep).cloned().collect();
        let placed = self.outputs.files.reconcile(wish).await?;
        self.edited.extend(placed.edited.iter().cloned());
        self.edited.retain(|registry| of_ours.contains(registry));
        Ok(placed)
    }

    fn format(&self, node: &NodeFacts) -> Format {
        let Places { port, pull_from_mirror, .. } = self.places;
        if node.runtime.as_ref().is_some_and(RuntimeVersion::is_cri_o) {
            let settings = registries_conf::Settings { port, pull_from_mirror };
            return Format::RegistriesConf { settings, main: self.places.registries_conf.clone() };
        }
        let dial_timeout = node.runtime.as_ref().is_some_and(RuntimeVersion::understands_dial_timeout);
        Format::HostsToml(hosts_toml::Settings { port, dial_timeout })
    }

    fn report(&self, wanted: &Wanted, document: &Document, node: &NodeFacts, support: Option<Support>, placed: Placed) {
        let listening = self.inputs.listening.borrow().clone();
        let reach = self.inputs.reach.borrow().clone();
        // Just started: in a second more is known, and nobody wants to read what is not.
        let serves = |part: &&Part| matches!(part.role, Role::Serves { .. });
        let asked = wanted.mirrors.iter().filter(serves).all(|part| reach.contains_key(&part.uid));
        if matches!(listening, Listening::Starting | Listening::Behind) || !asked {
            return;
        }
        let seen = Seen {
            support,
            honored: self.proof.as_ref().map(|proof| proof.evidence),
            listener: if let Listening::No(why) = listening { Some(why) } else { None },
            reach,
            files: placed.files,
            edited: self.edited.clone(),
        };
        self.publish(Report::new(wanted, &seen, document.problem.as_ref(), node.runtime.as_ref()));
    }

    fn report_without_document(&self, document: &Document, node: &NodeFacts, files: &ConfigFiles) {
        let Some(problem) = &document.problem else { return };
        let support = self.support(node, &Wanted::default(), files);
        let seen = Seen { support, ..Seen::default() };
        self.publish(Report::new(&Wanted::default(), &seen, Some(problem), node.runtime.as_ref()));
    }

    fn publish(&self, report: Report) {
        self.outputs.report.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&report);
            *known = Some(report);
            changed
        });
    }

    /// Keeps what is known for the next agent on this node.
    async fn remember(&mut self, last: Last) {
        let (state, kept) = (self.outputs.state.clone(), last == self.last);
        // The agent before may have removed it, or somebody the whole directory.
        let save = tokio::task::spawn_blocking(move || {
            let save = if kept && Last::is_kept(&state) { Ok(()) } else { last.save(&state) };
            save.map(|()| last)
        });
        match save.await {
            Ok(Ok(last)) => self.last = last,
            Ok(Err(error)) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "after a restart without the API server this node will not know its mirrors");
            }
            // The process is stopping.
            Err(_) => {}
        }
    }
}

/// The runtime's configuration, read on a thread that may block: this one forwards pulls, and beats for the supervisor.
async fn configuration(places: Places) -> ConfigFiles {
    let Places { runtime_config_dir: mounted, runtime_config_host_dir: directory, .. } = places;
    let read = tokio::task::spawn_blocking(move || runtime_config::read(&mounted, &directory, CONFIG));
    match tokio::time::timeout(CONFIG_WITHIN, read).await {
        Ok(Ok(files)) => files,
        Ok(Err(_)) | Err(_) => ConfigFiles::of(Content::Unreadable("its file system does not answer".to_owned())),
    }
}
