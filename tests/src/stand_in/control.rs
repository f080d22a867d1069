//! The switch of the stand-ins: a Unix socket that takes one line, `on NAME` or `off NAME`, and answers when it is so.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::files;

/// An order to one registry, and whom to tell when it is done.
pub(super) struct Order {
    pub(super) on: bool,
    pub(super) done: oneshot::Sender<()>,
}

/// Switches a registry on or off, and returns when it is.
pub(crate) fn switch(folder: &Path, name: &str, on: bool) -> Result<()> {
    let mut socket = UnixStream::connect(folder.join(files::CONTROL)).context("the stand-ins do not run")?;
    socket.set_read_timeout(Some(Duration::from_secs(10))).context("cannot bound a wait")?;
    writeln!(socket, "{} {name}", if on { "on" } else { "off" }).context("cannot order the stand-ins")?;
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer).context("no answer of the stand-ins")?;
    ensure!(answer.trim() == "done", "cannot switch {name}: {}", answer.trim());
    Ok(())
}

/// Takes orders and hands them to the registries.
pub(super) async fn serve(folder: &Path, registries: &[(String, mpsc::Sender<Order>)]) -> Result<()> {
    let listener = tokio::net::UnixListener::bind(folder.join(files::CONTROL)).context("cannot take orders")?;
    loop {
        let (mut socket, _) = listener.accept().await.context("cannot take an order")?;
        let (read, mut write) = socket.split();
        let mut line = String::new();
        // One caller at a time, each with one line: a broken one is told nothing and harms nobody.
        if tokio::io::BufReader::new(read).read_line(&mut line).await.is_ok() {
            let answer = order(line.trim(), registries).await;
            let _ = write.write_all(answer.as_bytes()).await;
        }
    }
}

async fn order(line: &str, registries: &[(String, mpsc::Sender<Order>)]) -> &'static str {
    let Some((word, name)) = line.split_once(' ') else { return "say `on NAME` or `off NAME`\n" };
    let Some((_, registry)) = registries.iter().find(|(known, _)| known == name) else {
        return "there is no such registry\n";
    };
    let (done, wait) = oneshot::channel();
    if registry.send(Order { on: word == "on", done }).await.is_err() || wait.await.is_err() {
        return "it does not run\n";
    }
    "done\n"
}
