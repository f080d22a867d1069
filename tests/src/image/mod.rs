//! OCI images made on the spot, without a network: a busybox root and layers of seeded noise.

mod layout;
mod noise;
pub(crate) mod product;

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

pub use layout::Blob;
use layout::Layout;

/// The sandbox image that every node has from the start.
pub(crate) const PAUSE: &str = "registry.test/pause:1";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const BUSYBOX: &str = "/bin/busybox";
/// Runs until asked to end, and then ends at once: process 1 ignores signals that it does not handle.
const WAIT: &str = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done";

/// What a test image is made of. The same specification always gives the same digests.
#[derive(Debug, Clone)]
pub struct ImageSpec {
    /// Repository at the registry, such as `library/app`.
    pub repository: String,
    /// Tag.
    pub tag: String,
    layers_mib: Vec<u32>,
    files: Vec<u64>,
    seed: Option<u64>,
    command: String,
    index: bool,
}

/// An image that was made, with every blob that a pull of it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What the tag points to: the index if there is one, else the manifest.
    pub top: Blob,
    /// The manifest for this machine's architecture.
    pub manifest: Blob,
    /// Its configuration.
    pub config: Blob,
    /// Its layers, the root file system first.
    pub layers: Vec<Blob>,
}

impl ImageSpec {
    /// An image with a small root file system that waits until it is ended.
    ///
    /// Nothing of it but its size is shared with other images, so a pull asks for each of its blobs.
    pub fn new(repository: &str, tag: &str) -> Self {
        let (repository, tag) = (repository.to_owned(), tag.to_owned());
        Self {
            repository,
            tag,
            layers_mib: Vec::new(),
            files: Vec::new(),
            seed: None,
            command: WAIT.to_owned(),
            index: false,
        }
    }

    /// Adds a layer of noise for each of these sizes, in MiB.
    #[must_use]
    pub fn layers(mut self, mib: &[u32]) -> Self {
        self.layers_mib.extend(mib);
        self
    }

    /// Adds a layer with a file of 1 MiB for each of these seeds: images with one seed share that file, not the layer.
    #[must_use]
    pub fn files(mut self, seeds: &[u64]) -> Self {
        self.files.extend(seeds);
        self
    }

    /// Draws the noise from this seed, so that images with one seed share these layers.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Runs this shell command instead of waiting.
    #[must_use]
    pub fn command(mut self, command: &str) -> Self {
        command.clone_into(&mut self.command);
        self
    }

    /// Puts an index before the manifest, with one further platform, as most public images have it.
    #[must_use]
    pub fn index(mut self) -> Self {
        self.index = true;
        self
    }

    /// Writes the image as an OCI layout.
    pub fn build(&self, folder: &Path) -> Result<Image> {
        let layout = Layout::create(folder)?;
        let name = format!("{}:{}", self.repository, self.tag);
        let mut layers = vec![layout.layer(|tar| layout::root_file_system(tar, Path::new(BUSYBOX), &name))?];
        let seed = self.seed.unwrap_or_else(|| noise::seed_of(&name));
        for (index, mib) in self.layers_mib.iter().enumerate() {
            let file = format!("data/{index}");
            let noise = noise::Noise::new(seed.wrapping_add(index as u64), u64::from(*mib) << 20);
            layers.push(layout.layer(|tar| layout::file(tar, &file, 0o644, u64::from(*mib) << 20, noise))?);
        }
        if !self.files.is_empty() {
            layers.push(layout.layer(|tar| write_files(tar, &self.files))?);
        }
        let (config, manifest) = self.manifest(&layout, &layers, architecture())?;
        let top = if self.index { self.write_index(&layout, &layers, &manifest)? } else { manifest.clone() };
        layout.finish(&top, if self.index { INDEX } else { MANIFEST }, &name)?;
        Ok(Image { top, manifest, config, layers })
    }

    fn manifest(&self, layout: &Layout, layers: &[Blob], architecture: &str) -> Result<(Blob, Blob)> {
        let run = json!({
            "Cmd": ["/bin/sh", "-c", self.command], "Env": ["PATH=/bin"],
            // Two images with one configuration are one image to containerd: removing a tag removes both.
            "Labels": {"name": format!("{}:{}", self.repository, self.tag)},
        });
        write_manifest(layout, layers, architecture, &run)
    }

    fn write_index(&self, layout: &Layout, layers: &[Blob], manifest: &Blob) -> Result<Blob> {
        let (_, foreign) = self.manifest(layout, layers, "s390x")?;
        let entry = |blob: &Blob, architecture: &str| {
            let mut entry = blob.descriptor(MANIFEST);
            entry["platform"] = json!({"os": "linux", "architecture": architecture});
            entry
        };
        let manifests = [entry(manifest, architecture()), entry(&foreign, "s390x")];
        layout.json(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}))
    }
}

fn write_files(tar: &mut layout::Tar, seeds: &[u64]) -> std::io::Result<()> {
    const MIB: u64 = 1 << 20;
    seeds.iter().enumerate().try_for_each(|(index, seed)| {
        layout::file(tar, &format!("data/file{index}"), 0o644, MIB, noise::Noise::new(*seed, MIB))
    })
}

/// Writes the sandbox image as an archive to import.
pub(crate) fn write_pause(folder: &Path, archive: &Path) -> Result<()> {
    let (repository, tag) = PAUSE.split_once(':').context("the sandbox image has no tag")?;
    ImageSpec::new(repository, tag).build(folder)?;
    layout::pack(folder, archive)
}

/// Writes configuration and manifest, in this order.
fn write_manifest(layout: &Layout, layers: &[Blob], architecture: &str, run: &Value) -> Result<(Blob, Blob)> {
    let digests: Vec<&str> = layers.iter().map(|layer| layer.digest.as_str()).collect();
    let config = layout.json(&json!({
        "architecture": architecture, "os": "linux", "created": "2000-01-01T00:00:00Z", "config": run,
        "rootfs": {"type": "layers", "diff_ids": digests},
    }))?;
    let layers: Vec<Value> = layers.iter().map(|layer| layer.descriptor(layout::LAYER)).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(CONFIG), "layers": layers,
    });
    Ok((config, layout.json(&manifest)?))
}

/// This machine's architecture as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_specification_gives_the_same_digests() {
        let build = |spec: &ImageSpec| spec.build(&tempfile::tempdir().unwrap().path().join("layout")).unwrap();
        let spec = ImageSpec::new("library/app", "1").layers(&[1]);
        assert_eq!(build(&spec), build(&spec));
        let other = build(&ImageSpec::new("library/app", "2").layers(&[1]));
        for blob in build(&spec).layers {
            assert!(!other.layers.contains(&blob), "{blob:?} is in both");
        }
    }
}
