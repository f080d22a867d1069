//! What needs credentials upstream is read by nobody else here, also when it is kept and the upstream is gone (P14).

use std::time::Duration;

use http::Method;
use tempfile::TempDir;
use tidepool_config::{Access, AnonymousPull, Credentials, ProxyFile, Scope};
use tokio::time::Instant;

use crate::{
    access::write_users,
    agents::agents,
    certificates::{Authority, MIRROR, Peer, write_member},
    credentials::write_password,
    fake::{Fake, Fault, ONE},
    guard::Kind,
    proxy::Proxy,
};

pub(crate) const OPEN: &str = "/v2/a/open/manifests/1?ns=docker.io";
pub(crate) const CLOSED: &str = "/v2/a/closed/manifests/1?ns=docker.io";
/// `Authorization` of alice.
pub(crate) const ALICE: &str = "Basic YWxpY2U6c2VjcmV0";

/// A registry with one repository for everybody and one for `me`.
pub(crate) async fn registry() -> Fake {
    let fake = Fake::start().await;
    fake.guard(Kind::Bearer, "secret", &fake.url());
    fake.set_public("a/open", true);
    fake.tag("a/open", "1", ONE);
    fake.tag("a/closed", "1", r#"{"is":"closed"}"#);
    fake
}

pub(crate) struct Member {
    pub(crate) proxy: Proxy,
    authority: Authority,
    _dir: TempDir,
}

impl Member {
    pub(crate) async fn of(fake: &Fake, scope: Scope, anonymous_pull: AnonymousPull) -> Self {
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        write_member(dir.path(), &authority.member(MIRROR), &[&authority]);
        write_password(dir.path(), "secret");
        let users_file = Some(write_users(dir.path(), &[("alice", "secret")]));
        let password_file = Some(dir.path().join("password"));
        let credentials = Credentials { username: Some("me".into()), password_file, scope, ..Credentials::default() };
        let proxy = Proxy::with(fake, |file| {
            file.agents = Some(agents(dir.path()));
            file.access = Some(Access { anonymous_pull, users_file });
            file.upstreams[0].credentials = Some(credentials);
        });
        Self { proxy: proxy.await, authority, _dir: dir }
    }

    pub(crate) async fn restarted(self) -> Self {
        self.restarted_with(|_| {}).await
    }

    /// Another process on the same store, its configuration changed.
    pub(crate) async fn restarted_with(self, change: impl FnOnce(&mut ProxyFile)) -> Self {
        Self { proxy: self.proxy.restarted_with(change).await, ..self }
    }

    /// Makes what is known of `a/open` older than a day, and starts another process.
    pub(crate) async fn a_day_later(self) -> Self {
        let record = self.proxy.store().join("tags/docker.io/a/open/_public");
        let text = std::fs::read_to_string(&record).unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json["seen"] = 1.into();
        std::fs::write(record, json.to_string()).unwrap();
        self.restarted().await
    }

    /// Status for a node, for a client without a login, and for alice.
    pub(crate) async fn asked(&self, path: &str) -> [u16; 3] {
        [self.node(path).await, self.client(path, "").await, self.client(path, ALICE).await]
    }

    pub(crate) async fn node(&self, path: &str) -> u16 {
        let leaf = self.authority.agent(MIRROR);
        let got = Peer::new(self.proxy.agents.unwrap(), &self.authority, Some(&leaf)).get(path).await.unwrap();
        got.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) async fn client(&self, path: &str, login: &str) -> u16 {
        let login = [("authorization", login)];
        let headers = if login[0].1.is_empty() { &[] } else { &login[..] };
        self.proxy.ask(Method::GET, path, headers).await.status.as_u16()
    }
}

#[tokio::test]
async fn scope_and_access_say_who_reads_what_also_of_what_is_kept() {
    use AnonymousPull::{All, None, PublicImages};
    // Node, anonymous, user: of what is public, and of what is not.
    for (scope, access, open, closed) in [
        (Scope::PublicImages, PublicImages, [200, 200, 200], [404, 401, 200]),
        (Scope::PublicImages, All, [200, 200, 200], [404, 200, 200]),
        (Scope::PublicImages, None, [200, 401, 200], [404, 401, 200]),
        (Scope::AllImages, PublicImages, [200, 200, 200], [200, 401, 200]),
        (Scope::AllImages, All, [200, 200, 200], [200, 200, 200]),
        (Scope::AllImages, None, [200, 401, 200], [200, 401, 200]),
    ] {
        let fake = registry().await;
        let member = Member::of(&fake, scope, access).await;
        for round in ["cold", "kept"] {
            assert_eq!(member.asked(OPEN).await, open, "{scope:?} {access:?} {round}: public");
            assert_eq!(member.asked(CLOSED).await, closed, "{scope:?} {access:?} {round}: closed");
        }
    }
}

#[tokio::test]
async fn with_the_upstream_gone_and_the_proxy_restarted_everybody_reads_what_they_did() {
    let mut fake = registry().await;
    let member = Member::of(&fake, Scope::PublicImages, AnonymousPull::PublicImages).await;
    assert_eq!(member.asked(OPEN).await, [200, 200, 200]);
    assert_eq!(member.client(CLOSED, ALICE).await, 200);
    fake.down().await;
    let member = member.restarted().await;
    let begun = Instant::now();
    assert_eq!(member.asked(OPEN).await, [200, 200, 200]);
    assert_eq!(member.asked(CLOSED).await, [503, 503, 200], "nobody can say now that it is closed");
    // Where one of them were waited for, that would be 8 s.
    assert!(begun.elapsed() < Duration::from_millis(7500), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_repository_closed_since_is_closed_once_its_day_is_over() {
    let mut fake = registry().await;
    let member = Member::of(&fake, Scope::PublicImages, AnonymousPull::PublicImages).await;
    assert_eq!(member.node(OPEN).await, 200);
    fake.set_public("a/open", false);
    assert_eq!(member.node(OPEN).await, 200);
    let record = member.proxy.store().join("tags/docker.io/a/open/_public");
    fake.down().await;
    let member = member.a_day_later().await;
    assert_eq!(member.node(OPEN).await, 200, "while the upstream cannot be asked, its last word holds");
    fake.up().await;
    let member = member.restarted().await;
    assert_eq!(member.node(OPEN).await, 404);
    assert!(!record.exists());
}

#[tokio::test]
async fn while_nobody_says_that_it_is_public_still_nothing_new_is_served() {
    let fake = registry().await;
    let member = Member::of(&fake, Scope::PublicImages, AnonymousPull::PublicImages).await;
    assert_eq!(member.node(OPEN).await, 200);
    let member = member.a_day_later().await;
    fake.set_public("a/open", false);
    let closed = fake.tag("a/open", "1", r#"{"is":"closed since"}"#);
    fake.fault("HEAD /v2/a/open/", Fault::Status(429), 1);
    let got = member.proxy.get(OPEN).await;
    assert_eq!((got.status.as_u16(), got.body.as_deref()), (200, Ok(ONE.as_bytes())));
    fake.fault("HEAD /v2/a/open/", Fault::Status(429), 1);
    assert_eq!(member.node(&format!("/v2/a/open/manifests/{closed}?ns=docker.io")).await, 503);
    assert_eq!(member.node(OPEN).await, 404);
}

#[tokio::test]
async fn public_images_go_on_while_the_password_is_refused_and_closed_ones_are_no_absence() {
    let fake = registry().await;
    fake.guard(Kind::Bearer, "changed", &fake.url());
    let member = Member::of(&fake, Scope::PublicImages, AnonymousPull::PublicImages).await;
    assert_eq!(member.asked(OPEN).await, [200; 3]);
    assert_eq!(member.asked(CLOSED).await, [404, 401, 503]);
    assert!(fake.shown().len() <= 3, "{:?}", fake.shown());
}

#[tokio::test]
async fn lists_need_the_same_permission_and_one_question_serves_many() {
    let fake = registry().await;
    let member = Member::of(&fake, Scope::PublicImages, AnonymousPull::PublicImages).await;
    assert_eq!(member.asked("/v2/a/open/tags/list?ns=docker.io").await, [200, 200, 200]);
    assert_eq!(member.asked("/v2/a/closed/tags/list?ns=docker.io").await, [404, 401, 200]);
    assert_eq!(fake.asked("tags/list?n=1").len(), 4, "each twice, for the first has no token: {:?}", fake.asked(""));
    fake.forget();
    assert_eq!(member.node(OPEN).await, 200);
    assert_eq!(member.node("/v2/a/closed/manifests/2?ns=docker.io").await, 404);
    assert!(fake.asked("/v2/a/closed/").is_empty(), "that it is closed is known");
}

#[tokio::test]
async fn a_stranger_who_is_limited_costs_us_nothing_but_an_answer() {
    let fake = registry().await;
    let member = Member::of(&fake, Scope::PublicImages, AnonymousPull::PublicImages).await;
    fake.fault("HEAD /v2/a/open/", Fault::Status(429), 1);
    assert_eq!(member.node(OPEN).await, 503);
    assert_eq!(member.client(OPEN, ALICE).await, 200);
}

#[tokio::test]
async fn who_knows_the_digest_of_something_closed_cannot_have_it_as_a_part_of_what_is_open() {
    let fake = registry().await;
    let (layer, manifest) = (fake.blob("closed layer"), fake.blob(r#"{"is":"closed"}"#));
    let member = Member::of(&fake, Scope::PublicImages, AnonymousPull::PublicImages).await;
    assert_eq!(member.node(OPEN).await, 200);
    let paths = [format!("blobs/{layer}"), format!("manifests/{manifest}")];
    for path in &paths {
        assert_eq!(member.client(&format!("/v2/a/closed/{path}?ns=docker.io"), ALICE).await, 200);
    }
    // The fake finds content by its digest alone; a registry does not find it in another repository.
    for path in &paths {
        fake.fault(format!("/v2/a/open/{path}"), Fault::Status(404), 2);
        assert_eq!(member.node(&format!("/v2/a/open/{path}?ns=docker.io")).await, 404, "{path}");
    }
    let member = member.restarted().await;
    for path in &paths {
        assert_eq!(member.node(&format!("/v2/a/closed/{path}?ns=docker.io")).await, 404, "{path}");
        fake.mend();
        assert_eq!(member.node(&format!("/v2/a/open/{path}?ns=docker.io")).await, 200, "it is there too: {path}");
        fake.forget();
        assert_eq!(member.node(&format!("/v2/a/open/{path}?ns=docker.io")).await, 200);
        assert!(fake.asked(path).is_empty(), "known by now");
    }
}
