//! Secrets show nowhere: not in the log at its most talkative, not in metrics, not in the state.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    access::write_users,
    certificates::{Authority, MIRROR, write_member},
    credentials::write_password,
    fake::{Fake, ONE},
    guard::{Kind, basic},
    proxy::eventually,
};

/// Ends the program when a test does.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A configuration with a secret wherever it takes one.
fn configuration(folder: &Path, url: &str) -> String {
    let folder = folder.display();
    format!(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nstorage: {{path: {folder}/store}}\n\
         access: {{usersFile: {folder}/users}}\n\
         egressProxy: {{url: \"http://127.0.0.1:1\", noProxy: [127.0.0.1], username: out, passwordFile: {folder}/out}}\n\
         agents: {{listen: \"127.0.0.1:0\", mirror: {MIRROR}, certFile: {folder}/tls.crt, keyFile: {folder}/tls.key, caFile: {folder}/agents-ca.crt}}\n\
         upstreams: [{{registry: docker.io, url: \"{url}\", credentials: {{username: me, passwordFile: {folder}/password}}}}, \
         {{registry: ghcr.io, url: \"http://192.0.2.1\"}}]\n"
    )
}

/// The program with the configuration in `folder`, saying all it can in a log there; where it listens for clients, and
/// its admin port.
fn talkative(folder: &Path) -> (Ended, String, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tidepool-proxy"));
    program.arg("--config").arg(folder.join("proxy.yaml")).args(["--log-level", "trace"]);
    let log = File::create(folder.join("log")).unwrap();
    let mut child = program.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let said: Vec<_> = BufReader::new(child.stdout.take().unwrap()).lines().take(3).map(Result::unwrap).collect();
    let address = |line: &str| line.split([' ', ',']).find(|word| word.starts_with("http://")).unwrap().to_owned();
    (Ended(child), address(&said[0]), address(&said[2]))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_shows_in_the_log_in_metrics_or_in_the_state() {
    let (fake, dir, authority) = (Fake::start().await, tempfile::tempdir().unwrap(), Authority::new());
    fake.guard(Kind::Bearer, "upstream-secret", &fake.url());
    fake.tag("a/b", "1", ONE);
    let member = authority.member(MIRROR);
    write_member(dir.path(), &member, &[&authority]);
    write_password(dir.path(), "wrong-secret");
    std::fs::write(dir.path().join("out"), "egress-secret").unwrap();
    write_users(dir.path(), &[("alice", "client-secret")]);
    std::fs::write(dir.path().join("proxy.yaml"), configuration(dir.path(), &fake.url())).unwrap();
    let (_running, clients, admin) = talkative(dir.path());

    tidepool_runtime::install_crypto();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |url: String, login: &str| {
        client.get(url).header("authorization", login).send().await.unwrap().text().await.unwrap()
    };
    let manifest = format!("{clients}/v2/a/b/manifests/1");
    let logins = [basic("alice", "client-secret"), basic("alice", "guessed-secret"), "Bearer token-secret".to_owned()];
    ask(manifest.clone(), &logins[0]).await;
    write_password(dir.path(), "upstream-secret");
    eventually(async || ask(manifest.clone(), &logins[0]).await == ONE).await;
    ask(format!("{clients}/v2/ghcr.io/a/b/manifests/1"), &logins[0]).await; // through the egress proxy
    let answers = [ask(manifest.clone(), &logins[0]).await, ask(manifest.clone(), &logins[1]).await];
    assert!(answers[0] == ONE && answers[1].contains("UNAUTHORIZED"), "{answers:?}");
    ask(manifest, &logins[2]).await;
    // Files that cannot be used are talked about, too.
    let log = || std::fs::read_to_string(dir.path().join("log")).unwrap();
    std::fs::write(dir.path().join("password"), "two-secret\nlines").unwrap();
    eventually(async || log().contains("holds no password")).await;
    write_password(dir.path(), "upstream-secret");
    std::fs::write(dir.path().join("users"), "alice:broken-secret\n").unwrap();
    eventually(async || ask(format!("{admin}/state"), "").await.contains("access.usersFile")).await;
    let state = ask(format!("{admin}/state"), "").await;
    assert!(log().contains("credentials refused") && log().contains("TRACE"));
    let shown = [log(), ask(format!("{admin}/metrics"), "").await, state].concat();
    assert!(shown.contains("request") && shown.contains("a/b"), "{shown}");
    let key = member.key.lines().nth(1).unwrap();
    let encoded = ["me:upstream-secret", "out:egress-secret"].map(|login| STANDARD.encode(login));
    let of_clients = [&logins[0][6..], &logins[1][6..]];
    for secret in ["-secret", "$2b$04$", "Bearer ", key, &encoded[0], &encoded[1], of_clients[0], of_clients[1]] {
        let line = shown.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}
