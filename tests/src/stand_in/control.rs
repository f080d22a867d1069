//! Orders to the stand-ins: a Unix socket that takes one line and answers when it is done.
//!
//! `on NAME`, `off NAME`, `limit NAME`, `unlimit NAME`, `fail NAME STATUS`, `serve NAME`, `password NAME USER PASSWORD`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::files;
use super::front::Front;

/// An order to the listener of one registry, and whom to tell when it is done.
pub(super) struct Order {
    pub(super) on: bool,
    pub(super) done: oneshot::Sender<()>,
}

/// One registry as orders reach it.
pub(super) struct Controlled {
    pub(super) front: Arc<Front>,
    pub(super) listener: mpsc::Sender<Order>,
}

/// Gives an order, and returns when it is carried out.
pub(crate) fn order(folder: &Path, words: &[&str]) -> Result<()> {
    let mut socket = UnixStream::connect(folder.join(files::CONTROL)).context("the stand-ins do not run")?;
    socket.set_read_timeout(Some(Duration::from_secs(60))).context("cannot bound a wait")?;
    writeln!(socket, "{}", words.join(" ")).context("cannot order the stand-ins")?;
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer).context("no answer of the stand-ins")?;
    let shown = words.iter().take(2).copied().collect::<Vec<_>>().join(" ");
    ensure!(answer.trim() == "done", "cannot carry out `{shown}`: {}", answer.trim());
    Ok(())
}

/// Takes orders and hands them to the registries.
pub(super) async fn serve(folder: &Path, registries: &[Controlled]) -> Result<()> {
    let listener = tokio::net::UnixListener::bind(folder.join(files::CONTROL)).context("cannot take orders")?;
    loop {
        let (mut socket, _) = listener.accept().await.context("cannot take an order")?;
        let (read, mut write) = socket.split();
        let mut line = String::new();
        // One caller at a time, each with one line: a broken one is told nothing and harms nobody.
        if tokio::io::BufReader::new(read).read_line(&mut line).await.is_ok() {
            let answer = carry_out(line.trim(), registries).await;
            let _ = write.write_all(answer.as_bytes()).await;
        }
    }
}

async fn carry_out(line: &str, registries: &[Controlled]) -> &'static str {
    let words: Vec<&str> = line.split(' ').collect();
    let name = words.get(1).copied().unwrap_or_default();
    let Some(registry) = registries.iter().find(|known| known.front.stand_in().name == name) else {
        return "there is no such registry\n";
    };
    match words.as_slice() {
        [switch @ ("on" | "off"), _] => return turn(registry, *switch == "on").await,
        [limit @ ("limit" | "unlimit"), _] => registry.front.limit(*limit == "limit"),
        ["fail", _, status] => match status.parse() {
            Ok(status) => registry.front.fail(Some(status)),
            Err(_) => return "that is no status\n",
        },
        ["serve", _] => registry.front.fail(None),
        ["password", _, user, password] => registry.front.set_password(user, password),
        _ => return "that is no order\n",
    }
    "done\n"
}

async fn turn(registry: &Controlled, on: bool) -> &'static str {
    let (done, wait) = oneshot::channel();
    if registry.listener.send(Order { on, done }).await.is_err() || wait.await.is_err() {
        return "it does not run\n";
    }
    "done\n"
}
