//! The program: what it says, and how it ends.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use crate::{
    fake::{Fake, Fault, noise},
    proxy::eventually,
};

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidepool-proxy"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Exit code and standard error of a run with a configuration file of that text.
fn refused(text: &str) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("proxy.yaml");
    std::fs::write(&file, text).unwrap();
    let output = program().arg("--config").arg(&file).args(["--store"]).arg(dir.path().join("s")).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), stderr.replace(&dir.path().display().to_string(), ""))
}

#[test]
fn a_wrong_file_is_one_message_with_file_key_and_what_was_expected() {
    for (text, parts) in [
        ("upstream: []", vec!["/proxy.yaml: ", "unknown field `upstream`", "`upstreams`"]),
        ("listen: here\nupstreams: [{registry: docker.io}]", vec!["/proxy.yaml: listen"]),
        (
            "logLevel: loud\nupstreams: [{registry: a.b}]",
            vec!["/proxy.yaml: logLevel: \"loud\" is no", "expected error"],
        ),
        ("upstreams: []", vec!["/proxy.yaml: upstreams: lists no registry"]),
        ("upstreams: [{registry: a.b, repositories: [\"A\"]}]", vec!["/proxy.yaml: upstreams[0].repositories[0]: "]),
        (
            "upstreams: [{registry: a.b, tls: {caFile: /none}}]",
            vec!["/proxy.yaml: upstreams[0]: tls.caFile: cannot read /none"],
        ),
        (
            "listen: localhost:5000\nupstreams: [{registry: a.b}]",
            vec!["/proxy.yaml: listen: ", "an IP address and port"],
        ),
        (
            "storage: {path: /p, limit: 5 apples}\nupstreams: [{registry: a.b}]",
            vec!["/proxy.yaml: storage.limit: a size is"],
        ),
        (
            "listen: 203.0.113.1:1\nupstreams: [{registry: a.b}]",
            vec!["/proxy.yaml: listen: cannot listen on 203.0.113.1:1: "],
        ),
    ] {
        let (code, stderr) = refused(text);
        assert_eq!(code, 2, "{stderr}");
        assert_eq!(stderr.trim().lines().count(), 1, "{stderr}");
        assert!(parts.iter().all(|part| stderr.contains(part)), "{stderr} lacks one of {parts:?}");
    }
    let output = program().args(["--config", "/none.yaml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("tidepool-proxy: /none.yaml: cannot be read: "));
}

/// A running program, and where it listens.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    said: String,
}

impl Running {
    /// Starts a command and waits until it says where it listens.
    pub(crate) fn start(mut command: Command) -> Self {
        Self::spawn(command.stderr(Stdio::null()))
    }

    /// Starts a command whose log goes where it says.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        stdout.read_line(&mut said).unwrap();
        Self { child, stdout, said }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn url(&self) -> &str {
        self.said.split([' ', ',']).find(|word| word.starts_with("http://")).unwrap()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A configuration file for `fake` in `dir`.
pub(crate) fn configured(fake: &Fake, dir: &Path) -> PathBuf {
    let file = dir.join("proxy.yaml");
    let text = format!(
        "listen: 127.0.0.1:0\nstorage: {{path: {}}}\nupstreams: [{{registry: docker.io, url: \"{}\"}}]\n",
        dir.join("store").display(),
        fake.url()
    );
    std::fs::write(&file, text).unwrap();
    file
}

pub(crate) async fn get(url: &str, path: &str) -> reqwest::Response {
    tidepool_runtime::install_crypto();
    reqwest::Client::builder().no_proxy().build().unwrap().get(format!("{url}{path}")).send().await.unwrap()
}

/// Says that a test is skipped, in the words that `tests/run.sh` repeats, past Cargo, which shows no output of a test that
/// passes; with `CI=true` that is a failure.
fn skipped(reason: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{reason}");
    writeln!(std::io::stderr(), "SKIPPED: {reason}").unwrap();
}

/// Waits until it takes no more connections.
async fn refuses(url: &str) {
    let address = url.trim_start_matches("http://");
    eventually(async || tokio::net::TcpStream::connect(address).await.is_err()).await;
}

#[test]
fn alone_it_says_where_it_listens_keeps_its_store_in_the_cache_directory_and_ends_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = program();
    command.args(["--listen", "127.0.0.1:0"]).env("XDG_CACHE_HOME", dir.path());
    let mut running = Running::start(command);
    let line = &running.said;
    assert!(line.starts_with("tidepool-proxy listening on http://127.0.0.1:"), "{line}");
    for registry in
        ["docker.io", "ghcr.io", "quay.io", "registry.k8s.io", "gcr.io", "mcr.microsoft.com", "public.ecr.aws"]
    {
        assert!(line.contains(registry), "{line}");
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("tidepool/store/VERSION")).unwrap(), "1\n");
    running.signal("-TERM");
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    running.stdout.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("pull 127.0.0.1:"), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_where_nobody_reads_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = program();
    command.args(["--listen", "127.0.0.1:0", "--store"]).arg(dir.path()).stdout(writer).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    eventually(async || dir.path().join("VERSION").exists()).await; // then it hears signals
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_transfers_end_well_and_new_connections_are_refused() {
    let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    let bytes = noise(3_000_000, 1);
    let digest = fake.blob(bytes.clone());
    fake.fault("GET", Fault::Slow(100), 1);
    let mut command = program();
    command.arg("--config").arg(configured(&fake, dir.path()));
    let mut running = Running::start(command);
    let answer = get(running.url(), &format!("/v2/a/b/blobs/{digest}")).await;
    running.signal("-TERM");
    refuses(running.url()).await;
    assert!(answer.bytes().await.unwrap() == bytes);
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once_whatever_is_in_flight() {
    let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    let digest = fake.blob(noise(3_000_000, 1));
    fake.fault("GET", Fault::Stall(1_000_000), 1);
    let mut command = program();
    command.arg("--config").arg(configured(&fake, dir.path()));
    let mut running = Running::start(command);
    let _answer = get(running.url(), &format!("/v2/a/b/blobs/{digest}")).await;
    running.signal("-INT");
    refuses(running.url()).await; // then it has had the first, which the second would otherwise merge with
    assert_eq!(running.child.try_wait().unwrap(), None, "it does not wait for the transfer");
    let begun = std::time::Instant::now();
    running.signal("-INT");
    assert_eq!(running.child.wait().unwrap().code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?} of the 25 s that a transfer gets", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_with_a_full_disk_pulls_go_on() {
    let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    let bytes = noise(5_000_000, 3);
    let (digest, small) = (fake.blob(bytes.clone()), fake.blob("small"));
    let store = dir.path().join("small");
    std::fs::create_dir(&store).unwrap();
    let mut command = Command::new("unshare");
    let script = r#"mount -t tmpfs -o size=2m none "$1" && exec "$2" --config "$3" --store "$1/store""#;
    command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(&store);
    command.arg(env!("CARGO_BIN_EXE_tidepool-proxy")).arg(configured(&fake, dir.path())).stdout(Stdio::piped());
    let running = Running::start(command);
    if running.said.is_empty() {
        return skipped("a full disk needs a mount namespace, which this machine refuses");
    }
    for _ in 0..2 {
        let got = get(running.url(), &format!("/v2/a/b/blobs/{digest}")).await;
        assert!(got.bytes().await.unwrap() == bytes);
        let got = get(running.url(), &format!("/v2/a/b/blobs/{small}")).await;
        assert_eq!(got.bytes().await.unwrap(), "small");
    }
    assert_eq!(fake.asked(&format!("GET /v2/a/b/blobs/{small}")).len(), 1, "what fits is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_what_is_kept_on_a_disk_gone_read_only_is_still_served() {
    let (mut fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    let (digest, manifest) = (fake.blob("kept"), fake.tag("a/b", "1", "{}"));
    let paths = [format!("/v2/a/b/blobs/{digest}"), format!("/v2/a/b/manifests/{manifest}")];
    let config = configured(&fake, dir.path());
    let mut command = program();
    command.arg("--config").arg(&config);
    let writing = Running::start(command);
    for path in &paths {
        get(writing.url(), path).await.bytes().await.unwrap();
    }
    drop(writing);
    fake.down().await;
    let store = dir.path().join("store");
    let kept = [crate::proxy::content(&store.join("blobs")), crate::proxy::content(&store.join("manifests"))].concat();
    assert_eq!(kept.len(), 2);
    for file in kept {
        std::fs::File::open(file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    let mut command = Command::new("unshare");
    let script = r#"for folder in blobs manifests; do mount --bind "$1/$folder" "$1/$folder" &&
        mount -o remount,bind,ro "$1/$folder" || exit; done; exec "$2" --config "$3""#;
    command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(&store);
    command.arg(env!("CARGO_BIN_EXE_tidepool-proxy")).arg(&config).stdout(Stdio::piped());
    let reading = Running::start(command);
    if reading.said.is_empty() {
        return skipped("a read-only disk needs a mount namespace, which this machine refuses");
    }
    for path in paths.iter().chain(&paths) {
        assert_eq!(get(reading.url(), path).await.status(), 200, "{path}");
    }
}
