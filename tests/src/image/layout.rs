//! An OCI image layout on disk, and as an archive.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aws_lc_rs::digest;
use serde_json::{Value, json};
use tar::{EntryType, Header};

/// Media type of layers here: plain, so that a layer's digest is that of its contents.
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Names that the root file system links to busybox.
const APPLETS: [&str; 14] =
    ["sh", "cat", "date", "echo", "id", "ip", "ls", "mkdir", "nslookup", "ping", "rm", "sha256sum", "sleep", "wget"];

const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\n";

/// Content by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

impl Blob {
    pub(super) fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.size})
    }
}

/// A layout that is being written.
pub(super) struct Layout {
    folder: PathBuf,
}

/// A tar stream into a new layer.
pub(super) type Tar = tar::Builder<Hashed<BufWriter<File>>>;

impl Layout {
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| format!("cannot make {}", blobs.display()))?;
        Ok(Self { folder: folder.to_path_buf() })
    }

    /// Writes a layer that `fill` puts entries into.
    pub(super) fn layer(&self, fill: impl FnOnce(&mut Tar) -> io::Result<()>) -> Result<Blob> {
        let partial = self.folder.join("partial");
        let file = File::create(&partial).context("cannot create a layer")?;
        let mut tar = tar::Builder::new(Hashed::new(BufWriter::with_capacity(1 << 20, file)));
        let written = fill(&mut tar).and_then(|()| tar.into_inner());
        let blob = written.and_then(Hashed::finish).context("cannot write a layer")?;
        self.keep(&partial, &blob)?;
        Ok(blob)
    }

    /// Writes a manifest or configuration.
    pub(super) fn json(&self, value: &Value) -> Result<Blob> {
        let partial = self.folder.join("partial");
        let mut file = Hashed::new(BufWriter::new(File::create(&partial).context("cannot create a manifest")?));
        let blob = file.write_all(value.to_string().as_bytes()).and_then(|()| file.finish());
        let blob = blob.context("cannot write a manifest")?;
        self.keep(&partial, &blob)?;
        Ok(blob)
    }

    /// Names what the layout holds.
    pub(super) fn finish(&self, top: &Blob, media_type: &str, name: &str) -> Result<()> {
        let mut entry = top.descriptor(media_type);
        entry["annotations"] = json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        fs::write(self.folder.join("index.json"), index.to_string()).context("cannot write the index of a layout")?;
        let marker = json!({"imageLayoutVersion": "1.0.0"});
        fs::write(self.folder.join("oci-layout"), marker.to_string()).context("cannot write the marker of a layout")
    }

    fn keep(&self, partial: &Path, blob: &Blob) -> Result<()> {
        let place = self.folder.join("blobs").join(blob.digest.replace(':', "/"));
        fs::rename(partial, place).with_context(|| format!("cannot keep {}", blob.digest))
    }
}

/// Packs a layout into one archive, as `ctr images import` takes it.
pub(super) fn pack(folder: &Path, archive: &Path) -> Result<()> {
    let file = File::create(archive).with_context(|| format!("cannot create {}", archive.display()))?;
    let mut tar = tar::Builder::new(BufWriter::new(file));
    let names = ["oci-layout", "index.json", "blobs"];
    let packed = names.iter().try_for_each(|name| {
        let path = folder.join(name);
        if path.is_dir() { tar.append_dir_all(name, path) } else { tar.append_path_with_name(path, name) }
    });
    packed.and_then(|()| tar.into_inner()?.flush()).with_context(|| format!("cannot write {}", archive.display()))
}

/// Adds a small root file system: busybox, and a file that makes the layer this image's own.
pub(super) fn root_file_system(tar: &mut Tar, busybox: &Path, name: &str) -> io::Result<()> {
    for folder in ["bin", "data", "dev", "etc", "proc", "sys", "tmp"] {
        entry(tar, folder, EntryType::Directory, 0o755, 0, io::empty())?;
    }
    let program = File::open(busybox)?;
    file(tar, "bin/busybox", 0o755, program.metadata()?.len(), program)?;
    for applet in APPLETS {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    file(tar, "etc/passwd", 0o644, PASSWD.len() as u64, PASSWD.as_bytes())?;
    file(tar, "etc/image", 0o644, name.len() as u64, name.as_bytes())
}

/// Adds a file of so many bytes.
pub(super) fn file(tar: &mut Tar, path: &str, mode: u32, size: u64, data: impl Read) -> io::Result<()> {
    entry(tar, path, EntryType::Regular, mode, size, data)
}

fn entry(tar: &mut Tar, path: &str, kind: EntryType, mode: u32, size: u64, data: impl Read) -> io::Result<()> {
    let mut header = header(kind, mode, size);
    tar.append_data(&mut header, path, data)
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

/// A writer that knows the digest and size of what went through it.
pub(super) struct Hashed<W> {
    to: W,
    hash: digest::Context,
    size: u64,
}

impl<W: Write> Hashed<W> {
    fn new(to: W) -> Self {
        Self { to, hash: digest::Context::new(&digest::SHA256), size: 0 }
    }

    fn finish(mut self) -> io::Result<Blob> {
        self.to.flush()?;
        let hex: String = self.hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Blob { digest: format!("sha256:{hex}"), size: self.size })
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.to.write(data)?;
        self.hash.update(&data[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
