//! What is logged follows the configuration while the program runs (P13), unless the command line says it.

use std::{fs::File, path::Path};

use crate::{
    fake::{Fake, ONE},
    program::{Running, configured, get, program},
    proxy::eventually,
};

/// A program in `dir` that begins with `more` keys, and logs to a file there.
fn running(fake: &Fake, dir: &Path, more: &str, arguments: &[&str]) -> Running {
    let file = configured(fake, dir);
    std::fs::write(dir.join("usual"), std::fs::read_to_string(&file).unwrap()).unwrap();
    change(dir, more);
    let mut command = program();
    command.arg("--config").arg(file).args(arguments);
    Running::spawn(command.stderr(File::create(dir.join("log")).unwrap()))
}

/// Writes the configuration anew, with `more` keys.
fn change(dir: &Path, more: &str) {
    let usual = std::fs::read_to_string(dir.join("usual")).unwrap();
    std::fs::write(dir.join("proxy.yaml.next"), format!("{more}\n{usual}")).unwrap();
    std::fs::rename(dir.join("proxy.yaml.next"), dir.join("proxy.yaml")).unwrap();
}

fn log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).unwrap()
}

/// A pull, of which there is a line at info; and a connection that ends early, of which there is one at debug.
async fn pull(running: &Running) {
    assert_eq!(get(running.url(), "/v2/a/b/manifests/1").await.text().await.unwrap(), ONE);
    let address = running.url().strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"no HTTP at all\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await;
}

/// A configuration that cannot be used, of which there is a line at error: what was to be said before is said.
async fn wait_for_error(dir: &Path, number: usize) {
    change(dir, &format!("logLevel: loud-{number}"));
    // Quoted within a quoted value.
    eventually(async || {
        log(dir).contains(&format!("logLevel: \\\"loud-{number}\\\" is no log filter, expected error"))
    })
    .await;
}

#[tokio::test]
async fn p13_a_member_at_warn_says_no_info_and_at_debug_says_debug_without_a_restart() {
    let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    fake.tag("a/b", "1", ONE);
    let dir = dir.path();
    let running = running(&fake, dir, "logLevel: warn", &[]);
    pull(&running).await;
    wait_for_error(dir, 1).await;
    assert!(!log(dir).contains(" INFO ") && !log(dir).contains(" DEBUG "), "{}", log(dir));
    change(dir, "logLevel: warn,tidepool_proxy=debug");
    eventually(async || log(dir).contains("changed configuration in use")).await;
    pull(&running).await;
    eventually(async || log(dir).contains("DEBUG tidepool_proxy") && log(dir).contains("access_log")).await;
    wait_for_error(dir, 2).await;
    let said = log(dir).lines().filter(|line| line.contains(" DEBUG ")).count();
    assert!(said > 0);
    // Without a word it is the usual.
    change(dir, "revision: last");
    eventually(async || log(dir).contains("revision=\"last\"")).await;
    pull(&running).await;
    wait_for_error(dir, 3).await;
    assert_eq!(log(dir).lines().filter(|line| line.contains(" DEBUG ")).count(), said, "{}", log(dir));
}

#[tokio::test]
async fn what_the_command_line_says_stays() {
    let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    fake.tag("a/b", "1", ONE);
    let dir = dir.path();
    let running = running(&fake, dir, "logLevel: debug", &["--log-level", "warn"]);
    pull(&running).await;
    wait_for_error(dir, 1).await;
    assert!(!log(dir).contains(" INFO ") && !log(dir).contains(" DEBUG "), "{}", log(dir));
}
