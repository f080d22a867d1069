//! The configuration read again: what is used, what is not, and what goes on meanwhile (P13).

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidepool_config::ProxyState;

use crate::{
    fake::{Fake, Fault, ONE, noise},
    proxy::{Proxy, eventually},
};

const ONES: &str = "/v2/a/b/manifests/1";
const FAILED: &str = "tidepool_config_reloads_total{result=\"failed\"}";

/// Writes a volume's files as the kubelet does: all at once, by a link that is swapped.
fn swap(folder: &Path, files: &[(&str, &str)]) {
    let generation = format!("..{}", noise_name());
    std::fs::create_dir(folder.join(&generation)).unwrap();
    for (name, text) in files {
        std::fs::write(folder.join(&generation).join(name), text).unwrap();
        let link = folder.join(name);
        if !link.is_symlink() {
            std::os::unix::fs::symlink(format!("..data/{name}"), link).unwrap();
        }
    }
    std::os::unix::fs::symlink(&generation, folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

fn noise_name() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
}

/// A configuration with `more` keys and `upstreams`.
fn text(dir: &TempDir, more: &str, upstreams: &str) -> String {
    let store = dir.path().join("store");
    format!(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nstorage: {{path: {}}}\n{more}\nupstreams: [{upstreams}]\n",
        store.display()
    )
}

fn hub(fake: &Fake) -> String {
    format!("{{registry: docker.io, url: \"{}\"}}", fake.url())
}

async fn started(fake: &Fake) -> (Proxy, TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("mount");
    std::fs::create_dir(&mount).unwrap();
    swap(&mount, &[("proxy.yaml", &text(&dir, "revision: one", &hub(fake)))]);
    (Proxy::of_file(mount.join("proxy.yaml")).await, dir, mount)
}

#[tokio::test]
async fn p13_a_changed_file_is_in_use_soon_and_says_so() {
    let (fake, other) = (Fake::start().await, Fake::start().await);
    other.tag("a/b", "1", ONE);
    let (proxy, dir, mount) = started(&fake).await;
    assert_eq!(proxy.state().await.revision.as_deref(), Some("one"));
    assert_eq!(proxy.get("/v2/ghcr.io/a/b/manifests/1").await.status, 404);
    let both = format!("{}, {{registry: ghcr.io, url: \"{}\"}}", hub(&fake), other.url());
    swap(&mount, &[("proxy.yaml", &text(&dir, "revision: two", &both))]);
    eventually(async || proxy.state().await.revision.as_deref() == Some("two")).await;
    assert_eq!(proxy.get("/v2/ghcr.io/a/b/manifests/1").await.status, 200);
    swap(&mount, &[("proxy.yaml", &text(&dir, "revision: three\naccess: {anonymousPull: None}", &both))]);
    eventually(async || proxy.state().await.revision.as_deref() == Some("three")).await;
    assert_eq!(proxy.get("/v2/ghcr.io/a/b/manifests/1").await.status, 404);
}

#[tokio::test]
async fn p13_what_cannot_be_used_leaves_the_old_in_use_and_is_named_until_it_is_mended() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    let (proxy, dir, mount) = started(&fake).await;
    let closed =
        |credentials: &str| format!("{{registry: docker.io, url: \"{}\", credentials: {{{credentials}}}}}", fake.url());
    let password = format!("username: me, passwordFile: {}", mount.join("password").display());
    for (more, upstreams, expected) in [
        ("revision: bad", "", "upstreams: lists no registry"),
        ("revision: bad\nlimit: 5", hub(&fake).as_str(), "unknown field `limit`"),
        ("revision: bad", closed(&password).as_str(), "upstreams[0]: credentials.passwordFile: cannot read"),
        (
            "revision: bad\nagents: {listen: \"127.0.0.1:1\", mirror: m, certFile: /a, keyFile: /b, caFile: /c}",
            hub(&fake).as_str(),
            "agents.listen: cannot be changed",
        ),
        ("revision: bad\naccess: {usersFile: /none}", hub(&fake).as_str(), "access.usersFile: cannot read /none"),
    ] {
        let before = proxy.metric(FAILED).await;
        swap(&mount, &[("proxy.yaml", &text(&dir, more, upstreams))]);
        eventually(async || proxy.metric(FAILED).await > before).await;
        let ProxyState { revision, reload_error, .. } = proxy.state().await;
        let error = reload_error.unwrap();
        assert!(error.contains(expected), "{error}");
        assert_eq!(revision.as_deref(), Some("one"));
        assert_eq!(proxy.metric("tidepool_config_reload_successful").await, 0);
        assert_eq!(proxy.get(ONES).await.status, 200);
    }
    swap(&mount, &[("proxy.yaml", &text(&dir, "revision: good", &closed(&password))), ("password", "")]);
    eventually(async || proxy.state().await.reload_error.is_some_and(|error| error.contains("holds no password")))
        .await;
    swap(&mount, &[("proxy.yaml", &text(&dir, "revision: good", &closed(&password))), ("password", "secret")]);
    eventually(async || proxy.state().await.reload_error.is_none()).await;
    assert_eq!(proxy.state().await.revision.as_deref(), Some("good"));
    assert_eq!(proxy.metric("tidepool_config_reload_successful").await, 1);
}

#[tokio::test]
async fn an_upstream_that_did_not_change_goes_on_as_it_was() {
    let fake = Fake::start().await;
    fake.want_tokens();
    fake.tag("a/b", "1", ONE);
    let (proxy, dir, mount) = started(&fake).await;
    let bytes = noise(300_000, 7);
    let digest = fake.blob(bytes.clone());
    fake.fault(format!("GET /v2/a/b/blobs/{digest}"), Fault::Slow(300), 1);
    let path = format!("/v2/a/b/blobs/{digest}");
    let (got, ()) = tokio::join!(proxy.get(&path), async {
        swap(&mount, &[("proxy.yaml", &text(&dir, "revision: two", &hub(&fake)))]);
        eventually(async || proxy.state().await.revision.as_deref() == Some("two")).await;
    });
    assert!(got.bytes() == bytes);
    assert_eq!(proxy.get(ONES).await.status, 200);
    assert_eq!(fake.asked("/token").len(), 1, "its token holds");
}

#[tokio::test]
async fn a_smaller_limit_makes_room() {
    let fake = Fake::start().await;
    let (proxy, dir, mount) = started(&fake).await;
    for seed in 0..4 {
        let digest = fake.blob(noise(100_000, seed));
        assert_eq!(proxy.get(&format!("/v2/a/b/blobs/{digest}")).await.status, 200);
    }
    assert_eq!(proxy.kept("blobs"), 4);
    let smaller = text(&dir, "", &hub(&fake)).replace("store}", "store, limit: 200Ki}");
    swap(&mount, &[("proxy.yaml", &smaller)]);
    eventually(async || proxy.kept("blobs") < 4).await;
}
