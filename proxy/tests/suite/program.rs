//! The program: what it says, and how it ends.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
};

fn program() -> Command {
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
        ("upstreams: []", vec!["/proxy.yaml: upstreams: lists no registry"]),
        ("upstreams: [{registry: a.b, repositories: [\"A\"]}]", vec!["/proxy.yaml: upstreams[0].repositories[0]: "]),
        (
            "upstreams: [{registry: a.b, tls: {caFile: /none}}]",
            vec!["/proxy.yaml: upstreams[0]: tls.caFile: cannot read /none"],
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

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn alone_it_says_where_it_listens_keeps_its_store_in_the_cache_directory_and_ends_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let child = program().args(["--listen", "127.0.0.1:0"]).env("XDG_CACHE_HOME", dir.path()).spawn().unwrap();
    let mut running = Running(child);
    let mut stdout = BufReader::new(running.0.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.starts_with("tidepool-proxy listening on http://127.0.0.1:"), "{line}");
    for registry in
        ["docker.io", "ghcr.io", "quay.io", "registry.k8s.io", "gcr.io", "mcr.microsoft.com", "public.ecr.aws"]
    {
        assert!(line.contains(registry), "{line}");
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("tidepool/store/VERSION")).unwrap(), "1\n");
    let killed = Command::new("kill").args(["-TERM", &running.0.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
}
