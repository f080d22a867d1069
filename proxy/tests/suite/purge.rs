//! What a purge takes from a running proxy besides content.

use tidepool_config::{AnonymousPull, Scope};

use crate::private::{Member, OPEN, registry};

#[tokio::test(flavor = "multi_thread")]
async fn p14_a_purged_repository_is_not_taken_to_be_public_before_it_was_asked_for_again() {
    let fake = registry().await;
    let member = Member::of(&fake, Scope::PublicImages, AnonymousPull::PublicImages).await;
    assert_eq!(member.node(OPEN).await, 200);
    fake.set_public("a/open", false);
    assert_eq!(member.node(OPEN).await, 200, "for a day");
    let purge =
        reqwest::Client::builder().no_proxy().build().unwrap().post(format!("http://{}/purge", member.proxy.admin));
    let what = r#"{"registry":"docker.io","repository":"a/open"}"#;
    let answer = purge.header("content-type", "application/json").body(what).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    assert_eq!(member.node(OPEN).await, 404, "asked anonymously, and closed now");
}
