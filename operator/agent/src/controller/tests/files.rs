//! When files come, stay and go.

use super::*;

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
