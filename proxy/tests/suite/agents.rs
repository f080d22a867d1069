//! The agents' listener: who gets through, who does not, and what changes on disk mean.

use std::{path::Path, time::Duration};

use rcgen::{DnType, date_time_ymd};
use rustls::version::TLS12;
use tempfile::TempDir;
use tidepool_config::{Access, Agents, AnonymousPull, trust};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::{
    access::write_users,
    certificates::{Authority, MIRROR, Peer, ask, write_member},
    fake::{Fake, Fault, ONE, noise},
    proxy::{Proxy, eventually},
};

const ONES: &str = "/v2/a/b/manifests/1?ns=docker.io";

pub(crate) fn agents(folder: &Path) -> Agents {
    Agents {
        listen: ([127, 0, 0, 1], 0).into(),
        mirror: MIRROR.to_owned(),
        cert_file: folder.join("tls.crt"),
        key_file: folder.join("tls.key"),
        ca_file: folder.join("agents-ca.crt"),
    }
}

/// A member with a listener for agents whom `authorities` vouch for; its certificate is the first's.
async fn member(fake: &Fake, authorities: &[&Authority]) -> (Proxy, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    write_member(dir.path(), &authorities[0].member(MIRROR), authorities);
    let proxy = Proxy::with(fake, |file| file.agents = Some(agents(dir.path()))).await;
    (proxy, dir)
}

#[tokio::test]
async fn only_an_agent_of_this_mirror_gets_through_the_handshake() {
    let (fake, authority, stranger) = (Fake::start().await, Authority::new(), Authority::new());
    fake.tag("a/b", "1", ONE);
    let (proxy, _dir) = member(&fake, &[&authority]).await;
    let name = trust::agent_name(MIRROR);
    let expired = authority.sign(&name, |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 2, 1));
    });
    let early = authority.sign(&name, |params| params.not_before = date_time_ymd(2090, 1, 1));
    let called = authority.sign("agent", |params| params.distinguished_name.push(DnType::CommonName, name.as_str()));
    for (who, leaf) in [
        ("nobody", None),
        ("an agent of another mirror", Some(authority.agent("another"))),
        ("a stranger's own authority", Some(stranger.agent(MIRROR))),
        ("an agent whose certificate has ended", Some(expired)),
        ("an agent whose certificate has not begun", Some(early)),
        ("a member", Some(authority.member(MIRROR))),
        ("somebody with the name elsewhere in the certificate", Some(called)),
    ] {
        let got = Peer::new(proxy.agents.unwrap(), &authority, leaf.as_ref()).get(ONES).await;
        let error = got.expect_err(who);
        assert!(error.contains("alert"), "{who}: {error}");
    }
    assert_eq!(proxy.metric("tidepool_agent_handshakes_total{result=\"refused\"}").await, 7);
    assert_eq!(proxy.metric("tidepool_requests_total").await, 0);
    assert!(fake.asked("").is_empty());
    let got = Peer::new(proxy.agents.unwrap(), &authority, Some(&authority.agent(MIRROR))).get(ONES).await.unwrap();
    assert!(got.starts_with("HTTP/1.1 200 ") && got.ends_with(ONE), "{got}");
    assert_eq!(proxy.metric("tidepool_agent_handshakes_total{result=\"ok\"}").await, 1);
}

#[tokio::test]
async fn an_agent_finds_out_an_impostor_and_older_tls_is_refused() {
    let (fake, authority, stranger) = (Fake::start().await, Authority::new(), Authority::new());
    let (proxy, _dir) = member(&fake, &[&stranger, &authority]).await;
    let leaf = authority.agent(MIRROR);
    let got = Peer::new(proxy.agents.unwrap(), &authority, Some(&leaf)).get(ONES).await;
    assert!(got.unwrap_err().contains("invalid peer certificate"));
    assert_eq!(proxy.metric("tidepool_agent_handshakes_total{result=\"distrusted\"}").await, 1);
    let (proxy, _dir) = member(&fake, &[&authority]).await;
    let old = Peer { version: &TLS12, ..Peer::new(proxy.agents.unwrap(), &authority, Some(&leaf)) };
    assert!(old.get(ONES).await.unwrap_err().contains("ProtocolVersion"));
    assert_eq!(proxy.metric("tidepool_agent_handshakes_total{result=\"malformed\"}").await, 1);
}

#[tokio::test]
async fn plain_http_gets_nothing_at_the_agents_listener() {
    let (fake, authority) = (Fake::start().await, Authority::new());
    fake.tag("a/b", "1", ONE);
    let (proxy, _dir) = member(&fake, &[&authority]).await;
    let mut stream = TcpStream::connect(proxy.agents.unwrap()).await.unwrap();
    stream.write_all(format!("GET {ONES} HTTP/1.1\r\nhost: m\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await.expect("it is kept");
    assert!(answer.len() <= 7 && !answer.starts_with(b"HTTP"), "{answer:?}");
    assert!(fake.asked("").is_empty());
}

#[tokio::test]
async fn agents_of_every_authority_in_the_bundle_are_believed() {
    let (fake, old, new) = (Fake::start().await, Authority::new(), Authority::new());
    fake.tag("a/b", "1", ONE);
    let (proxy, _dir) = member(&fake, &[&old, &new]).await;
    for authority in [&old, &new] {
        let got = Peer::new(proxy.agents.unwrap(), &old, Some(&authority.agent(MIRROR))).get(ONES).await.unwrap();
        assert!(got.ends_with(ONE), "{got}");
    }
}

#[tokio::test]
async fn a_node_is_never_told_to_log_in() {
    let (fake, authority, dir) = (Fake::start().await, Authority::new(), tempfile::tempdir().unwrap());
    fake.tag("a/b", "1", ONE);
    write_member(dir.path(), &authority.member(MIRROR), &[&authority]);
    let users = Some(write_users(dir.path(), &[("alice", "secret")]));
    let proxy = Proxy::with(&fake, |file| {
        file.agents = Some(agents(dir.path()));
        file.access = Some(Access { anonymous_pull: AnonymousPull::None, users_file: users });
    });
    let proxy = proxy.await;
    let leaf = authority.agent(MIRROR);
    let peer = Peer::new(proxy.agents.unwrap(), &authority, Some(&leaf));
    for (path, status) in
        [("/v2/", 200), (ONES, 200), ("/v2/a/b/manifests/none", 404), ("/v2/quay.io/a/tags/list", 404)]
    {
        for headers in ["", "authorization: Basic YWxpY2U6d3Jvbmc=\r\n"] {
            let mut stream = peer.connect().await.unwrap();
            ask(&mut stream, path, headers).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {headers} {answer}");
        }
    }
    assert_eq!(proxy.get("/v2/").await.status, 401, "clients are");
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_ends_the_transfers_of_agents_well_and_takes_no_more() {
    let (fake, authority) = (Fake::start().await, Authority::new());
    let bytes = noise(1_000_000, 1);
    let digest = fake.blob(bytes.clone());
    fake.fault("GET", Fault::Slow(100), 1);
    let (proxy, _dir) = member(&fake, &[&authority]).await;
    let leaf = authority.agent(MIRROR);
    let peer = Peer::new(proxy.agents.unwrap(), &authority, Some(&leaf));
    let mut stream = peer.connect().await.unwrap();
    ask(&mut stream, &format!("/v2/a/b/blobs/{digest}"), "").await.unwrap();
    let mut answer = vec![0; 1];
    stream.read_exact(&mut answer).await.unwrap();
    proxy.stop();
    eventually(async || TcpStream::connect(peer.at).await.is_err()).await;
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.ends_with(&bytes));
}

/// Asks until the answer is as wanted; a reload takes a second or two.
async fn until(what: &str, peer: &Peer<'_>, wanted: impl Fn(&Result<String, String>) -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let got = peer.get(ONES).await;
        if wanted(&got) {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "{what}: {got:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_swapped_on_disk_are_used_for_new_connections_and_old_ones_end_well() {
    let (fake, old, new) = (Fake::start().await, Authority::new(), Authority::new());
    fake.tag("a/b", "1", ONE);
    let bytes = noise(1_000_000, 1);
    let digest = fake.blob(bytes.clone());
    let (proxy, dir) = member(&fake, &[&old]).await;
    let at = proxy.agents.unwrap();
    let (old_agent, new_agent) = (old.agent(MIRROR), new.agent(MIRROR));
    let before = Peer::new(at, &old, Some(&old_agent));
    assert!(before.get(ONES).await.is_ok());
    // What cannot be used changes nothing.
    std::fs::write(dir.path().join("tls.key"), &new_agent.key).unwrap();
    eventually(async || proxy.metric("tidepool_config_reloads_total{result=\"failed\"}").await > 0).await;
    assert!(before.get(ONES).await.is_ok());

    let (swapped, trickle) = tokio::sync::watch::channel(false);
    fake.fault(format!("GET /v2/a/b/blobs/{digest}"), Fault::Trickle(trickle), 1);
    let mut stream = before.connect().await.unwrap();
    ask(&mut stream, &format!("/v2/a/b/blobs/{digest}"), "").await.unwrap();
    let mut answer = vec![0; 1];
    stream.read_exact(&mut answer).await.unwrap();
    write_member(dir.path(), &new.member(MIRROR), &[&new]);
    until("the new are believed", &Peer::new(at, &new, Some(&new_agent)), Result::is_ok).await;
    until("the old are not", &Peer::new(at, &new, Some(&old_agent)), Result::is_err).await;
    assert!(before.get(ONES).await.is_err(), "it still shows its old certificate");
    swapped.send(true).unwrap();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.ends_with(&bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_rotated_in_stages_fails_no_pull() {
    let (fake, old, new) = (Fake::start().await, Authority::new(), Authority::new());
    fake.tag("a/b", "1", ONE);
    let (proxy, dir) = member(&fake, &[&old]).await;
    let (old_agent, new_agent, both) = (old.agent(MIRROR), new.agent(MIRROR), [&old, &new]);
    let only_new = Peer::new(proxy.agents.unwrap(), &new, Some(&new_agent));
    let shows = |leaf| Peer { trusts: both.to_vec(), shows: Some(leaf), ..only_new.clone() };
    // First all believe both, then the new one signs, then the old one goes. And who sees that it is so.
    let stages: [(&Authority, &[&Authority], _, _, bool); 3] = [
        (&old, &both, &old_agent, shows(&new_agent), true),
        (&new, &both, &new_agent, only_new.clone(), true),
        (&new, &[&new], &new_agent, shows(&old_agent), false),
    ];
    for (signer, bundle, leaf, sees, served) in stages {
        write_member(dir.path(), &signer.member(MIRROR), bundle);
        eventually(async || {
            let got = shows(leaf).get(ONES).await;
            assert!(got.is_ok(), "{got:?}");
            sees.get(ONES).await.is_ok() == served
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_ends_when_the_authority_that_let_it_in_goes() {
    let (fake, old, new) = (Fake::start().await, Authority::new(), Authority::new());
    fake.tag("a/b", "1", ONE);
    let (proxy, dir) = member(&fake, &[&old]).await;
    let agent = old.agent(MIRROR);
    let peer = Peer::new(proxy.agents.unwrap(), &old, Some(&agent));
    let mut stream = peer.connect().await.unwrap();
    let mut served = async || {
        let _ = stream.write_all(format!("GET {ONES} HTTP/1.1\r\nhost: m\r\n\r\n").as_bytes()).await;
        let (mut answer, mut piece) = (Vec::new(), [0; 1000]);
        while !answer.ends_with(ONE.as_bytes()) {
            let count = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut piece)).await.unwrap();
            match count {
                Ok(count) if count > 0 => answer.extend_from_slice(&piece[..count]),
                _ => return false,
            }
        }
        true
    };
    assert!(served().await);
    write_member(dir.path(), &new.member(MIRROR), &[&new]);
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while served().await {
        assert!(tokio::time::Instant::now() < end, "still served");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn who_says_nothing_holds_few_places_and_not_for_long() {
    let (fake, authority) = (Fake::start().await, Authority::new());
    fake.tag("a/b", "1", ONE);
    let (proxy, _dir) = member(&fake, &[&authority]).await;
    let mut silent = Vec::new();
    for _ in 0..400 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
        silent.push(socket.connect(proxy.agents.unwrap()).await.unwrap());
    }
    let ends = silent.into_iter().map(|mut stream| async move {
        let end = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut [0; 10])).await.expect("it is held");
        assert_eq!(end.unwrap_or(0), 0);
        tokio::time::Instant::now()
    });
    let leaf = authority.agent(MIRROR);
    let peer = Peer::new(proxy.agents.unwrap(), &authority, Some(&leaf));
    let served = async {
        assert!(peer.get(ONES).await.unwrap().ends_with(ONE));
        tokio::time::Instant::now()
    };
    let (served, ends) = tokio::join!(served, futures::future::join_all(ends));
    assert!(served < ends.into_iter().max().unwrap(), "it came in when those who say nothing had gone");
}
