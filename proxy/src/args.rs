//! The command line.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
};

use clap::{Parser, Subcommand};
use tidepool_config::ProxyFile;
use tidepool_runtime::{LogArgs, SignalError, raise_open_files, stop_signals};

use crate::{
    admin::{PurgeArgs, PurgeError},
    config_source::{ConfigError, ConfigSource},
    server::{Server, StartError},
};

/// A pull-through registry cache.
///
/// Without a file it serves docker.io, ghcr.io, quay.io, registry.k8s.io, gcr.io, mcr.microsoft.com and public.ecr.aws
/// on 127.0.0.1:5000, from a store in the user's cache directory.
#[derive(Clone, Debug, Parser)]
#[command(name = "tidepool-proxy", version, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Configuration file, YAML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the registry API, instead of the file's
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Address of metrics and health, instead of the file's
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// Folder of the store, instead of the file's
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
}

/// What is done instead of serving.
#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Take content out of the store of the proxy that runs on this machine, so that the next pull asks the registry for it
    Purge(PurgeArgs),
}

/// Why the program ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What the configuration asks for cannot be had.
    #[error("{origin}")]
    Start {
        /// The file, or the command line.
        origin: String,
        /// Why.
        source: StartError,
    },
    /// Signals cannot be listened for.
    #[error(transparent)]
    Signal(#[from] SignalError),
    /// Nothing was purged.
    #[error(transparent)]
    Purge(#[from] PurgeError),
    /// A second signal came before transfers had ended.
    #[error("stopped by a second signal before transfers in flight had ended")]
    AtOnce,
}

impl RunError {
    /// 2 when the configuration has to change, 1 otherwise.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Start { .. } => 2,
            Self::Signal(_) | Self::Purge(_) | Self::AtOnce => 1,
        }
    }
}

impl Args {
    /// Runs the proxy until SIGINT or SIGTERM.
    ///
    /// # Errors
    /// A [`RunError`]; its text with that of its sources is one message for people.
    pub async fn run(self) -> Result<(), RunError> {
        let log = self.log.start();
        if let Some(Command::Purge(purge)) = &self.command {
            let purged = purge.ask().await?;
            let _ = writeln!(io::stdout(), "{purged}"); // done all the same
            return Ok(());
        }
        raise_open_files();
        let mut source = self.source();
        // What the command line says stays, whatever the file says.
        source.log = self.log.level.is_none().then_some(log);
        let file = source.read()?;
        let signals = stop_signals()?;
        let origin = self.config.as_ref().map_or("command line".to_owned(), |path| path.display().to_string());
        let server = Server::bind(source).await.map_err(|source| RunError::Start { origin, source })?;
        announce(&server, &file);
        tokio::select! {
            () = server.run(signals.stop) => Ok(()),
            () = signals.at_once.cancelled() => Err(RunError::AtOnce),
        }
    }

    /// The configuration, with the command line's changes.
    fn source(&self) -> ConfigSource {
        let mut source = match &self.config {
            Some(path) => ConfigSource::file(path.clone()),
            None => ProxyFile::public_registries().into(),
        };
        (source.listen, source.admin, source.store) = (self.listen, self.admin, self.store.clone());
        source
    }
}

/// Says on standard output where the proxy listens and how it is used; to nobody where it is closed.
fn announce(server: &Server, file: &ProxyFile) {
    let Ok(address) = server.local_addr() else { return };
    let registries: Vec<_> = file.upstreams.iter().map(|upstream| upstream.registry.as_str()).collect();
    let example = file
        .upstreams
        .first()
        .map_or(String::new(), |first| first.registry.path_segment().trim_end_matches('_').to_owned());
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "tidepool-proxy listening on http://{address}, mirroring {}", registries.join(", "));
    let _ = writeln!(
        out,
        "pull {address}/{example}/<repository>:<tag>, or name it as a mirror to containerd, podman or Docker"
    );
    if let Some(admin) = server.admin_addr() {
        let _ = writeln!(out, "metrics and health on http://{admin}");
    }
}
