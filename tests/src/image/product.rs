//! The image of Tidepool itself: static binaries and the machine's authorities on nothing (`FROM scratch`).

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::layout::{self, Layout};
use super::{MANIFEST, architecture, write_manifest};

const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Writes one archive that `ctr images import` takes, named `name`, with each binary at the root.
pub(crate) fn write(name: &str, archive: &Path, binaries: &[PathBuf]) -> Result<()> {
    let folder = archive.with_extension("layout");
    let layout = Layout::create(&folder)?;
    let layer = layout.layer(|tar| {
        for binary in binaries {
            let file = File::open(binary)?;
            let path = binary.file_name().unwrap_or_default().to_string_lossy();
            layout::file(tar, &path, 0o755, file.metadata()?.len(), file)?;
        }
        let authorities = File::open(AUTHORITIES)?;
        layout::file(tar, AUTHORITIES.trim_start_matches('/'), 0o644, authorities.metadata()?.len(), authorities)
    });
    let run = json!({"User": "65532:65532", "WorkingDir": "/"});
    let written = layer.and_then(|layer| write_manifest(&layout, &[layer], architecture(), &run));
    let packed = written.and_then(|(_, manifest)| {
        layout.finish(&manifest, MANIFEST, name)?;
        let partial = archive.with_extension("partial");
        layout::pack(&folder, &partial)?;
        fs::rename(&partial, archive).with_context(|| format!("cannot write {}", archive.display()))
    });
    fs::remove_dir_all(&folder).context("cannot remove the unpacked image")?;
    packed
}
