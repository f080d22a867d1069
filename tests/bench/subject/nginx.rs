//! nginx: as a server of plain files, which is what the kernel can do, and as the cache that anybody can set up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Launch, Programs, Subject, free_address};
use crate::table::Who;

/// How it is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nginx {
    /// Files, head and body in whole packets, 512 KiB a call.
    Nopush,
    /// Files, with nothing held back.
    Push,
    /// A cache of the upstream.
    Cache,
}

impl Programs {
    /// Starts nginx with two workers; none where it is not installed.
    pub(crate) fn nginx(&self, kind: Nginx, store: &Path) -> Result<Option<Subject>> {
        let Some(program) = &self.nginx else { return Ok(None) };
        let folder = store.with_extension("run");
        fs::create_dir_all(&folder).context("cannot make a folder")?;
        let address = free_address()?;
        let site = match kind {
            Nginx::Nopush | Nginx::Push => self.files(kind),
            Nginx::Cache => self.cache(store),
        };
        let text = format!(
            "daemon off;\nworker_processes 2;\npid {folder}/pid;\nerror_log stderr error;\nevents {{ worker_connections 4096; }}\n\
             http {{\naccess_log off;\nkeepalive_requests 1000000000;\nclient_body_temp_path {folder}/body;\n\
             proxy_temp_path {folder}/proxy;\nfastcgi_temp_path {folder}/fastcgi;\nuwsgi_temp_path {folder}/uwsgi;\n\
             scgi_temp_path {folder}/scgi;\n{site}\n}}\n}}\n",
            folder = folder.display(),
            site = site.replace("LISTEN", &address.to_string()),
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, text).context("cannot write a configuration")?;
        // Workers read what another user may have written; root's own folders are closed to them.
        let mut command = Command::new(program);
        command.arg("-e").arg("stderr").arg("-c").arg(file).arg("-g");
        command.arg(if rustix::process::geteuid().is_root() { "user root;" } else { "" });
        let who = match kind {
            Nginx::Nopush => Who::NginxNopush,
            Nginx::Push => Who::NginxPush,
            Nginx::Cache => Who::NginxCache,
        };
        // A master that is killed leaves its workers; one that is told to stop takes them along.
        let launch = Launch { who, command, address, store: store.to_owned(), blob_file, orphaned: "TERM" };
        launch.start(&folder).map(Some)
    }

    fn files(&self, kind: Nginx) -> String {
        let sending =
            if kind == Nginx::Nopush { "tcp_nopush on;\nsendfile_max_chunk 512k;" } else { "tcp_nopush off;" };
        format!(
            "sendfile on;\n{sending}\nserver {{\nlisten LISTEN;\nroot {};\ndefault_type application/octet-stream;",
            self.tree.display()
        )
    }

    fn cache(&self, store: &Path) -> String {
        format!(
            "sendfile on;\ntcp_nopush on;\nproxy_cache_path {} levels=1:2 keys_zone=blobs:10m max_size=20g use_temp_path=off;\n\
             proxy_cache blobs;\nproxy_cache_lock on;\nproxy_cache_lock_timeout 60s;\nproxy_cache_lock_age 60s;\n\
             proxy_cache_valid 200 10m;\nproxy_cache_revalidate on;\nproxy_http_version 1.1;\n\
             proxy_connect_timeout 8s;\nproxy_read_timeout 15s;\n\
             proxy_cache_use_stale error timeout updating http_500 http_502 http_503 http_504 http_429;\n\
             server {{\nlisten LISTEN;\nlocation / {{ proxy_pass http://{}; proxy_set_header Connection \"\"; }}",
            store.display(),
            self.upstream
        )
    }
}

/// The largest file that is no longer being written: a run has one blob in a cache at a time.
fn blob_file(store: &Path, _digest: &str) -> Option<PathBuf> {
    let mut folders = vec![store.to_owned()];
    let mut largest = None;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let meta = entry.metadata().ok()?;
            if meta.is_dir() {
                folders.push(entry.path());
            } else if entry.path().extension().is_none() && meta.len() > 64 << 10 {
                largest = largest.max(Some((meta.len(), entry.path())));
            }
        }
    }
    largest.map(|(_, path)| path)
}
