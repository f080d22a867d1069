//! Clients, as people run them, each in a mount namespace of its own: what they keep for later goes with them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tidepool_tests::peer;

const POLICY: &str = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
/// The longest that any client may take.
const WITHIN: &str = "120";

pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{command:?}: {} {}", output.status, text(&output.stderr)))
    }
}

/// A shell script with an empty `/var/lib/containers`, where podman and skopeo remember blobs of all registries.
fn isolated(script: &str) -> Command {
    let mut command = Command::new("timeout");
    let script = format!("mount -t tmpfs tmpfs /var/lib/containers && {script}");
    command.args([WITHIN, "unshare", "--mount", "sh", "-euc", &script, "sh"]);
    command
}

/// A complete copy by skopeo into a folder, every byte verified, and the digest of what the name meant.
pub(crate) fn skopeo(image: &str, folder: &Path) -> Result<String, String> {
    let (source, target) = (format!("docker://{image}"), format!("dir:{}", folder.join("skopeo").display()));
    let digest = folder.join("digest");
    let mut copy = isolated("exec skopeo --insecure-policy copy --quiet --all --src-tls-verify=false \"$@\"");
    run(copy.arg("--preserve-digests").arg("--digestfile").arg(&digest).args([source, target]))?;
    std::fs::read_to_string(digest).map_err(|error| error.to_string())
}

/// Pushes a layout as an image with layers of zstd:chunked.
pub(crate) fn push_chunked(layout: &Path, target: &str) {
    let (source, target) = (format!("oci:{}", layout.display()), format!("docker://{target}"));
    let mut copy = isolated("exec skopeo --insecure-policy copy --quiet --dest-tls-verify=false \"$@\"");
    copy.args(["--format", "oci", "--dest-compress-format", "zstd:chunked"]).args([source, target]);
    run(&mut copy).unwrap();
}

/// Pulls by podman, into a storage that takes parts of layers where it can; the last image's files, by their hashes.
pub(crate) fn podman(images: &[&str], folder: &Path) -> Result<String, String> {
    podman_with(Path::new("/etc/containers/registries.conf.d"), images, folder)
}

/// As [`podman`], with another directory of drop-ins.
pub(crate) fn podman_with(drop_ins: &Path, images: &[&str], folder: &Path) -> Result<String, String> {
    let policy = folder.join("policy.json");
    std::fs::write(&policy, POLICY).unwrap();
    let storage = "[storage]\ndriver = \"overlay\"\nrunroot = \"/var/lib/containers/run\"\n\
                   graphroot = \"/var/lib/containers/root\"\n\
                   [storage.options]\npull_options = {enable_partial_images = \"true\"}\n";
    std::fs::write(folder.join("storage.conf"), storage).unwrap();
    let mut podman = isolated(
        "mount --bind \"$3\" /etc/containers/registries.conf.d
         export CONTAINERS_STORAGE_CONF=\"$1\"; policy=$2; shift 3
         for image; do podman pull --quiet --tls-verify=false --signature-policy \"$policy\" \"$image\" >/dev/null; done
         cd \"$(podman image mount \"$image\")\"
         find . -type f | sort | xargs sha256sum",
    );
    run(podman.arg(folder.join("storage.conf")).arg(policy).arg(drop_ins).args(images))
}

pub(crate) fn crane(act: &str, more: &[&str]) -> Result<String, String> {
    let crane = peer("crane").map_err(|error| format!("{error:#}"))?;
    run(Command::new("timeout").arg(WITHIN).arg(crane).arg(act).arg("--insecure").args(more))
}

fn curl() -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", WITHIN]);
    curl
}

/// The text at a URL.
pub(crate) fn text(url: &str) -> String {
    run(curl().arg(url)).unwrap()
}

/// curl's end, with its standard output, of a request with these further arguments.
pub(crate) fn curl_with(url: &str, more: &[&str]) -> Output {
    curl().args(more).arg(url).output().unwrap()
}

/// curl's exit code of a download; `18` is a body that broke off.
pub(crate) fn download(url: &str, into: &Path, more: &[&str]) -> i32 {
    curl().args(more).arg("--output").arg(into).arg(url).status().unwrap().code().unwrap()
}

/// A download under way.
pub(crate) fn downloading(url: &str, into: &Path) -> Child {
    curl().arg("--output").arg(into).arg(url).stderr(Stdio::null()).spawn().unwrap()
}

/// The digest of what a file holds.
pub(crate) fn digest_of(file: &Path) -> String {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    hash.update(&std::fs::read(file).unwrap());
    let hex: String = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Files in a folder that are not there yet.
pub(crate) fn names(folder: &Path, many: usize) -> Vec<PathBuf> {
    (0..many).map(|number| folder.join(format!("download{number}"))).collect()
}
