//! What the upstream has: blobs of noise whose digests are known, and an image around each.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use aws_lc_rs::digest;
use serde_json::json;

/// Media type of every manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const PIECE: usize = 1 << 20;

/// A blob on disk.
#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) digest: String,
    pub(crate) size: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: File,
}

/// An image of one layer. It is in the repository `bench/<name>`, under any tag.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) repository: String,
    pub(crate) layer: Arc<Blob>,
    pub(crate) config: Arc<Blob>,
    pub(crate) manifest: Vec<u8>,
    pub(crate) digest: String,
}

/// All images, by repository.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    images: HashMap<String, Arc<Image>>,
    blobs: HashMap<String, Arc<Blob>>,
}

impl Image {
    pub(crate) fn blob_path(&self) -> String {
        format!("/v2/{}/blobs/{}", self.repository, self.layer.digest)
    }

    pub(crate) fn manifest_path(&self, reference: &str) -> String {
        format!("/v2/{}/manifests/{reference}", self.repository)
    }
}

impl Catalogue {
    /// Makes an image with a layer of `size` bytes, written below `folder`.
    pub(crate) fn add(&mut self, folder: &Path, name: &str, size: u64) -> Result<()> {
        let seed = size ^ (self.images.len() as u64) << 48;
        let layer = Arc::new(noise(&folder.join(name), seed, size)?);
        let config = Arc::new(noise(&folder.join(format!("{name}-config")), !seed, 512)?);
        let describe = |blob: &Blob, kind: &str| json!({"mediaType": kind, "digest": blob.digest, "size": blob.size});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": describe(&config, "application/vnd.oci.image.config.v1+json"),
            "layers": [describe(&layer, "application/vnd.oci.image.layer.v1.tar+gzip")],
        })
        .to_string()
        .into_bytes();
        let digest = digest_of(&manifest);
        let repository = format!("bench/{name}");
        for blob in [&layer, &config] {
            self.blobs.insert(blob.digest.clone(), Arc::clone(blob));
        }
        let image = Image { repository: repository.clone(), layer, config, manifest, digest };
        self.images.insert(repository, Arc::new(image));
        Ok(())
    }

    pub(crate) fn image(&self, name: &str) -> Result<Arc<Image>> {
        self.in_repository(&format!("bench/{name}")).cloned().with_context(|| format!("no image {name}"))
    }

    pub(crate) fn in_repository(&self, repository: &str) -> Option<&Arc<Image>> {
        self.images.get(repository)
    }

    pub(crate) fn blob(&self, digest: &str) -> Option<&Arc<Blob>> {
        self.blobs.get(digest)
    }

    /// Writes the tree that a server of plain files needs to answer as a registry does.
    pub(crate) fn write_tree(&self, root: &Path) -> Result<()> {
        for image in self.images.values() {
            let folder = root.join("v2").join(&image.repository);
            let (blobs, manifests) = (folder.join("blobs"), folder.join("manifests"));
            fs::create_dir_all(&blobs).and_then(|()| fs::create_dir_all(&manifests)).context("cannot make a tree")?;
            for blob in [&image.layer, &image.config] {
                fs::hard_link(&blob.path, blobs.join(&blob.digest)).context("cannot link a blob")?;
            }
            for name in [image.digest.as_str(), "latest"] {
                fs::write(manifests.join(name), &image.manifest).context("cannot write a manifest")?;
            }
        }
        Ok(())
    }
}

/// `sha256:` and the hash.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    name_of(digest::digest(&digest::SHA256, bytes))
}

/// A finished hash as registries write it.
pub(crate) fn name_of(hash: digest::Digest) -> String {
    hash.as_ref().iter().fold("sha256:".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

/// Writes incompressible bytes without repetition (SplitMix64).
fn noise(path: &Path, seed: u64, size: u64) -> Result<Blob> {
    let mut file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let (mut hash, mut piece) = (digest::Context::new(&digest::SHA256), vec![0; PIECE]);
    let (mut state, mut left) = (seed, size);
    while left > 0 {
        let count = PIECE.min(usize::try_from(left).unwrap_or(PIECE));
        for chunk in piece.chunks_exact_mut(8) {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
        }
        hash.update(&piece[..count]);
        file.write_all(&piece[..count]).with_context(|| format!("cannot write {}", path.display()))?;
        left -= count as u64;
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Blob { digest: name_of(hash.finish()), size, path: path.to_owned(), file })
}
