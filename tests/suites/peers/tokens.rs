//! A registry by TLS that wants tokens, as every public one does: distribution, and a token server of ours.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use crate::clients::{crane, curl_with, digest_of, downloading, names, skopeo};
use crate::distribution::Distribution;
use crate::proxy::Proxy;
use crate::token_server::{PASSWORD, TokenServer, Trust, USER};
use crate::{largest, push};

struct Setting {
    upstream: Distribution,
    tokens: TokenServer,
    trust: Arc<Trust>,
    folder: TempDir,
    app: tidepool_tests::Image,
    private: tidepool_tests::Image,
}

impl Setting {
    fn new() -> Self {
        let (folder, trust) = (tempfile::tempdir().unwrap(), Arc::new(Trust::new()));
        let open = Distribution::start();
        let (app, private) = (push(&open, "app", &[6, 1]), push(&open, "private", &[1]));
        let tokens = TokenServer::start(&trust);
        let (tls, auth) = trust.of_distribution(&tokens, folder.path());
        Self { upstream: open.behind_tokens(&tls, &auth), tokens, trust, folder, app, private }
    }

    /// A proxy that believes the authority in this file, and what comes after that.
    fn proxy(&self, authority: &Path, more: &str) -> Proxy {
        let (port, file) = (self.upstream.port(), authority.display());
        let upstream =
            format!("- {{registry: docker.io, url: \"https://127.0.0.1:{port}\", tls: {{caFile: {file}}}{more}\n");
        Proxy::of(&upstream, None)
    }
}

#[test]
fn p10_tokens_are_had_by_tls_from_whom_the_authority_file_vouches_for_and_one_serves_a_herd() {
    let setting = Setting::new();
    let direct = crane("digest", &[&format!("127.0.0.1:{}/library/app:1", setting.upstream.port())]);
    assert!(direct.is_err(), "the registry wants no token: {direct:?}");
    let proxy = setting.proxy(&setting.trust.authority_file(setting.folder.path()), "}");
    let layer = largest(&setting.app);
    let url = format!("{}/v2/library/app/blobs/{}", proxy.url(), layer.digest);
    let files = names(setting.folder.path(), 16);
    let herd: Vec<_> = files.iter().map(|file| downloading(&url, file)).collect();
    for mut reader in herd {
        assert!(reader.wait().unwrap().success());
    }
    assert!(files.iter().all(|file| digest_of(file) == layer.digest));
    let pulled = skopeo(&format!("{}/library/app:1", proxy.address()), setting.folder.path());
    assert_eq!(pulled.as_ref(), Ok(&setting.app.top.digest));
    let asked = setting.tokens.asked();
    assert_eq!(asked.len(), 1, "one token for sixteen readers and a pull: {asked:?}");
    assert!(asked[0].query.contains("library%2Fapp") || asked[0].query.contains("library/app"), "{asked:?}");
    assert!(setting.upstream.transfers_of(&layer.digest) <= 2, "more than a challenge and a transfer");
}

#[test]
fn p10_an_authority_that_does_not_vouch_is_an_outage_and_gets_no_request() {
    let setting = Setting::new();
    let other = setting.folder.path().join("other");
    fs::create_dir(&other).unwrap();
    let proxy = setting.proxy(&Trust::new().authority_file(&other), "}");
    let before = setting.upstream.requests().len();
    let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    let refused = curl_with(&format!("{}/v2/library/app/manifests/1", proxy.url()), &status);
    assert_eq!(String::from_utf8_lossy(&refused.stdout), "503");
    let later = setting.upstream.requests().split_off(before);
    assert!(!later.iter().any(|line| line.contains("/manifests/")), "{later:?}");
    assert!(setting.tokens.asked().is_empty());
}

#[test]
fn p14_what_only_credentials_read_is_served_to_strangers_where_access_says_so_alone() {
    let setting = Setting::new();
    let password = setting.folder.path().join("password");
    fs::write(&password, PASSWORD).unwrap();
    let authority = setting.trust.authority_file(setting.folder.path());
    let credentials =
        format!(", credentials: {{username: {USER}, passwordFile: {}, scope: AllImages}}}}", password.display());
    let open = setting.proxy(&authority, &format!("{credentials}\naccess: {{anonymousPull: All}}"));
    let pulled = skopeo(&format!("{}/library/private:1", open.address()), setting.folder.path());
    assert_eq!(pulled.as_ref(), Ok(&setting.private.top.digest));
    assert!(setting.tokens.asked().iter().any(|asked| asked.login));
    for proxy in [setting.proxy(&authority, &credentials), setting.proxy(&authority, "}")] {
        let refused = crane("manifest", &[&format!("{}/library/private:1", proxy.address())]).unwrap_err();
        assert!(refused.contains("404") || refused.contains("MANIFEST_UNKNOWN"), "{refused}");
        let public = crane("digest", &[&format!("{}/library/app:1", proxy.address())]).unwrap();
        assert_eq!(public.trim(), setting.app.top.digest);
    }
}
