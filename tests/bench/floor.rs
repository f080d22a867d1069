//! The least that a fill can cost: one thread that receives, hashes and writes.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest;

use crate::content::{Image, name_of};
use crate::http::Response;
use crate::pull::request;
use crate::usage::thread_cpu;

/// Fills a file, and says how long it took and what it cost.
pub(crate) fn fill(upstream: SocketAddr, image: &Image, into: &Path) -> Result<(Duration, f64)> {
    let (started, cpu) = (Instant::now(), thread_cpu());
    let mut stream = TcpStream::connect(upstream).context("cannot connect")?;
    stream.write_all(request("GET", &image.blob_path(), "").as_bytes()).context("cannot ask")?;
    let mut file = File::create(into).context("cannot make a file")?;
    let (mut piece, mut hash) = (vec![0; 1 << 20], digest::Context::new(&digest::SHA256));
    let (mut filled, mut left) = (0, None);
    while left != Some(0) {
        let count = stream.read(&mut piece[filled..]).context("cannot receive")?;
        ensure!(count > 0, "the upstream breaks off");
        filled += count;
        let mut from = 0;
        if left.is_none() {
            let Some((response, used)) = Response::parse(&piece[..filled])? else { continue };
            ensure!(response.status == 200, "the upstream answers {}", response.status);
            (left, from) = (response.length, used);
        } else if filled < piece.len() && left > Some(filled as u64) {
            continue;
        }
        hash.update(&piece[from..filled]);
        file.write_all(&piece[from..filled]).context("cannot write")?;
        left = left.map(|left| left.saturating_sub((filled - from) as u64));
        filled = 0;
    }
    ensure!(name_of(hash.finish()) == image.layer.digest, "the upstream sends wrong bytes");
    Ok((started.elapsed(), thread_cpu() - cpu))
}
