//! The image of the operator's probe pods, which exists here alone: a node that can pull it reads the agent's files
//! (design N5). One program of some hundred bytes that ends at once, so that the pod is done when it was pulled.

use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tidepool_config::names::PROBE_REGISTRY;
use tidepool_oci::{Reference, RequestPath, Target};

/// A part of the image.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its media type.
    pub media_type: &'static str,
    /// Its digest.
    pub digest: String,
    /// Its bytes.
    pub bytes: Bytes,
}

/// The image for nodes like this one.
#[derive(Debug)]
struct Image {
    manifest: Part,
    blobs: [Part; 2],
}

static IMAGE: LazyLock<Image> = LazyLock::new(|| Image::of(std::env::consts::ARCH));

/// What a request for the probe's registry means; nothing for every other request.
#[must_use]
pub fn target(path: &str, ns: Option<&str>) -> Option<Target> {
    let Ok(RequestPath::In { name, target }) = RequestPath::parse(path) else { return None };
    // Runtimes that know no `ns` name the registry in the path.
    let by_path = || name.strip_prefix(PROBE_REGISTRY).is_some_and(|rest| rest.starts_with('/'));
    (ns == Some(PROBE_REGISTRY) || (ns.is_none() && by_path())).then_some(target)
}

/// The part that is asked for; every tag is this image.
#[must_use]
pub fn part(target: &Target) -> Option<&'static Part> {
    let Image { manifest, blobs } = &*IMAGE;
    match target {
        Target::Manifest(Reference::Tag(_)) => Some(manifest),
        Target::Manifest(Reference::Digest(digest)) => Some(manifest).filter(|part| part.digest == digest.to_string()),
        Target::Blob(digest) => blobs.iter().find(|part| part.digest == digest.to_string()),
        Target::Tags | Target::Referrers(_) => None,
    }
}

impl Part {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { media_type, digest: format!("sha256:{digest}"), bytes: bytes.into() }
    }

    fn descriptor(&self) -> serde_json::Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

impl Image {
    fn of(architecture: &str) -> Self {
        let layer = Part::new("application/vnd.oci.image.layer.v1.tar", layer(&program(architecture)));
        let config = json!({
            "architecture": if architecture == "aarch64" { "arm64" } else { "amd64" }, "os": "linux",
            "config": {"Entrypoint": ["/probe"], "User": "65532:65532"},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        });
        let config = Part::new("application/vnd.oci.image.config.v1+json", config.to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor(), "layers": [layer.descriptor()],
        });
        let manifest = Part::new("application/vnd.oci.image.manifest.v1+json", manifest.to_string().into_bytes());
        Self { manifest, blobs: [config, layer] }
    }
}

/// A tar archive with one program in it: a header of 512 bytes, the contents, and two empty blocks.
fn layer(program: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "probe");
    put(100, "0000755\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", program.len()));
    put(136, "00000000000\0");
    put(156, "0");
    put(257, "ustar\x0000");
    // The sum of the header's bytes, its own field taken for blanks.
    put(148, "        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = header.to_vec();
    tar.extend(program);
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    tar
}

/// A static program that does nothing but `exit(0)`: an ELF header, one segment, and the instructions.
fn program(architecture: &str) -> Vec<u8> {
    const HEADERS: u64 = 64 + 56;
    const ADDRESS: u64 = 0x40_0000;
    let (machine, code): (u16, &[u8]) = if architecture == "aarch64" {
        // mov x0, #0; mov x8, #93; svc #0
        (183, &[0x00, 0x00, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4])
    } else {
        // xor edi, edi; mov eax, 60; syscall
        (62, &[0x31, 0xff, 0xb8, 0x3c, 0x00, 0x00, 0x00, 0x0f, 0x05])
    };
    let size = HEADERS + code.len() as u64;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |elf: &mut Vec<u8>, values: &[u16]| elf.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let word = |elf: &mut Vec<u8>, values: &[u32]| elf.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let long = |elf: &mut Vec<u8>, values: &[u64]| elf.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    half(&mut elf, &[2, machine]); // executable
    word(&mut elf, &[1]);
    long(&mut elf, &[ADDRESS + HEADERS, 64, 0]); // entry, program headers, no sections
    word(&mut elf, &[0]);
    half(&mut elf, &[64, 56, 1, 0, 0, 0]);
    word(&mut elf, &[1, 5]); // load, to read and execute
    long(&mut elf, &[0, ADDRESS, ADDRESS, size, size, 0x1_0000]);
    elf.extend(code);
    elf
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(part: &Part) -> serde_json::Value {
        serde_json::from_slice(&part.bytes).unwrap()
    }

    #[test]
    fn n5_the_probes_image_holds_together() {
        let manifest = part(&target("/v2/node/manifests/any", Some(PROBE_REGISTRY)).unwrap()).unwrap();
        let by_digest = format!("/v2/node/manifests/{}", manifest.digest);
        assert!(part(&target(&by_digest, Some(PROBE_REGISTRY)).unwrap()).is_some());
        let read = text(manifest);
        for descriptor in [&read["config"], &read["layers"][0]] {
            let path = format!("/v2/node/blobs/{}", descriptor["digest"].as_str().unwrap());
            let blob = part(&target(&path, Some(PROBE_REGISTRY)).unwrap()).unwrap();
            assert_eq!(blob.bytes.len() as u64, descriptor["size"].as_u64().unwrap());
            assert_eq!(blob.media_type, descriptor["mediaType"]);
        }
        let [config, layer] = &IMAGE.blobs;
        assert_eq!(text(config)["rootfs"]["diff_ids"][0], layer.digest);
        assert!(layer.bytes.len() < 4096);
        let other = format!("/v2/node/blobs/sha256:{}", "0".repeat(64));
        assert!(part(&target(&other, Some(PROBE_REGISTRY)).unwrap()).is_none());
    }

    #[test]
    fn requests_for_other_registries_are_none_of_its() {
        assert!(target("/v2/node/manifests/1", Some("docker.io")).is_none());
        assert!(target("/v2/node/manifests/1", None).is_none());
        assert!(target(&format!("/v2/{PROBE_REGISTRY}/node/manifests/1"), None).is_some());
        assert!(target(&format!("/v2/{PROBE_REGISTRY}.example.com/node/manifests/1"), None).is_none());
        assert!(target("/v2/", Some(PROBE_REGISTRY)).is_none());
    }

    #[test]
    fn n5_the_probes_program_runs_and_its_layer_unpacks() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("layer.tar");
        std::fs::write(&archive, &IMAGE.blobs[1].bytes).unwrap();
        let tar = std::process::Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(folder.path()).status();
        assert!(tar.unwrap().success());
        assert!(std::process::Command::new(folder.path().join("probe")).status().unwrap().success());
    }

    #[test]
    fn both_architectures_have_a_program() {
        for (name, machine) in [("x86_64", 62), ("aarch64", 183)] {
            let program = program(name);
            assert_eq!(
                (program[18], program.len() as u64),
                (machine, u64::from_le_bytes(program[96..104].try_into().unwrap()))
            );
        }
    }
}
